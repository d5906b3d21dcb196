"""README and guide say what the program does: every command of ours in them is run.

Pages on machines that the bed has are followed there as a reader would, up to a kernel that runs.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from bed import Bed
from behind_nat import at_box
from remote_kernels.interfaces import interface_named
from remote_kernels.interfaces.scheduler import Scheduler
from remote_kernels.options import KernelOptions

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]
GUIDE = {"README.md", *(f"docs/guide/{path.name}" for path in ROOT.glob("docs/guide/*.md"))}

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
# These need a host that is there.
_HOST_COMMANDS = (
    *("login", "discover", "attach", "copy-id", "lab", "mirror", "ps", "reverse", "sync"),
)
# What manage says when it has done something.
SAID = re.compile(r"^(?:Added|Changed|Removed) kernel \[.*\]: .*\.$", re.MULTILINE)


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> Iterator[str]:
    """The code blocks of one language."""
    for found, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if found == language:
            yield text


def commands(page: Path) -> Iterator[list[str]]:
    """The commands of ours in the shell blocks, as a shell reads them."""
    for text in blocks(page, "shell"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["remote-kernels"]:
                yield words[1:]


def names_in_pipes(page: Path) -> set[str]:
    """The kernels that the page starts with jupyter."""
    text = "".join(blocks(page, "shell"))
    return set(re.findall(r"jupyter \w+ --kernel (\S+)", text))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of a user with no kernels, in whose home nothing is written."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "XDG_"))}
    (tmp_path / "home").mkdir()
    return {**kept, "HOME": str(tmp_path / "home"), "JUPYTER_DATA_DIR": str(tmp_path / "data")}


@pytest.mark.parametrize("page", [ROOT / name for name in sorted(GUIDE)], ids=page_name)
def test_commands_do_what_the_page_says(
    page: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    printed = ""
    for text in blocks(page, "text"):
        if text.startswith("remote_user="):
            (tmp_path / "remote.conf").write_text(text)
    for words in commands(page):
        needs_host = words[0] in _HOST_COMMANDS and len(words) > 1 and "local" not in words
        if words == ["demo"] or needs_host:
            continue  # tests/demo runs the one; the others need a host, and have tests below
        done = subprocess.run(
            [sys.executable, "-m", "remote_kernels", *words],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        assert done.returncode == 0, (words, done.stderr)
        printed += done.stdout
    assert printed, "the page has no command of ours"
    told = SAID.findall("".join(blocks(page, "text")))
    assert [line for line in told if line not in printed.splitlines()] == []
    added = set(re.findall(r"Added kernel \['(\S+)'\]", printed))
    if page.name != "discover.md":
        assert names_in_pipes(page) <= added


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    inside = [target for target in targets if "://" not in target]
    assert [target for target in inside if not (page.parent / target).exists()] == []


def test_the_readme_names_every_page_of_the_guide() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in sorted(GUIDE - {"README.md"}) if f"({name})" not in readme] == []


# --- what the schedulers are asked ----------------------------------------------------------------

ROW = re.compile(r"^\| `(--.*?)` \| `(.*?)` \|$", re.MULTILINE)
# Which tables a page has, in their order.
TABLES = {"slurm": ["slurm"], "grid-engine": ["sge"], "pbs-and-lsf": ["pbs", "lsf"]}


def options_of(text: str) -> dict[str, Any]:
    """The fields of KernelOptions for some flags."""
    words = shlex.split(text)
    found: dict[str, Any] = {}
    for flag, value in zip(words[::2], words[1::2], strict=True):
        name = flag.strip("-").replace("-", "_").replace("remote_launch", "launch")
        found[name] = int(value) if name in ("cpus", "gpus") else value
    return found


@pytest.mark.parametrize("page", TABLES)
def test_the_tables_say_what_is_asked(page: str) -> None:
    text = (ROOT / f"docs/guide/{page}.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| option \|.*\n\|---\|---\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    for name, table in zip(TABLES[page], tables, strict=True):
        scheduler = interface_named(name)
        assert issubclass(scheduler, Scheduler)
        asked = {"interface": name, "name": "x"}
        plain = scheduler.job_command(KernelOptions(**asked), "x")
        rows = ROW.findall(table)
        assert len(rows) == len(table.splitlines())
        for flags, words in rows:
            command = scheduler.job_command(KernelOptions(**asked, **options_of(flags)), "x")
            at = next(n for n, word in enumerate(command) if word != plain[n])
            given = command[at : at + len(command) - len(plain)]
            assert given == shlex.split(words), flags


# --- as a reader does it --------------------------------------------------------------------------

# What stands in the pages for machines of the reader's, and which the bed has.
MACHINES = {
    "me@gateway.example.org:2222": "gina@gw1",
    "me@gateway.example.org": "gina@gw1",
    "me@frontend": "gina@gw2",
    "me@login.example.org": "ada@login",
    "login.example.org": "login",
    "me@node7": "ada@inner",
    "node7": "inner",
    "User me": "User ada",
}
# The one machine that wants a code is another one.
WITH_CODE = {"me@login.example.org": "ada@far", "login.example.org": "far"}

# What the reader's own configuration says of these machines.
CONFIG = """
Host login
    ProxyJump gina@gw1
Host *
    StrictHostKeyChecking accept-new
"""


class Reader:
    """Somebody who follows a page, with the names of their own machines."""

    def __init__(self, page: str, machines: dict[str, str], section: str = "") -> None:
        text = (ROOT / f"docs/guide/{page}").read_text(encoding="utf-8")
        if section:
            text = text.partition(f"\n## {section}\n")[2]
        # Names of kernels are made of those of machines.
        known = {re.sub(r"\W", "_", k): re.sub(r"\W", "_", v) for k, v in machines.items()}
        names = known | machines
        pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        self._text = re.sub(pattern, lambda found: names[found[0]], text)

    def blocks(self, language: str) -> list[str]:
        """The page's code blocks of one language."""
        return [text for found, text in BLOCK.findall(self._text) if found == language]

    def configure_ssh(self) -> None:
        """Put what the page says into the reader's ssh configuration."""
        found = [text for text in self.blocks("text") if text.startswith("Host ")]
        (Path.home() / ".ssh/config").write_text("".join(found) + CONFIG)

    def block(self, beginning: str) -> str:
        """The first shell block that begins so."""
        return next(text for text in self.blocks("shell") if text.startswith(beginning))

    def run(self, block: str, **variables: str) -> str:
        """Run a shell block; what it prints."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
        )
        print(block, done.stdout, done.stderr)
        assert done.returncode == 0
        return done.stdout

    def try_it(self) -> str:
        """Do all that our own blocks say, up to the first kernel; what that kernel prints."""
        for block in self.blocks("shell"):
            if block.startswith("remote-kernels "):
                told = self.run(block)
                assert told in self._text
            elif "| jupyter run " in block:
                return self.run(block)
        raise AssertionError("the page starts no kernel")


@pytest.fixture
def kernels(bed: Bed, nothing_remains: None, jupyter: None) -> Iterator[None]:
    """The environment ``~/kernels`` that the pages take for granted, wherever the reader is."""
    environment = str(Path(bed.far_python).parents[1])
    on_login = [(bed.login, user) for user in ("ada", "pia", "lars")]
    homes = [*on_login, (bed.far, "ada"), (bed.inner, "ada"), (bed.box, "ada")]
    for machine, user in homes:
        machine.run(["ln", "-s", environment, "kernels"], user=user)
    yield
    for machine, user in homes:
        machine.run(["rm", "kernels"], user=user)


def node_of(page: str, section: str = "", user: str = "ada") -> str:
    """Where the first kernel of a page, or of a section of it, runs."""
    who = {"me@login.example.org": f"{user}@login", "User me": f"User {user}"}
    reader = Reader(page, MACHINES | who, section)
    reader.configure_ssh()
    return reader.try_it().strip()


@pytest.mark.usefixtures("kernels")
def test_a_kernel_behind_the_gateways(bed: Bed) -> None:
    assert node_of("gateways.md") == "inner"
    assert [m.logins() for m in (bed.gw1, bed.gw2, bed.inner)] == [["gina"], ["gina"], ["ada"]]


@pytest.mark.usefixtures("kernels")
def test_a_whole_server(bed: Bed) -> None:
    far = {"me@gpu.example.org": "ada@far", "gpu.example.org": "far", "user='me'": "user='ada'"}
    reader = Reader("whole-server.md", far)
    (text,) = [text for text in reader.blocks("text") if text.startswith("remote_user=")]
    Path("remote.conf").write_text(text)
    assert "Added host gpu: ada@far." in reader.run(reader.block("remote-kernels hosts --import"))
    lines = reader.block("remote-kernels lab gpu\n").splitlines()
    assert reader.run(lines[1]) == "No servers run on gpu.\n"


@pytest.mark.usefixtures("kernels")
def test_a_kernel_behind_nat(bed: Bed) -> None:
    names = {"me@www.example.org": "ada@far", "me@localhost": "ada@localhost", "P507": "box"}
    reader = Reader("behind-nat.md", {**names, "www.example.org": "far", "/home/me": "/home/ada"})
    reader.configure_ssh()
    with at_box(bed) as box:
        by_key = "ada@far: lets you in with a key already\n"
        assert box.run(reader.block("remote-kernels copy-id ada@far\n")).stdout == by_key
        held = box.holds(*shlex.split(reader.block("remote-kernels reverse ada@far"))[2:])
        assert held.said() in reader.blocks("text")
        for beginning in ("copy-id ada@localhost", "hosts --add", "discover", "manage --add"):
            told = reader.run(reader.block(f"remote-kernels {beginning}"))
        assert told in reader.blocks("text")
        assert reader.run(reader.block("echo ")) == "box\n"
        status = box.run(reader.block("remote-kernels reverse --status")).stdout
        standing = (
            "ada@far: connected since .*; port 19506 there leads to port 22 here; made anew 0"
        )
        assert re.match(standing, status)
        held.end()


@pytest.mark.usefixtures("kernels")
def test_a_kernel_that_is_found(bed: Bed) -> None:
    # Where the page says nothing of directories, environments are found in usual ones.
    bed.far.run(["sh", "-c", "mkdir ~/venvs && mv ~/kernels ~/venvs"], user="ada")
    try:
        reader = Reader("discover.md", MACHINES | {"me@gpu.example.org": "ada@far"})
        assert "would start" in reader.run(reader.block("remote-kernels discover ada@far\n"))
        reader.run(reader.block("remote-kernels discover ada@far --look-in"))
        added = reader.run(reader.block("remote-kernels discover ada@far --add kernels"))
        assert added in reader.blocks("console")
        assert reader.run(reader.block("echo ")) == "far\n"
        assert "Added kernel" in reader.run(reader.block("remote-kernels discover ada@far --sync"))
    finally:
        bed.far.run(["sh", "-c", "mv ~/venvs/kernels ~ && rmdir ~/venvs"], user="ada")


@pytest.mark.usefixtures("slurm", "kernels")
def test_a_kernel_in_a_job_of_slurm() -> None:
    assert node_of("slurm.md") in ("n1", "n2")


@pytest.mark.usefixtures("gridengine", "kernels")
def test_a_kernel_in_a_job_of_grid_engine() -> None:
    assert node_of("grid-engine.md") in ("n1", "n2")


@pytest.mark.usefixtures("slurm", "kernels")
@pytest.mark.parametrize(("section", "user"), [("PBS", "pia"), ("LSF", "lars")])
def test_a_kernel_in_a_job_of_a_stub(section: str, user: str) -> None:
    assert node_of("pbs-and-lsf.md", section, user) in ("n1", "n2")


CHECK_CODE = """\
#!/bin/sh
read -r code
echo "$code" >> /run/code/asked
[ "$code" = 123456 ]
"""
PAM = """\
auth required pam_exec.so expose_authtok /run/code/check
auth required pam_permit.so
account required pam_permit.so
session required pam_permit.so
"""


@pytest.fixture
def codes(bed: Bed) -> Iterator[str]:
    """The machine ``far`` wants a code after the key; the path of those that it was given."""
    run = bed.far.run
    run(["mkdir", "/run/code"])
    run(["tee", "/run/code/pam"], input=PAM)
    run(["tee", "/run/code/check"], input=CHECK_CODE)
    run(["touch", "/run/code/asked"])
    run(["chmod", "755", "/run/code/check"])
    run(["mount", "--bind", "/run/code/pam", "/etc/pam.d/sshd"])
    methods = "AuthenticationMethods publickey,keyboard-interactive"
    try:
        with bed.far.sshd("UsePAM yes", "KbdInteractiveAuthentication yes", methods):
            yield "/run/code/asked"
    finally:
        run(["umount", "/etc/pam.d/sshd"])
        run(["rm", "-r", "/run/code"])


@pytest.mark.usefixtures("kernels")
def test_a_login_that_asks_for_a_code(bed: Bed, codes: str, tmp_path: Path) -> None:
    def asked() -> list[str]:
        return bed.far.read(codes).split()

    reader = Reader("login-code.md", WITH_CODE)
    login = pexpect.spawn("bash", ["-c", reader.block("remote-kernels login ada@far")], timeout=20)
    login.expect("remote-kernels: ada@far asks:\r\n.*Password: ")
    login.sendline("123456")
    login.expect(r"Logged in\. Kernels can use it until")
    login.expect(pexpect.EOF)
    login.close()
    assert login.exitstatus == 0
    assert reader.run("remote-kernels login").startswith("ada@far: logged in at ")
    reader.run(reader.block("remote-kernels manage --add --interface ssh"))
    try_it = reader.block("echo ")
    assert reader.run(try_it) == "far\n"
    assert asked() == ["123456"]
    assert bed.far.sshd_log().count("\nAccepted keyboard-interactive/pam for ada ") == 1
    reader.run(reader.block("remote-kernels logout"))

    with pytest.raises(AssertionError):
        reader.run(try_it)
    assert asked() == ["123456"]

    window = tmp_path / "window"
    window.write_text("#!/bin/sh\necho 123456\n")
    window.chmod(0o755)
    assert reader.run(try_it, SSH_ASKPASS=str(window)) == "far\n"
    assert asked() == ["123456", "123456"]
