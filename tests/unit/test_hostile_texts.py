"""Texts that mean something to a shell, to ssh, to argparse or to Jupyter arrive as typed, or not.

Not means that they are refused in words. Whatever is run of them on the way makes a file that is
called canary. What is far away is played by programs that write their words down.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, assume, example, settings
from hypothesis import given as examples
from hypothesis import strategies as st

from remote_kernels import cli
from remote_kernels.cli import login as login_command
from remote_kernels.connection_file import PORT_NAMES, ConnectionFile
from remote_kernels.errors import OptionsError
from remote_kernels.hosts import Host
from remote_kernels.interfaces import interface_named
from remote_kernels.interfaces.scheduler import Scheduler
from remote_kernels.interfaces.ssh import Ssh
from remote_kernels.keeper_order import kernel_order, order_for
from remote_kernels.keeper_text import start_of_keeper
from remote_kernels.life import Life
from remote_kernels.options import (
    DECLARED,
    DEFAULTS,
    INTERFACE_NAMES,
    STORED_PLACEHOLDER,
    KernelOptions,
    from_argv,
    given,
)
from remote_kernels.questions import Answerer, Questions
from remote_kernels.remote_script import kernel_command_parts
from remote_kernels.resources import kibibytes, seconds
from remote_kernels.shared_login import KeptLogin
from remote_kernels.shell_text import as_bytes
from remote_kernels.way import Way
from unit.test_keeper import MARK, PYTHONS, TOKEN, Near
from unit.test_options import as_jupyter_runs_it
from unit.test_queue_script import Cluster, cluster, done, script
from unit.test_remote_script import SHELLS, run_to_exit
from unit.test_remote_script import script as kernel_script

__all__ = ["cluster"]  # a fixture

PIECES = [
    *("$(touch canary)", "`touch canary`", ";touch canary;", "\ntouch canary\n", "|touch canary"),
    *("-oProxyCommand=touch canary", "' touch canary '", '"; touch canary; "', "&touch canary&"),
    *" \t\n\r'\"\\$`!*?~#&;|<>()[]{}=%^@:,.-+/ü日☂\udcffaZ9",
    *("-", "--", "--host", "-o", "%h", "%%", "\\'", "${HOME}", "$rk_path", "@@ip@@", "\x1b[A"),
    *("{connection_file}", "{cwd}", "{\\env}", "{{x}}", "{ci[key]}", "{ci[hb_port]}", "9" * 5000),
]
# What matters where it comes first: to argparse, to click, to ssh, and to Jupyter.
FIRST = ["", "", "-", "--", "-- ", "~", "~/", "="]
TEXTS = st.builds(
    str.__add__,
    st.sampled_from(FIRST),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join),
)
NAMES = TEXTS.map(lambda text: text.replace("/", "")[:60]).filter(
    lambda x: x not in (".", "..", "")
)
# Most of these are hosts.
HOSTS = st.from_regex(
    r"([a-z0-9\\#%^=+.ü☂_~/-]{1,6}@)?([a-z][a-z0-9%^=+ü☂_-]{0,5}|\[fe80::1%lo\])(:[1-9][0-9]{0,3})?",
    fullmatch=True,
)

settings.register_profile(
    "hostile",
    deadline=None,
    max_examples=25,
    # The directories of a test serve all its examples.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
HOSTILE = settings.get_profile("hostile")
few = settings(HOSTILE, max_examples=10)

RECORDER = """#!/bin/sh
printf '%s\\0' "$@" end > {record}
{then}
"""


@pytest.fixture(autouse=True)
def _no_canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing that is said in these texts is ever done."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield
    assert not [path for path in tmp_path.rglob("*") if path.name == "canary"]


def recorder(path: Path, then: str = "") -> Path:
    """A program that writes its words down."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = RECORDER.format(record=shlex.quote(f"{path}.words"), then=then)
    path.write_text(text, errors="surrogateescape")
    path.chmod(0o755)
    return path


def recorded(path: Path) -> list[str]:
    """The words that a program was last given."""
    words = Path(f"{path}.words")
    found = os.fsdecode(words.read_bytes()).split("\0")
    words.unlink()
    assert found[-2:] == ["end", ""]
    return found[:-2]


def refusal(build: Callable[[], object]) -> str | None:
    """The sentence with which something is refused; None if it is not."""
    try:
        build()
    except OptionsError as error:
        return error.sentence
    return None


# --- what is stored ------------------------------------------------------------------------------


class Said(NamedTuple):
    """What a command has said, and its exit code."""

    code: int
    out: str
    err: str

    def refused(self) -> bool:
        """Whether it is a refusal, in words."""
        if self.code:
            assert self.err.strip()
            assert "Traceback" not in self.err
        return bool(self.code)


Command = Callable[..., Said]


@pytest.fixture
def command(kernels: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs ``remote-kernels`` in this process; an error that is not in words gets out of it."""

    def run(*words: str) -> Said:
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        code = ended.value.code
        assert isinstance(code, int)
        return Said(code, *capsys.readouterr())

    return run


def text_fields(interface: str) -> list[str]:
    """The options of an interface that are texts of any kind."""
    uses = interface_named(interface).uses
    return [
        name
        for name, option in DECLARED.items()
        if (name in uses or option.general)
        and not isinstance(DEFAULTS[name], bool)
        and not option.choices
        and name != "interface"
    ]


@st.composite
def typed(draw: st.DrawFn, interface: str) -> dict[str, str]:
    """What a person types for some options, with hostile texts in a few of them."""
    values = {"name": "Python 3", "kernel_cmd": "python {connection_file}"}
    if interface == "ssh":
        values["host"] = "me@gpu"
    fields = draw(st.lists(st.sampled_from(text_fields(interface)), min_size=1, max_size=3))
    for name in fields:
        quoted = TEXTS | TEXTS.map(shlex.quote) if name.startswith("launch_") else TEXTS
        hosts = HOSTS | TEXTS | st.sampled_from(["~/x@gw", "-x@gw", "-x", "x@-y"])
        values[name] = draw(hosts if name in ("host", "tunnel_hosts") else quoted)
    return values


def as_words(values: dict[str, str]) -> list[str]:
    return [f"{DECLARED[name].flags[0]}={text}" for name, text in values.items()]


def as_options(interface: str, values: dict[str, str]) -> KernelOptions:
    """The options that these texts are, if they are taken as typed."""
    read: dict[str, Any] = dict(values)
    if "tunnel_hosts" in read:
        read["tunnel_hosts"] = (read["tunnel_hosts"],)
    for name in ("cpus", "gpus"):
        if name in read:
            read[name] = max(DEFAULTS[name], int(read[name]))
    return KernelOptions(interface=interface, **read)


def as_the_launcher_has_it(argv: list[str]) -> KernelOptions:
    """What comes of kernel.json's argv through Jupyter's hands."""
    words = [os.path.expanduser(word) for word in as_jupyter_runs_it(argv)]
    return from_argv(words[3:])[0]


@pytest.mark.parametrize("interface", INTERFACE_NAMES)
@settings(HOSTILE, max_examples=60)
@examples(data=st.data())
def test_what_is_added_is_as_typed_or_refused(
    command: Command, kernels: Path, interface: str, data: st.DataObject
) -> None:
    values = data.draw(typed(interface))
    shutil.rmtree(kernels, ignore_errors=True)
    said = command("manage", "--add", f"--interface={interface}", *as_words(values))
    if said.refused():
        assert not kernels.exists()
        return
    wanted = as_options(interface, values)
    (directory,) = kernels.iterdir()
    text = (directory / "kernel.json").read_bytes()
    stored = wanted.kernel_cmd and wanted.kernel_cmd.replace(
        "{connection_file}", STORED_PLACEHOLDER
    )
    # The language is for front ends.
    found = as_the_launcher_has_it(json.loads(text)["argv"])
    assert found == wanted._replace(kernel_cmd=stored, language=None)

    (shown,) = json.loads(command("manage", "--show", "--json").out)
    assert shown["options"] == json.loads(json.dumps(given(wanted)))
    shutil.rmtree(kernels)
    assert command(*shown["add_command"][1:]).code == 0
    assert (directory / "kernel.json").read_bytes() == text
    assert_each_is_one_word(wanted)


def assert_each_is_one_word(options: KernelOptions) -> None:
    """In what would be spawned and asked for each text stands where no other meaning is seen."""
    interface, private = interface_named(options.interface), Path("/private")
    way = interface.way(options)
    asked = [
        interface.session_command(options, private, "START"),
        interface.keeper_command(options, private),
    ]
    for argv in asked if way is not None else []:
        assert way is not None
        split = len(argv) - 3
        assert argv[split : split + 2] == ["--", way.host.name]
        ours = [*way.program, "-F", "/private/ssh_config", *way.args]
        assert argv[: len(ours)] == ours
        rest = argv[len(ours) : split]
        assert rest[-2:] == ["-l", way.host.user] or way.host.user is None
        assert "--" not in argv[len(way.program) : split]
        for host in (way.host, *way.gateways):
            assert not host.name.startswith("-")
            assert not str(host.user).startswith("-")
    if issubclass(interface, Scheduler):
        job = interface.job_command(options, "name")
        # One CPU needs no parallel environment.
        texts = [options.queue, options.account, options.pe if options.cpus > 1 else None]
        for text in texts:
            assert text is None or text in job or any(word.endswith(f"={text}") for word in job)
        own = shlex.split(options.launch_args or "")
        assert "--" not in own
        assert any(job[at : at + len(own)] == own for at in range(len(job)))


@pytest.mark.parametrize("read", [seconds, kibibytes])
@pytest.mark.parametrize("text", ["9" * 5000 + "{}", "9" * 400 + "{}", "9" * 16 + "{}"])
@pytest.mark.parametrize("unit", ["d", "h", "s", ":00:00", "-00:00:00", "G", "T"])
def test_numbers_of_any_size_are_refused_in_words(
    read: Callable[[str, str], int], text: str, unit: str
) -> None:
    with pytest.raises(OptionsError):
        read(text.format(unit), "--flag")


# --- ssh -----------------------------------------------------------------------------------------

needs_ssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh")


def as_ssh_reads_it(argv: Sequence[str]) -> dict[str, str]:
    """What ssh makes of its own words."""
    done = subprocess.run([argv[0], "-G", *argv[1:]], capture_output=True, check=False)
    # It refuses some names itself, in words.
    assume(b"invalid characters" not in done.stderr)
    assert done.returncode == 0, done.stderr
    lines = os.fsdecode(done.stdout).splitlines()
    return dict(line.split(" ", 1) for line in lines if " " in line)


@needs_ssh
@HOSTILE
@examples(text=HOSTS | TEXTS)
@example(text="-oProxyCommand=touch canary")
@example(text="CORP\\me@[fe80::1%lo]:22")
def test_ssh_reads_a_host_as_it_was_typed(text: str) -> None:
    if sentence := refusal(lambda: Host.parse(text)):
        assert repr(text) in sentence
        return
    host = Host.parse(text)
    read = as_ssh_reads_it(["ssh", "-F", "none", *Way(host).destination])
    assert read["hostname"] == host.name.lower()
    assert read["user"] == host.user or host.user is None
    assert read["port"] == str(host.port or 22)
    assert "proxycommand" not in read


@needs_ssh
@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "fish", "tcsh"])
@settings(HOSTILE, max_examples=10)
@examples(texts=st.lists(HOSTS, min_size=1, max_size=3))
@example(texts=["CORP\\me@a", "^=u\\~v@b:2222", "x%h@[fe80::1%lo]:2222"])
def test_gateways_arrive_through_the_shells_of_ssh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str, texts: list[str]
) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"there is no {shell}")
    assume(not any(refusal(partial(Host.parse, text)) for text in texts))
    gateways = [Host.parse(text) for text in texts]
    # ssh takes an alias for another machine in the middle of a chain to itself.
    assume(len({gateway.name for gateway in gateways}) == len(gateways))
    # Of brackets that it hands on some shells say that no file is called so.
    assume(not any(":" in gateway.name for gateway in gateways[:-1]))
    real = shutil.which("ssh", path=os.defpath)
    assert real is not None
    (tmp_path / "all").write_bytes(b"")
    wrapper = recorder(
        tmp_path / "bin/ssh",
        f'cat {tmp_path}/bin/ssh.words >> {tmp_path}/all; exec -a ssh {real} "$@"',
    )
    wrapper.write_text(wrapper.read_text().replace("/bin/sh", "/bin/bash", 1))
    env = {**os.environ, "PATH": f"{wrapper.parent}:{os.defpath}", "SHELL": path}
    # The first of them, which is not handed on to another, is not to go anywhere.
    (tmp_path / "config").write_text("ProxyCommand false\n")
    way = Way(Host("far"), tuple(gateways))
    argv = ["ssh", "-F", str(tmp_path / "config"), *way.destination]
    ended = subprocess.run(argv, executable=real, env=env, capture_output=True, check=False)
    # A user's name that ends with a backslash it refuses itself.
    assume(b"Invalid -J argument" not in ended.stderr)
    calls = os.fsdecode((tmp_path / "all").read_bytes()).split("end\0")[:-1]
    found = [words.split("\0")[:-1] for words in calls]
    assert [reached(words) for words in found] == gateways[::-1]


def reached(words: list[str]) -> Host:
    """The host to which these words lead an ssh."""
    values = dict(pairwise(words))
    port = values.get("-p")
    return Host(words[-1], values.get("-l"), None if port is None else int(port))


@needs_ssh
@HOSTILE
@examples(name=NAMES)
@example(name='x"\nProxyCommand touch canary\n')
@example(name="a b'ü")
def test_a_configuration_of_any_name_is_read_or_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    options = KernelOptions(interface="ssh", host="far", launch_args=f"-F {shlex.quote(str(path))}")
    if sentence := refusal(lambda: Ssh.way(options)):
        assert "cannot include a configuration" in sentence
        return
    way = Ssh.way(options)
    path.write_text("User as-typed\n")
    ours = tmp_path / "ours"
    ours.write_bytes(as_bytes(way.config(can_ask=False, socket=f"{tmp_path}/%C")))
    read = as_ssh_reads_it(["ssh", "-F", str(ours), *way.destination])
    path.unlink()
    assert read["user"] == "as-typed"
    assert "proxycommand" not in read


# --- the programs over there ---------------------------------------------------------------------


def info(session: str) -> dict[str, Any]:
    """A connection file's content; front ends may write more than is needed into it."""
    ports = {name: number for number, name in enumerate(PORT_NAMES, start=41001)}
    return {**ports, "ip": "127.0.0.1", "transport": "tcp", "key": "x", "jupyter_session": session}


@pytest.fixture(params=SHELLS, ids=lambda command: str(command[0]))
def sh(request: pytest.FixtureRequest) -> list[str]:
    found: list[str] = request.param
    if shutil.which(found[0]) is None:
        pytest.skip(f"there is no {found[0]}")
    return found


@few
@examples(name=NAMES, words=st.lists(TEXTS, min_size=3, max_size=3), near=st.booleans())
@example(name="new\nline\n", words=["$rk_path", "@@ip@@", "{x}"], near=True)
def test_the_program_of_sh(
    sh: list[str], tmp_path: Path, name: str, words: list[str], near: bool
) -> None:
    home, directory = tmp_path / "home", tmp_path / "home" / name
    directory.mkdir(parents=True, exist_ok=True)
    kernel = recorder(tmp_path / "kernel", 'cat "$1"; printf "%s\\0" "$TEXT" "$PWD" > "$0.more"')
    command = f"{kernel} {{connection_file}} {shlex.join(no_fields(words))}"
    place: dict[str, Any] = {"near_directory" if near else "workdir": str(directory)}
    precmd = f"export TEXT={shlex.quote(words[0])}"
    program = kernel_script(command, precmd=precmd, **place)._replace(info=info(words[1]))
    text = "\n".join(run_to_exit(sh, home, program))
    assert recorded(kernel)[1:] == no_fields(words)
    more = os.fsdecode(Path(f"{kernel}.more").read_bytes()).split("\0")[:2]
    assert more == [words[0], str(directory)]
    copy, _ = json.JSONDecoder().raw_decode(text[text.index("{\n") :])
    assert copy["jupyter_session"] == words[1]
    # Of a path of several lines only a part would be told, which is another file.
    told = [
        line.partition("COPY")[2].strip() for line in text.split("\n") if "@rk-test COPY" in line
    ]
    assert told == ([""] if "\n" in name else [f"{directory}/rik_kernel-1.json"])
    assert not list(directory.iterdir())
    directory.rmdir()


def no_fields(words: list[str]) -> list[str]:
    """The words without what a kernel command is to be filled in, or read as a format string."""
    return [word.replace("{", "(").replace("}", ")") for word in words]


def keeper_starts(
    tmp_path: Path, python: str, options: KernelOptions, session: str = "x"
) -> list[str]:
    """Start a kernel's keeper as the launcher does; what the keeper has told."""
    file = ConnectionFile(tmp_path / "kernel-1.json", info(session), "1")
    life = Life(options, file)
    life.mark = MARK
    near = Near(tmp_path, python)
    near.order = order_for(life, kernel_order(life), TOKEN)
    try:
        near.session(start_of_keeper(near.order))
        near.heard("EXIT 0")
        near.tell("END")
        near.until(lambda: near.ended, "the end")
        return os.fsdecode(bytes(near.arrived[0])).split("\n")
    finally:
        near.close()


@few
@examples(name=NAMES, words=st.lists(TEXTS, min_size=3, max_size=3), near=st.booleans())
@example(name="new\nline\n", words=["$rk_path", "@@ip@@", "@@x_port@@"], near=True)
def test_the_keeper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: list[str], near: bool
) -> None:
    assert_the_keeper_takes(tmp_path, monkeypatch, "/usr/bin", name, words, near)


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.name)
def test_the_keeper_takes_letters_that_its_locale_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: Path
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    words = ["ü日☂\udcff", "ß", "é"]
    assert_the_keeper_takes(tmp_path, monkeypatch, str(python), "日本\udcff", words, near=False)
    assert_the_keeper_takes(tmp_path, monkeypatch, str(python), "日本\udcff", words, near=True)


def assert_the_keeper_takes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    python: str,
    name: str,
    words: list[str],
    near: bool,
) -> None:
    directory = tmp_path / "home" / name
    directory.mkdir(parents=True, exist_ok=True)
    # The part before a line's end is another file, which is nobody's business.
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SHELL", "/bin/sh")
    kernel = recorder(
        tmp_path / "kernel", 'cat "$1" > "$0.copy"; printf "%s\\0" "$TEXT" "$PWD" > "$0.more"'
    )
    options = KernelOptions(
        interface="ssh",
        host="far",
        kernel_cmd=f"{kernel} {{connection_file}} {shlex.join(no_fields(words))}",
        precmd=f"export TEXT={shlex.quote(words[0])}",
        workdir=None if near else str(directory),
    )
    with monkeypatch.context() as patched:
        if near:
            patched.chdir(directory)
        told = keeper_starts(tmp_path, python, options, words[1])
    assert recorded(kernel)[1:] == no_fields(words)
    more = os.fsdecode(Path(f"{kernel}.more").read_bytes()).split("\0")[:2]
    assert more == [words[0], str(directory)]
    copy = json.loads(Path(f"{kernel}.copy").read_text())
    assert copy["jupyter_session"] == words[1]
    assert [line for line in told if line.startswith("COPY ") and line.endswith("-1.json")]
    assert not list(directory.iterdir())
    directory.rmdir()


@few
@examples(name=NAMES, words=st.lists(TEXTS, min_size=2, max_size=2))
def test_a_shell_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: list[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shell = recorder(tmp_path / "bin" / name, 'while [ $# -gt 1 ]; do shift; done; eval "$1"')
    options = KernelOptions(
        interface="local",
        launch_cmd=shlex.quote(str(shell)),
        launch_args=shlex.join(words),
        kernel_cmd="true",
    )
    interface_named("local").check(options)
    keeper_starts(tmp_path, "/usr/bin", options)
    found = recorded(shell)
    assert found[: len(words) + 1] == [*words, "-c"]
    assert found[-1].endswith("true")


JOBS = {"slurm": "srun", "sge": "qlogin", "sge_qrsh": "qrsh", "pbs": "qsub", "lsf": "bsub"}


@pytest.mark.parametrize("interface", JOBS)
@few
@examples(
    name=NAMES,
    words=st.lists(TEXTS, min_size=3, max_size=3),
    shell=st.sampled_from(["bash", "zsh", "fish", "tcsh"]),
)
def test_what_a_scheduler_is_asked_for(
    cluster: Cluster, interface: str, name: str, words: list[str], shell: str
) -> None:
    assume(shutil.which(shell) is not None)
    assume("--" not in words)
    program = recorder(cluster.home / "programs" / f"{name}-{JOBS[interface]}")
    options = KernelOptions(
        interface=interface,
        name=words[0],
        queue=words[1],
        account=words[2],
        launch_cmd=shlex.quote(str(program)),
        launch_args=shlex.join(words),
    )
    scheduler = interface_named(interface)
    assert issubclass(scheduler, Scheduler)
    scheduler.check(options)
    job = scheduler.job_command(options, scheduler.job_name(options, "TOKEN", kept=True))
    assert job[0] == str(program)
    assert done(cluster.asked(script(*job), shell)) == 0
    assert recorded(program) == job[1:]


@HOSTILE
@examples(path=TEXTS)
@example(path="$(touch canary)")
def test_a_text_of_the_connection_file_is_no_part_of_a_command(path: str) -> None:
    kernel_cmd, file = "kernel {ci[jupyter_session]}", {"jupyter_session": path}
    if sentence := refusal(lambda: kernel_command_parts(kernel_cmd, file)):
        assert repr(path) in sentence
        return
    parts = kernel_command_parts(kernel_cmd, file)
    # A person may have put it in quotes.
    command = f'printf %s "{"".join(map(str, parts)).removeprefix("kernel ")}"'
    said = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=True).stdout
    assert os.fsdecode(said) == path


# --- logins --------------------------------------------------------------------------------------


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[Way]:
    """The ways on which somebody has logged in."""
    found: list[Way] = []

    def log_in(way: Way, seconds: int) -> KeptLogin:
        found.append(way)
        hosts = (str(way.host), tuple(map(str, way.gateways)))
        return KeptLogin(*hosts, 0.0, float(seconds), "/nowhere", Path("/nowhere"))

    monkeypatch.setattr(login_command, "log_in", log_in)
    monkeypatch.setattr(login_command, "kept_logins", lambda: [log_in(ways.pop(), 1)])
    monkeypatch.setattr(login_command, "log_out", lambda kept: None)
    ways = found
    return found


@HOSTILE
@examples(
    host=HOSTS | TEXTS,
    gateways=st.lists(HOSTS, max_size=2),
    args=TEXTS | st.lists(TEXTS).map(shlex.join),
)
@example(host="fd66:1::2", gateways=[], args="")
@example(host="CORP\\me@gpu:022", gateways=["x@y:1"], args="-F 'a b' -i 'c d'")
def test_login_and_logout(
    command: Command, ways: list[Way], host: str, gateways: list[str], args: str
) -> None:
    ways.clear()
    words = [f"--tunnel-hosts={gateway}" for gateway in gateways]
    said = command("login", *words, f"--remote-launch-args={args}", "--", host)
    if said.refused():
        assert not ways
        return
    (way,) = ways
    assert (way.host, way.gateways) == (Host.parse(host), tuple(map(Host.parse, gateways)))
    # What we tell people to type.
    command(*shlex.split(way.login_line())[1:])
    assert ways.pop() == way
    advised = said.out.partition("; '")[2].rpartition("' ends it.")[0]
    assert command(*shlex.split(advised)[1:]).code == 0


@few
@examples(name=NAMES, words=st.lists(TEXTS, min_size=3, max_size=3))
def test_the_program_that_ssh_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: list[str]
) -> None:
    directory = tmp_path / f"{name}-private"
    directory.mkdir(exist_ok=True)
    python = recorder(tmp_path / "python" / name)
    monkeypatch.setattr(sys, "executable", str(python))
    questions = Questions(directory, Answerer("desktop", words[0]), words[1])
    askpass = questions.environment()["SSH_ASKPASS"]
    subprocess.run([askpass, words[2]], check=True)
    found = recorded(python)
    assert found[0] == "-c"
    assert found[-1] == words[2]
    assert {words[0], words[1], str(directory)} <= set(found[2:-1])
