"""``remote-kernels sync``: directories here and on a host, by a real rsync and a real unison."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bed import Bed, CommandFailedError, Machine, wait_until
from frontend import ours, ran

pytestmark = pytest.mark.needs("rsync")

# What a tree is, so that two can be compared: a line for each path.
MANIFEST = """
import hashlib, os, stat, sys
root = os.fsencode(sys.argv[1])
for above, directories, names in os.walk(root):
    for name in sorted(directories + names):
        path = os.path.join(above, name)
        status = os.lstat(path)
        row = [os.path.relpath(path, root), oct(status.st_mode)]
        if not stat.S_ISDIR(status.st_mode):
            row.append(status.st_mtime_ns // int(sys.argv[2]))
        if stat.S_ISLNK(status.st_mode):
            row.append(os.readlink(path))
        elif stat.S_ISREG(status.st_mode):
            row.append(hashlib.sha1(open(path, "rb").read()).hexdigest())
        print(row)
"""
AWKWARD = [
    *(b"plain", b" lead", b"trail ", b"#hash", b";semi", b"-dash", b"--", b"new\nline", b"cr\r"),
    *(
        b"q'\"$(touch x)`;",
        b"\xff\xfe",
        "é☃😀".encode(),
        b"back\\slash",
        b"[br]*?{a,b}",
        b"~",
        b"a:b",
    ),
    *(b"%s%n", b".hidden", b"!bang", b"tab\there", b"x" * 255),
]


class Sides:
    """A directory here, and the one over there that goes with it."""

    def __init__(self, machine: Machine, near: Path, user: str) -> None:
        self.machine, self.near, self.user = machine, near, user
        self.far = f"/home/{user}/sync me"
        # Nanoseconds within which times are the same.
        self.unit = 1
        near.mkdir()

    def sync(self, direction: str, *words: str, status: int = 0) -> dict[str, Any]:
        """What a sync tells programs."""
        host = f"{self.user}@{self.machine.name}"
        argv = ("sync", direction, host, str(self.near), "~/sync me", "--json", *words)
        done = ran(*argv, timeout=150)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == status, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def run(self, script: str) -> str:
        """Run a script of sh in the directory over there."""
        argv = ["sh", "-ec", f'mkdir -p "{self.far}"; cd "{self.far}"; {script}']
        return self.machine.run(argv, user=self.user).stdout

    def there(self) -> list[str]:
        """What is over there."""
        argv = ["python3", "-c", MANIFEST, self.far, str(self.unit)]
        return sorted(self.machine.run(argv, user=self.user).stdout.splitlines())

    def here(self) -> list[str]:
        """What is here."""
        argv = [sys.executable, "-c", MANIFEST, str(self.near), str(self.unit)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        return sorted(done.stdout.splitlines())

    def write(self, name: str, text: str) -> None:
        """Write a file here."""
        path = self.near / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def remove(self) -> None:
        """Leave nothing over there."""
        self.machine.run(["rm", "-rf", self.far, f"/home/{self.user}/.unison"])
        # The shared connection stays for two seconds, for whoever comes next.
        self.machine.run(["pkill", "-u", self.user, "-x", "sleep"], check=False)


@pytest.fixture
def sides(bed: Bed, tmp_path: Path) -> Iterator[Sides]:
    """An empty directory here, and none over there."""
    made = Sides(bed.far, tmp_path / "near", "ada")
    yield made
    made.remove()


def furnish(directory: Path) -> None:
    """Files, directories and links of all kinds."""
    for name in AWKWARD:
        Path(os.fsdecode(os.fsencode(directory) + b"/" + name)).write_bytes(name * 3)
    inner = directory / "a b" / "ü\n" / "deep"
    inner.mkdir(parents=True)
    (inner / "empty").write_text("")
    (inner / "run.sh").write_text("#!/bin/sh\n")
    (inner / "run.sh").chmod(0o755)
    (inner / "secret").write_text("x")
    (inner / "secret").chmod(0o400)
    (directory / "nothing in it").mkdir(mode=0o700)
    (directory / "closed").mkdir()
    (directory / "closed/in it").write_text("x")
    (directory / "closed").chmod(0o555)
    (directory / "to a file").symlink_to("a b/ü\n/deep/run.sh")
    (directory / "to nothing").symlink_to("/nowhere/é \udcff")
    (directory / "to outside").symlink_to("/etc")
    for number, path in enumerate(sorted(directory.rglob("*"))):
        os.utime(path, ns=(10**18, 10**18 + number * 1001), follow_symlinks=False)


def test_all_is_kept(bed: Bed, tmp_path: Path) -> None:
    # tcsh and fish read their commands otherwise, and nora's start-up files talk.
    for user in ("ada", "cora", "fred", "nora"):
        sides = Sides(bed.far, tmp_path / user, user)
        try:
            keeps_all(sides)
        finally:
            sides.run("[ ! -d closed ] || chmod 755 closed")
            sides.remove()


def keeps_all(sides: Sides) -> None:
    furnish(sides.near)
    found = sides.sync("push")
    assert (found["there"], found["error"]) == (sides.far, None)
    before = sides.here()
    assert sides.there() == before
    (sides.near / "closed").chmod(0o755)
    subprocess.run(["rm", "-rf", str(sides.near)], check=True)
    assert {row["to"] for row in sides.sync("pull")["transferred"]} == {"here"}
    assert sides.here() == before
    assert sides.sync("both")["files"] == 0


def test_what_is_left_out(sides: Sides) -> None:
    for name in (
        *(".git/config", "__pycache__/a.pyc", "a/.ipynb_checkpoints/x", "rik_kernel-1.json"),
        *("a/big.ckpt", "a/keep.ckpt", "only here/x", "data/x", "data/y.csv", "b.tmp"),
    ):
        sides.write(name, "x")
    sides.write(".gitignore", "*.ckpt\n!keep.ckpt\n")
    sides.write("data/.remote-kernels-ignore", "*\n!*.csv\n")
    sides.run("mkdir -p 'only there'; echo 'only*/' >.gitignore; touch -d 2001-01-01 .gitignore")
    sides.sync("push", "--exclude", "*.tmp")
    there = sides.run("find . -type f").split("\n")
    assert sorted(filter(None, there)) == ["./.gitignore", "./a/keep.ckpt", "./data/y.csv"]
    # What is left out is not deleted, either.
    sides.run("mkdir -p __pycache__ gone/__pycache__; touch __pycache__/x gone/__pycache__/x old")
    sides.run("rmdir 'only there'")
    found = sides.sync("push", "--exclude", "*.tmp", "--delete")
    assert found["deleted"] == [{"path": "old", "on": "there"}]
    assert [row["path"] for row in found["skipped"]] == ["gone"]
    sides.run("test -e __pycache__/x && test -e gone/__pycache__/x")


def test_what_is_newer_is_left(sides: Sides) -> None:
    sides.write("a", "mine")
    sides.write("same", "same")
    sides.run("echo theirs >a; echo more >>b; printf same >same; touch -d 2040-01-01 a same")
    found = sides.sync("push", "--dry-run", "--delete", status=1)
    assert found["deleted"] == [{"path": "b", "on": "there"}]
    assert [row["path"] for row in found["left"]] == ["a"]
    assert sides.run("cat a b") == "theirs\nmore\n"
    assert [row["path"] for row in sides.sync("push", status=1)["left"]] == ["a"]
    assert (
        sides.run("cat a; stat -c %Y same")
        == f"theirs\n{int(os.stat(sides.near / 'same').st_mtime)}\n"
    )
    assert sides.sync("push", "--overwrite")["files"] == 1
    assert sides.run("cat a") == "mine"
    # Older, but nobody here has seen it.
    sides.run("printf other >a; touch -d 2001-01-01 a")
    sides.write("a", "mine again")
    assert "since the last sync" in sides.sync("push", status=1)["left"][0]["why"]
    assert sides.run("cat a") == "other"
    assert sides.sync("pull", "--overwrite", "--delete")["files"] == 2
    assert (sides.near / "a").read_text() == "other"


def test_a_change_within_a_moment_is_one(sides: Sides) -> None:
    moment = 1_700_000_000 * 10**9
    for words in (["push"], ["both"], ["both", "--no-unison"]):
        # Neither the size nor the second tells.
        for text, later in (("1", 10_000), ("2", 20_000), ("3", 999_999_000)):
            sides.write("a", text)
            os.utime(sides.near / "a", ns=(moment, moment + later))
            sides.sync(*words)
            assert sides.run("cat a") == text
        moment += 10**10
    # Nor does unison overwrite it with what has come from over there.
    sides.write("a", "4")
    os.utime(sides.near / "a", ns=(moment, moment - 9 * 10**9 + 10**6))
    sides.run("echo longer >a")
    (conflict,) = sides.sync("both", status=1)["conflicts"]
    assert sides.run(f"cat a {conflict['other']}") == "4longer\n"


@pytest.mark.needs("unison")
@pytest.mark.parametrize("by", ["unison", "rsync"])
def test_both(bed: Bed, sides: Sides, by: str) -> None:
    words = ["--no-unison"] if by == "rsync" else []
    # unison keeps no more than microseconds.
    sides.unit = 10**6
    for name in ("same", "mine", "theirs", "clash.txt", "gone here", "gone there", "kept", "d/x"):
        sides.write(name, "0")
    found = sides.sync("both", *words)
    assert (found["files"], found["by"]) == (8, by)
    sides.write("mine", "1")
    sides.write("clash.txt", "here")
    sides.write("new\nhere/a", "1")
    sides.write("[x]*{y}.log", "left out")
    sides.write(".gitignore", "*.log")
    with (sides.near / "large").open("wb") as file:
        file.truncate(1 << 25)
    sides.run(
        "echo 2 >theirs; printf there >clash.txt; rm 'gone there'; rm -r d; echo 3 >kept; "
        "mkdir -p 'new there'; echo 4 >'new there/b'; chmod 755 same; head -c 32M /dev/zero >vast"
    )
    (sides.near / "gone here").unlink()
    (sides.near / "kept").unlink()
    bed.forget_logins()
    found = sides.sync("both", *words, status=1)
    # One for all, or that of the sync before.
    assert len(bed.far.logins()) <= 1
    assert found["by"] == by
    assert {row["path"] for row in found["deleted"]} == {"gone here", "gone there", "d", "d/x"}
    assert found["kept"] == ["kept"]
    (conflict,) = found["conflicts"]
    assert conflict["path"] == "clash.txt"
    assert conflict["other"].startswith("clash.conflict-far-")
    assert conflict["other"].endswith(".txt")
    assert {row["path"]: row["to"] for row in found["transferred"]} == {
        **dict.fromkeys(("mine", "clash.txt", "new\nhere/a", ".gitignore", "large"), "there"),
        **dict.fromkeys(("theirs", conflict["other"], "new there/b", "kept", "vast"), "here"),
    }
    assert (sides.near / "clash.txt").read_text() == "here"
    assert (sides.near / conflict["other"]).read_text() == "there"
    assert (sides.near / "same").stat().st_mode & 0o777 == 0o755
    (sides.near / "[x]*{y}.log").unlink()
    assert sides.here() == sides.there()
    assert sides.sync("both", *words)["files"] == 0
    assert (sides.run("ls -d ~/.unison || true") != "") == (by == "unison")


def test_an_empty_side_empties_nothing(sides: Sides) -> None:
    for number in range(30):
        sides.write(f"f{number}", "x")
    sides.sync("both")
    sides.run("rm f*")
    found = sides.sync("both", status=80)
    assert "30 of 30" in found["error"]["sentence"]
    sides.remove()
    assert "there is no directory" in sides.sync("both", status=80)["error"]["sentence"]
    assert len(list(sides.near.iterdir())) == 30
    assert sides.sync("push")["files"] == 30


def test_ten_thousand_files(bed: Bed, sides: Sides) -> None:
    for number in range(10_000):
        sides.write(f"{number % 100}/{number}", str(number))
    assert sides.sync("push")["files"] == 10_000
    assert bed.far.logins() == ["ada"]
    assert sides.here() == sides.there()
    assert sides.sync("push")["files"] == 0


def bytes_of(bed: Bed) -> int:
    """What has gone from and to this machine, on the way to ``far``."""
    (link,) = json.loads(bed.laptop.run(["ip", "-j", "-s", "link", "show", "to-far"]).stdout)
    return int(link["stats64"]["tx"]["bytes"] + link["stats64"]["rx"]["bytes"])


@pytest.mark.timeout(400)
def test_a_large_file_goes_on_where_it_was_cut(bed: Bed, sides: Sides) -> None:
    size = 1 << 30
    path = sides.near / "large file"
    with path.open("wb") as file:
        # Few pages of memory, and no two pieces alike.
        for number in range(0, size, 1 << 20):
            file.seek(number)
            file.write(b"%d" % number)
        file.truncate(size)
    digest = digest_of(path)
    before = bytes_of(bed)

    def there() -> int:
        return int(sides.run("stat -c %s .remote-kernels-partial-*/files/large* || echo 0"))

    def here() -> int:
        found = sides.near.glob(".remote-kernels-partial-*/files/large file")
        return sum(path.stat().st_size for path in found)

    goes_on(bed, sides, "push", there, [size * 3 // 10, size * 7 // 10])
    script = "import hashlib; print(hashlib.sha1(open('large file', 'rb').read()).hexdigest())"
    assert sides.run(f'python3 -c "{script}"').strip() == digest
    assert sides.run("ls -A") == "large file\n"
    path.unlink()
    goes_on(bed, sides, "pull", here, [size // 2])
    assert digest_of(path) == digest
    assert os.listdir(sides.near) == ["large file"]
    # Twice the file, and what was on its way when the line broke.
    assert bytes_of(bed) - before < 2.3 * size


def goes_on(
    bed: Bed, sides: Sides, direction: str, arrived: Callable[[], int], parts: list[int]
) -> None:
    """Let a file go to one side, and break the line when so much of it has arrived."""
    bed.forget_logins()
    results: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: results.append(sides.sync(direction)))
    thread.start()
    try:
        for part in parts:
            wait_until(lambda part=part: arrived() > part, 60, f"{part} bytes")
            # The connection, and all that runs over it.
            bed.far.run(["pkill", "-KILL", "-u", "ada", "sshd"])
        if direction == "push":
            assert sides.run("stat -c %a .remote-kernels-partial-*") == "700\n"
    finally:
        thread.join(150)
    assert [found["files"] for found in results] == [1]
    assert len(bed.far.logins()) == len(parts) + 1


def digest_of(path: Path) -> str:
    digest = hashlib.sha1()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def test_of_a_changed_file_only_the_change_goes(bed: Bed, sides: Sides) -> None:
    data = os.urandom(20 << 20)
    (sides.near / "data").write_bytes(data)
    sides.sync("push")
    (sides.near / "data").write_bytes(data[: 10 << 20] + b"and" + data[10 << 20 :])
    before = bytes_of(bed)
    sides.sync("push")
    sides.run("echo more >>data")
    assert sides.sync("pull")["bytes"] == len(data) + 8
    assert bytes_of(bed) - before < 2 << 20
    expected = data[: 10 << 20] + b"and" + data[10 << 20 :] + b"more\n"
    assert (sides.near / "data").read_bytes() == expected


def test_it_is_kept_going(sides: Sides, tmp_path: Path) -> None:
    sides.write("a", "1")
    argv = ("both", "ada@far", str(sides.near), "~/sync me", "--watch", "--every", "0.5")
    said = tmp_path / "said"
    with said.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "remote_kernels", "sync", *argv], stdout=file, stderr=file
        )

    def becomes(name: str, text: str) -> None:
        script = f"until [ \"$(cat '{name}' 2>/dev/null)\" = {text} ]; do sleep 0.02; done"
        try:
            sides.run(script)
        except CommandFailedError as error:
            raise AssertionError(said.read_text()) from error

    try:
        becomes("a", "1")
        sides.write("__pycache__/x", "not for there")
        sides.write("d/b", "2")
        becomes("d/b", "2")
        sides.run("echo 3 >c")
        wait_until(lambda: (sides.near / "c").exists(), 20, "what was made over there")
        # The connection, and all that runs over it; what is made then arrives when it is back.
        sides.machine.run(["pkill", "-KILL", "-u", "ada", "sshd"])
        sides.write("d/b", "4")
        becomes("d/b", "4")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    text = said.read_text()
    assert text.index("is lost; trying to get back") < text.index("Back at ada@far")
    assert re.search(r"Ended; in all 2 files sent \(\d+ B\), 1 file brought here", text)
    assert sides.run("ls -A") == "a\nc\nd\n"


def test_behind_gateways(bed: Bed, tmp_path: Path) -> None:
    sides = Sides(bed.inner, tmp_path / "near", "ada")
    sides.write("a", "1")
    try:
        sides.sync("push", "--tunnel-hosts", "gina@gw1", "gina@gw2")
        assert sides.run("cat a") == "1"
        assert bed.inner.logins() == ["ada"]
    finally:
        sides.remove()


def test_logins_of_its_own(bed: Bed, sides: Sides) -> None:
    sides.write("a", "1")
    assert sides.sync("push", "--no-share")["files"] == 1
    assert bed.far.logins() == ["ada", "ada"]
    with bed.far.sshd("MaxSessions 1"):
        sides.write("a", "22")
        assert sides.sync("both")["files"] == 1
    assert sides.run("cat a") == "22"


def test_a_full_disk(bed: Bed, sides: Sides) -> None:
    (sides.near / "large").write_bytes(os.urandom(8 << 20))
    sides.write("small", "1")
    sides.run("true")
    fills_up(sides, "push", bed.far, sides.far, "ada")
    (sides.near / "large").unlink()
    sides.run("head -c 8M /dev/urandom >large; echo 1 >small")
    fills_up(sides, "pull", bed.laptop, str(sides.near), "mia")


def fills_up(sides: Sides, direction: str, machine: Machine, path: str, user: str) -> None:
    with machine.small_tmpfs(path, "4M", user):
        found = sides.sync(direction, status=82)
        assert any("No space left on device" in line for line in found["error"]["said"])
        script = f"cd '{path}'; df --output=used . | tail -1; ls -A"
        used, *names = machine.run(["sh", "-c", script], user=user).stdout.split()
        assert int(used) < 100
        assert set(names) <= {"small"}


def test_a_side_without_rsync(bed: Bed, sides: Sides) -> None:
    sides.write("a", "1")
    old = "#!/bin/sh\necho 'rsync  version 2.6.9  protocol version 29'\n"
    bed.far.run(["tee", "/tmp/old"], input=old)
    bed.far.run(["chmod", "755", "/tmp/old"])
    for instead, sentence in (
        ("/dev/null", "there is no rsync on ada@far"),
        ("/tmp/old", "the rsync on ada@far is too old: /usr/bin/rsync is 2.6"),
    ):
        bed.far.run(["mount", "--bind", instead, "/usr/bin/rsync"])
        try:
            error = sides.sync("push", status=81)["error"]
        finally:
            bed.far.run(["umount", "/usr/bin/rsync"])
        assert error["sentence"] == sentence
        assert "install rsync" in error["try"][0]
    bed.far.run(["rm", "/tmp/old"])


def test_a_password_is_asked_for_once(bed: Bed, sides: Sides) -> None:
    sides.write("a", "1")
    with bed.far.wanting_password("ada", "tomato"):
        person = ours("sync", "push", "ada@far", str(sides.near), "~/sync me")
        person.sees("Password: ")
        person.types("tomato")
        person.sees("1 file sent")
        assert person.end()[0] == 0
    assert sides.run("cat a") == "1"
