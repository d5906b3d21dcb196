"""remote-kernels copy-id: a key of the person's opens a host, and each gateway on the way."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bed import Bed, Machine
from frontend import Person, ours, ran

PASSWORD = "correct horse"
# sshd of its own asks, for whoever has a password; keys are taken as well.
ASKS = "PasswordAuthentication yes"
KEY = Path.home() / ".ssh/id_ed25519"


@contextmanager
def shut(machine: Machine, user: str) -> Iterator[str]:
    """No key opens an account any more, which has a password; the path of its authorized_keys."""
    directory = f"/home/{user}/.ssh"
    machine.set_password(user, f"{PASSWORD} of {machine.name}")
    machine.run(["mv", directory, f"{directory}-before"])
    try:
        yield f"{directory}/authorized_keys"
    finally:
        machine.run(["rm", "-rf", directory])
        machine.run(["mv", f"{directory}-before", directory])


@pytest.fixture
def door(bed: Bed) -> Iterator[str]:
    """The path of the keys of stranger, who has a password on ``far``."""
    with bed.far.sshd(ASKS), shut(bed.far, "stranger") as path:
        yield path


def public_key() -> str:
    return KEY.with_suffix(".pub").read_text()


def answers(person: Person, asker: str) -> None:
    """Type the password of whom it is asked for."""
    person.sees(f"remote-kernels: {asker} asks:\r\n.*password: ")
    person.types(f"{PASSWORD} of {asker.rpartition('@')[2]}")


def gives(asker: str, *words: str) -> str:
    """What is said while a key is given to a host that asks once."""
    person = ours("copy-id", *words, asker)
    answers(person, asker)
    status, said = person.end()
    assert status == 0, said
    assert f"{asker}: lets you in with it" in said
    return person.all + said


def opens(*words: str) -> bool:
    """Whether ssh gets in without asking."""
    ssh = ["ssh", "-oBatchMode=yes", "-oStrictHostKeyChecking=accept-new", *words, "true"]
    return subprocess.run(ssh, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0


def test_a_key_is_given_once(bed: Bed, door: str) -> None:
    # A key that is no key any more, and a line without an end.
    before = f"# {public_key()}restrict ssh-ed25519 AAAAnobody nobody"
    bed.far.write(door, before, user="stranger")
    said = gives("stranger@far")
    assert f"stranger@far: is given the key {KEY}\r\n" in said
    after = bed.far.read(door)
    assert after == f"{before}\n{public_key()}"
    assert PASSWORD not in said
    assert bed.far.logins() == ["stranger", "stranger"]

    assert (
        "stranger@far: lets you in with a key already" in ours("copy-id", "stranger@far").end()[1]
    )
    assert bed.far.read(door) == after
    # Nor does one come twice that ssh did not use.
    again = ran("copy-id", "stranger@far", "--identity", str(KEY), "--remote-launch-args=-F none")
    assert (again.returncode, again.stdout) == (0, "stranger@far: lets you in with a key already\n")


@pytest.mark.needs("tcsh", "fish")
@pytest.mark.parametrize("user", ["cora", "fred"])
def test_other_shells_and_a_home_without_ssh(bed: Bed, user: str) -> None:
    with bed.far.sshd(ASKS), shut(bed.far, user) as path:
        gives(f"{user}@far")
        assert bed.far.read(path) == public_key()
        modes = bed.far.run(["stat", "-c", "%a %U", path, path.rpartition("/")[0]]).stdout
        assert modes == f"600 {user}\n700 {user}\n"


def test_each_machine_on_the_way_in_turn(bed: Bed) -> None:
    with ExitStack() as stack:
        for machine, user in ((bed.gw2, "gina"), (bed.inner, "ada")):
            stack.enter_context(machine.sshd(ASKS))
            stack.enter_context(shut(machine, user))
        # As ssh's own configuration says, the first gateway leads to the second.
        config = "Host gw2\n ProxyJump gina@gw1\nHost *\n StrictHostKeyChecking accept-new\n"
        (Path.home() / ".ssh/config").write_text(config)
        person = ours("copy-id", "ada@inner", "--tunnel-hosts", "gina@gw2")
        for asker in ("gina@gw2", "ada@inner"):
            answers(person, asker)
        status, said = person.end()
        assert status == 0, said
        assert "ada@inner: lets you in with it" in said
        assert opens("-Jgina@gw2", "ada@inner")
        assert "gina@gw1: lets you in with a key already" in person.all
        assert "gina@gw2: lets you in with it" in person.all


def test_a_gateway_without_a_shell_goes_on_asking(bed: Bed) -> None:
    with bed.far.sshd(ASKS), shut(bed.far, "nolan"):
        person = ours("copy-id", "ada@localhost:2222", "--tunnel-hosts", "nolan@far")
        answers(person, "nolan@far")
        person.sees("nolan@far: goes on asking, since the login worked")
        answers(person, "the gateway nolan@far")
        status, said = person.end()
    assert status == 0
    assert "ada@localhost:2222: lets you in with a key already" in said


# --- the key --------------------------------------------------------------------------------------


@pytest.fixture
def no_key() -> Iterator[None]:
    """mia has no key."""
    halves = (KEY, KEY.with_suffix(".pub"))
    for path in halves:
        path.rename(f"{path}-before")
    yield
    for path in halves:
        Path(f"{path}-before").replace(path)


@pytest.mark.usefixtures("no_key")
def test_no_key_yet(bed: Bed, door: str) -> None:
    refused = ran("copy-id", "stranger@far")
    assert refused.returncode == 10
    assert "no terminal in which the passphrase of a new one could be asked for" in refused.stderr
    assert "--no-passphrase" in refused.stderr
    assert not KEY.exists()
    gives("stranger@far", "--no-passphrase")
    assert KEY.stat().st_mode & 0o777 == 0o600
    assert bed.far.read(door) == public_key()


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An agent of mia's."""
    socket = str(tmp_path / "agent")
    monkeypatch.setenv("SSH_AUTH_SOCK", socket)
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as running:
        yield
        running.terminate()


@pytest.mark.usefixtures("no_key", "agent")
def test_a_passphrase_is_for_the_agent(bed: Bed, door: str) -> None:
    person = ours("copy-id", "stranger@far")
    person.sees("Enter passphrase .empty for no passphrase.: ")
    person.types("secret of mine")
    person.sees("again: ")
    person.types("secret of mine")
    person.sees("Your agent is given the key .*Enter passphrase for .*: ")
    person.types("secret of mine")
    answers(person, "stranger@far")
    status, said = person.end()
    assert status == 0, said
    assert "stranger@far: lets you in with it" in said
    assert opens("stranger@far")
    # Without the agent ssh asks, and so nothing is claimed that is not so.
    os.environ.pop("SSH_AUTH_SOCK")
    person = ours("copy-id", "stranger@far")
    person.sees("Enter passphrase for key .*: ")
    person.types("secret of mine")
    person.sees("has it in /home/stranger/.ssh/authorized_keys on far already")
    person.sees("Enter passphrase for key .*: ")
    person.types("secret of mine")
    status, said = person.end()
    assert status == 0
    assert "ssh asks for its passphrase each time" in said


def test_a_key_of_its_own(bed: Bed, door: str, tmp_path: Path) -> None:
    own = tmp_path / "a key"
    said = gives("stranger@far", "--identity", str(own), "--no-passphrase")
    assert f'Host far\r\n    IdentityFile "{own}"' in said
    assert bed.far.read(door) == own.with_suffix(".pub").read_text()
    assert opens("-i", str(own), "stranger@far")
    assert not opens("stranger@far")


# --- what goes wrong ------------------------------------------------------------------------------


def test_modes_that_sshd_does_not_trust_are_named(bed: Bed, door: str) -> None:
    bed.far.run(["chmod", "o+w", "/home/stranger"])
    # Nor is a host key taken that a person wants to see.
    (Path.home() / ".ssh/config").write_text("StrictHostKeyChecking ask\n")
    try:
        person = ours("copy-id", "stranger@far")
        person.sees("ED25519 key fingerprint is SHA256:.*yes/no")
        person.types("yes")
        answers(person, "stranger@far")
        status, said = person.end()
        assert status == 53
        assert "others can write to /home/stranger\r\n" in said.replace(".\r\n", "\r\n")
        assert "try:   on far: chmod go-w /home/stranger\r\n" in said
        assert "Permission denied (publickey,password)" in said
    finally:
        bed.far.run(["chmod", "o-w", "/home/stranger"])
    assert "lets you in with a key already" in ours("copy-id", "stranger@far").end()[1]


def test_a_disk_without_room_keeps_what_was_there(bed: Bed, door: str) -> None:
    # There is room for a part of the key.
    before = "# " + "x" * 4080
    with bed.far.small_tmpfs("/home/stranger/.ssh", "4k", "stranger"):
        bed.far.write(door, before, user="stranger")
        person = ours("copy-id", "stranger@far")
        answers(person, "stranger@far")
        status, said = person.end()
        assert (status, bed.far.read(door)) == (1, before)
    assert "stranger@far cannot keep the key: " in said
    assert "No space left on device" in said
    bed.far.run(["rm", "-rf", "/home/stranger/.ssh"])


def test_where_nobody_is_let_in_to_bring_it(bed: Bed) -> None:
    done = ran("copy-id", "stranger@far")
    assert done.returncode == 17
    assert "it takes keys only: let somebody" in done.stderr
    assert public_key().strip() in done.stderr
    with bed.far.sshd(ASKS):
        asks = ran("copy-id", "stranger@far")
    assert asks.returncode == 50
    assert "in a terminal: remote-kernels copy-id stranger@far" in asks.stderr


def test_a_server_that_wants_more_than_a_key(bed: Bed) -> None:
    bed.far.set_password("ada", f"{PASSWORD} of far")
    with bed.far.sshd(ASKS, "AuthenticationMethods publickey,password"):
        person = ours("copy-id", "ada@far")
        answers(person, "ada@far")
        status, said = person.end()
    assert status == 53
    assert "ada@far takes the key, and wants more than a key" in said
    assert re.search(r"try: +log in once for all that follows: remote-kernels login ada@far", said)
