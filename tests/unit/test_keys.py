"""The person's keys, the machines that get one, and the program that puts it there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from remote_kernels.copy_id import machines
from remote_kernels.errors import LoginError, OptionsError
from remote_kernels.hosts import Host
from remote_kernels.key_script import key_program
from remote_kernels.keys import agent_of, files_of, is_there, key_of, make_key, own_key
from remote_kernels.shell_text import TELL
from remote_kernels.ssh_connection import settings_of
from remote_kernels.way import Way

ED25519 = "AAAAC3NzaC1lZDI1NTE5AAAAIBLt6Kyw1ItZlGJwrtOWUFzDVDDDVDBDVDDDVDDDVDDD"
LINE = f"ssh-ed25519 {ED25519} me@box"


# --- keys -----------------------------------------------------------------------------------------


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key without a passphrase."""
    make_key(tmp_path / "keys/id_ed25519", passphrase=False)
    return tmp_path / "keys/id_ed25519"


def test_a_new_key(key: Path) -> None:
    assert [path.stat().st_mode & 0o777 for path in (key, key.parent)] == [0o600, 0o700]
    found = key_of(key)
    assert found == key_of(key.with_suffix(".pub"))
    told = subprocess.run(["ssh-keygen", "-l", "-f", key], capture_output=True, text=True)
    assert found.fingerprint == told.stdout.split()[1]
    assert not found.is_locked()


def test_a_key_whose_public_half_is_lost(key: Path) -> None:
    line = key_of(key).line
    key.with_suffix(".pub").unlink()
    assert key_of(key).line.split()[:2] == line.split()[:2]


def test_a_key_with_a_passphrase_is_locked(key: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", key], check=True)
    assert key_of(key).is_locked()


def test_a_key_that_others_can_read_is_none_for_ssh(key: Path) -> None:
    key.chmod(0o644)
    with pytest.raises(LoginError, match="cannot be used") as failed:
        key_of(key).is_locked()
    assert f"chmod 600 {key}" in failed.value.advice


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        f"ssh-rsa {ED25519} another kind",
        f'command="true" {LINE}',
        f"ssh-ed25519-cert-v01@openssh.com {ED25519}",
        f"{LINE}\x1b[2J",
        "ssh-ed25519",
        "",
    ],
)
def test_what_is_no_public_key_is_given_to_nobody(text: str, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(f"{text}\n")
    with pytest.raises(OptionsError, match="holds no key for logins"):
        key_of(tmp_path / "key")


def test_where_ssh_looks_for_keys(tmp_path: Path, key: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"Host gpu\n HostName gpu.example.org\n IdentityFile {key.parent}/%h-%r\n")
    way = Way(Host("gpu", "me"), users_config=str(config), args=("-i", str(key)))
    settings = settings_of(way.plain_command())
    assert files_of(settings) == [key, key.parent / "gpu.example.org-me"]
    assert own_key(settings, None) == key_of(key)
    assert is_there(key)
    assert not is_there(key.parent / "gpu.example.org-me")


def test_an_agent_that_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "nothing"))
    assert agent_of({}) is None
    assert agent_of({"identityagent": ["none"]}) is None
    make_key(tmp_path / "key", passphrase=False)
    socket = tmp_path / "agent"
    command = ["ssh-agent", "-a", str(socket), "sh", "-c", f"ssh-add -q {tmp_path}/key; cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        # Its command reads only after it has added the key.
        running.stdin.write(b"x")
        running.stdin.flush()
        assert running.stdout.read(1) == b"x"
        agent = agent_of({"identityagent": [str(socket)]})
        assert agent is not None
        assert own_key({}, agent) == agent.keys[0]
        assert key_of(tmp_path / "key", agent).in_agent
        running.stdin.close()


# --- the machines on the way ----------------------------------------------------------------------


def test_gateways_of_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host node7\n ProxyJump me@frontend:2222\nHost frontend\n ProxyJump gate\n")
    way = Way(Host("node7"), users_config=str(config), args=("-v",))
    frontend = Host("frontend", "me", 2222)
    found = machines(way)
    assert [each.host for each in found] == [Host("gate"), frontend, Host("node7")]
    assert [each.gateways for each in found] == [(), (Host("gate"),), ()]
    # What is given to ssh is for the host.
    assert [each.args for each in found] == [(), (), ("-v",)]
    named = machines(way._replace(gateways=(Host("a"), Host("frontend"))))
    assert [each.gateways for each in named] == [(), (Host("a"),), (Host("a"), Host("frontend"))]


# --- the program over there -----------------------------------------------------------------------

SHELLS = {
    "dash": ["dash"],
    "bash": ["bash", "--posix"],
    "busybox": ["busybox", "sh"],
    "zsh": ["zsh", "--emulate", "sh"],
}


def put(home: Path, line: str, shell: str = "dash") -> list[str]:
    """Run the program in a home; what it tells."""
    if shutil.which(shell) is None:
        pytest.skip(f"absent: {shell}")
    done = subprocess.run(
        [*SHELLS[shell], "-c", f"rk_mark=@mark\n{TELL}\n{key_program(line)}"],
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr == ""
    told = [x for x in done.stdout.splitlines() if not x.startswith("@mark SETTING ")]
    assert all(x.startswith("@mark ") for x in told), done.stdout
    return [x.removeprefix("@mark ") for x in told]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_line_of_its_own_and_only_once(shell: str, tmp_path: Path) -> None:
    line = f'{LINE} it\'s `mine` $HOME \\n %s "é" *'
    file = tmp_path / ".ssh/authorized_keys"
    assert put(tmp_path, line, shell) == [f"ADDED {file}", "END"]
    assert file.read_text() == f"{line}\n"
    assert [path.stat().st_mode & 0o777 for path in (file, file.parent)] == [0o600, 0o700]
    assert put(tmp_path, line, shell) == [f"THERE {file}", "END"]
    # With what it may do, and another comment, it is the same key.
    for before in (f"restrict {LINE} old", f"# {LINE}\n{LINE}"):
        file.write_text(before)
        assert put(tmp_path, line, shell) == [f"THERE {file}", "END"]
        assert file.read_text() == before
    for before in ("", "\n", f"# {LINE}", f" # {LINE}\n", "another key\n\n", "another"):
        file.write_text(before)
        assert put(tmp_path, line, shell) == [f"ADDED {file}", "END"]
        end = "" if before.endswith("\n") or not before else "\n"
        assert file.read_text() == f"{before}{end}{line}\n"


def test_a_file_that_is_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / "shared keys").mkdir()
    file = tmp_path / ".ssh/authorized_keys"
    file.symlink_to("../shared keys/mine")
    assert put(tmp_path, LINE) == [f"ADDED {file}", "END"]
    assert (tmp_path / "shared keys/mine").read_text() == f"{LINE}\n"
    # What sshd looks at is where the link leads.
    (tmp_path / "shared keys").chmod(0o777)
    told = put(tmp_path, LINE)
    assert told == [f"THERE {file}", f"LOOSE write {tmp_path}/shared keys", "END"]


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / ".ssh").write_text("a file")
    (told,) = put(tmp_path, LINE)
    assert told.startswith("FAILED ")
    assert "File exists" in told
    assert (tmp_path / ".ssh").read_text() == "a file"
    # A link that leads nowhere stays.
    (tmp_path / ".ssh").unlink()
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/authorized_keys").symlink_to("/nowhere/keys")
    (told,) = put(tmp_path, LINE)
    assert told.startswith("FAILED ")
    assert (tmp_path / ".ssh/authorized_keys").is_symlink()


def test_all_that_sshd_does_not_trust(tmp_path: Path) -> None:
    put(tmp_path, LINE)
    for path in (tmp_path, tmp_path / ".ssh", tmp_path / ".ssh/authorized_keys"):
        path.chmod(path.stat().st_mode | 0o020)
    where = ["/.ssh/authorized_keys", "/.ssh", ""]
    assert put(tmp_path, LINE)[1:-1] == [f"LOOSE write {tmp_path}{path}" for path in where]
