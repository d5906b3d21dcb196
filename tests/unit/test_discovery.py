"""What comes of the kernels that a host tells of: names, kernelspecs, logos, and a sync.

The host is played by an object that answers; one of them says anything but the truth.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from remote_kernels import cli, discovery, kernelspecs
from remote_kernels.cli import discover as command
from remote_kernels.cli import render
from remote_kernels.discovery import Change, Discovery, Found, There
from remote_kernels.errand import Errand
from remote_kernels.errors import KernelSpecError, OptionsError, RemoteKernelsError
from remote_kernels.kernel_log import printable
from remote_kernels.kernelspecs import KernelSpec
from remote_kernels.options import from_argv
from remote_kernels.remote_script import kernel_command_parts

HOME = "/home/ada"
TORCH = f"{HOME}/miniconda3/envs/torch"
PNG = b"\x89PNG\r\n\x1a\n"
OURS = {"logo-32x32.png", "logo-64x64.png", "logo-svg.svg"}

Answer = Any
Asked = Mapping[str, Any]


def raw(name: Any = "torch", **fields: Any) -> dict[str, Any]:
    """A kernel as a host tells of it: an environment of conda, but for some fields."""
    prefix = fields.get("path", f"{HOME}/miniconda3/envs/{name}")
    python = f"{prefix}/bin/python"
    return {
        **{"name": name, "kind": "conda", "path": prefix, "program": python},
        "argv": [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        **{"language": "python", "display_name": None, "version": "3.11.4", "activate": prefix},
        **{"env": {}, "interrupt_mode": None, "metadata": {}, "files": ""},
        **{"problem": "", "uncertain": False, "install": "", "installs_into": "", "mount": "/"},
        **fields,
    }


def _said(parts: Iterable[Any], *arguments: Any) -> Iterable[Any]:
    return parts


class Host(Errand):
    """A session to a host, as it is asked from here.

    Attributes:
        kernels: that it tells of.
        answers: the parts of its answers to other questions, or what makes them of the arguments.
        gone: paths that are not there any more.
        asked: what it was asked.
    """

    def __init__(self, *kernels: Any, **answers: Iterable[Any]) -> None:
        self.kernels = list(kernels)
        self.notes: list[Any] = []
        self.gone: set[str] = set()
        self.answers: dict[str, Callable[..., Iterable[Any]]] = {
            "kernels": lambda _: [
                {"kernels": self.kernels, "notes": self.notes, "home": HOME},
            ],
            "files": lambda directories: [{} for _ in directories],
            "missing": lambda paths: [[path for path, _ in paths if path in self.gone]],
        }
        for name, parts in answers.items():
            self.answers[name] = partial(_said, parts)
        self.asked: list[tuple[Any, ...]] = []

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def ask(
        self,
        name: str,
        *arguments: Any,
        told: Callable[[Any], None] | None = None,
        patience: float | None = None,
    ) -> Any:
        self.asked.append((name, *arguments))
        limit = sys.getrecursionlimit()
        # It comes over a line; newer Pythons read JSON that is nested deeper than they could write.
        sys.setrecursionlimit(10 * limit)
        parts: list[Any] = json.loads(json.dumps(list(self.answers[name](*arguments))))
        sys.setrecursionlimit(limit)
        for part in parts[:-1]:
            if told is not None:
                told(part)
        return parts[-1] if parts else None

    def found(self) -> Discovery:
        """What it tells of."""
        return discovery.discover(self, [])


def found(name: str = "torch", **fields: Any) -> Found:
    """One kernel of a host."""
    (kernel,) = Host(raw(name, **fields)).found().kernels
    return kernel


@pytest.fixture
def there(kernels: Path) -> There:
    """A host that ssh reaches, from a home that is new."""
    return There.at("ada@far", {}, kernels)


def written(kernels: Path) -> dict[str, Any]:
    """What lies in the directory of kernelspecs: the documents, by their names."""
    if not kernels.exists():
        return {}
    return {
        path.name: json.loads((path / "kernel.json").read_bytes()) for path in kernels.iterdir()
    }


def add(there: There, *names: str, host: Host | None = None) -> list[Change]:
    """Add kernels as ``--add`` does."""
    host = host or Host(*map(raw, names))
    changes = [discovery.added(there, kernel, "add") for kernel in host.found().kernels]
    discovery.write(host, changes)
    return changes


def synced(there: There, host: Host) -> dict[str, list[str]]:
    """A sync; what it has changed, by what it has done."""
    changes = discovery.sync(host, there, host.found())
    discovery.write(host, changes)
    result: dict[str, list[str]] = {}
    for change in changes:
        result.setdefault(change.what, []).append(change.spec.name)
    return result


# --- names ---------------------------------------------------------------------------------------


def test_kernels_of_one_name_have_their_paths() -> None:
    paths = [f"{HOME}/venvs/a", f"{HOME}/.virtualenvs/a", f"{HOME}x/a", "/opt/a", f"{HOME}/b"]
    told = [raw(os.path.basename(path), path=path) for path in paths]
    names = [kernel.name for kernel in Host(*told).found().kernels]
    assert names == ["~/venvs/a", "~/.virtualenvs/a", f"{HOME}x/a", "/opt/a", "b"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("torch", TORCH),
        (TORCH, TORCH),
        ("~/venvs/twin", f"{HOME}/venvs/twin"),
        ("/opt/twin", "/opt/twin"),
        ("R", "/usr/bin/R"),
        # The end of a name will do where no other has it.
        ("my work", f"{HOME}/my work"),
    ],
)
def test_a_kernel_is_called_by_its_name_or_its_path(name: str, path: str) -> None:
    host = Host(
        raw("torch"),
        raw("twin", path=f"{HOME}/venvs/twin"),
        raw("twin", path="/opt/twin"),
        raw("R", path="/usr/bin/R"),
        raw("stats/R", path="/opt/stats/bin/R"),
        raw("x/my work", path=f"{HOME}/my work"),
    )
    assert [kernel.path for kernel in host.found().named([name])] == [path]


@pytest.mark.parametrize("name", ["none", "", "tor", "/", "~", "my"])
def test_a_name_that_no_kernel_has_is_refused(name: str) -> None:
    with pytest.raises(RemoteKernelsError, match=f"there is no kernel {name} "):
        Host(raw("torch"), raw("x/my work")).found().named(["torch", name])


def test_a_name_that_several_kernels_have_is_refused_with_theirs() -> None:
    told = [raw("twin", path=f"{HOME}/{place}/twin") for place in ("a", "b")]
    with pytest.raises(RemoteKernelsError, match="there are 2 kernels twin") as refused:
        Host(*told).found().named(["twin"])
    assert refused.value.advice.splitlines() == ["~/a/twin", "~/b/twin"]


def test_what_makes_no_sense_is_no_kernel() -> None:
    good = raw()
    worse = [
        *(None, 3, "x", [], {}, [good]),
        *({name: x for name, x in good.items() if name != left} for left in good),
        *(raw(**{name: 3}) for name in ("kind", "path", "argv", "env", "metadata", "install")),
        *(raw(**{name: ["x"]}) for name in ("path", "language", "env", "metadata")),
        *(
            raw(path="/a\0"),
            raw(argv=["a\0"]),
            raw(argv=[3]),
            raw(env={"A": 3}),
            raw(env={"A": "\0"}),
        ),
        *(raw(path=""), raw(""), raw(path=None)),
    ]
    discovery_ = Host(*worse, good).found()
    assert [kernel.path for kernel in discovery_.kernels] == [TORCH]


@pytest.mark.parametrize(
    "answer",
    [
        *(None, 3, "x", [], {}),
        {"kernels": 3, "notes": [], "home": HOME},
        {"kernels": [], "notes": [1], "home": HOME},
        {"kernels": [], "notes": [["a"]], "home": HOME},
        {"kernels": [], "notes": []},
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(answer: Answer) -> None:
    with pytest.raises(RemoteKernelsError, match="no way that we know"):
        Host(kernels=[answer]).found()


def test_the_same_for_programs() -> None:
    data = found(problem="no", env={"A": "1"}).data()
    assert data == {
        **raw(problem="no", env={"A": "1"}),
        **{"display_name": "", "interrupt_mode": ""},
        "starts": False,
    }
    assert found().data()["starts"] is True


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "asked", "reached"),
    [
        ("ada@far", {}, ("ssh", "ada@far", ())),
        ("ada@far:22", {"tunnel_hosts": ("gw",)}, ("ssh", "ada@far:22", ("gw",))),
        ("login", {"interface": "slurm"}, ("slurm", None, ("login",))),
        ("login", {"interface": "pbs", "tunnel_hosts": ("gw",)}, ("pbs", None, ("gw", "login"))),
        ("", {"interface": "local"}, ("local", None, ())),
    ],
)
def test_the_way_to_a_kernel_is_the_way_to_its_host(
    kernels: Path, host: str, asked: Asked, reached: tuple[Any, ...]
) -> None:
    there = There.at(host, asked, kernels)
    options = discovery.options_of(there, found(env={"A": "1"}))
    assert (options.interface, options.host, options.tunnel_hosts) == reached
    assert there.way == [reached[0], reached[1] or "", *reached[2]]
    assert (options.name, options.language, options.activate) == ("torch", "python", TORCH)
    wanted = f"{TORCH}/bin/python -m ipykernel_launcher -f {{connection_file}}"
    assert (options.kernel_cmd, options.env) == (wanted, ("A=1",))


@pytest.mark.parametrize(
    ("host", "asked", "sentence"),
    [
        ("far", {"interface": "local"}, "the interface local goes to no host"),
        ("", {}, "a host is needed"),
        ("", {"interface": "slurm"}, "a host is needed"),
        ("a b", {}, "'a b' is no host"),
        ("-oProxyCommand=x", {}, "is no host"),
        ("far", {"cpus": 4}, "the interface ssh cannot use --cpus"),
        ("far", {"interface": "none"}, "none"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    kernels: Path, host: str, asked: Asked, sentence: str
) -> None:
    with pytest.raises(OptionsError, match=sentence):
        There.at(host, asked, kernels)


def test_what_the_person_asks_for_comes_first(kernels: Path) -> None:
    asked = {"name": "Mine", "activate": "/other", "env": ("B=2", "A=3"), "lease": "5h"}
    there = There.at("far", asked, kernels)
    options = discovery.options_of(there, found(env={"A": "1"}, language=None))
    assert (options.name, options.activate, options.lease) == ("Mine", "/other", "5h")
    # The last of a name is the kernel's.
    assert options.env == ("A=1", "B=2", "A=3")
    assert options.language is None
    plain = discovery.options_of(There.at("far", {}, kernels), found(activate=""))
    assert plain.activate is None


@pytest.mark.parametrize(
    "fields",
    [
        {"argv": ["kernel", "--key={ci[key]}"]},
        {"env": {"NO NAME": "1"}},
        {"env": {"1": "1"}},
        {"activate": "/a\nb"},
    ],
)
def test_what_we_cannot_start_is_refused(there: There, fields: dict[str, Any]) -> None:
    with pytest.raises(OptionsError):
        discovery.added(there, found(**fields), "add")
    assert not there.parent.exists()


WORDS = st.lists(
    st.sampled_from(
        [*" '\"\\$`!*?~#&;|<>(){}[]=%^@:,.-\n\tü日", "{connection_file}", "{x}", "R", "--"]
    ),
    max_size=6,
).map("".join)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(argv=st.lists(WORDS, min_size=1, max_size=4))
@example(argv=["R", "-e", "f <- function() {{ 1 }}", "{connection_file}"])
@example(argv=["kernel", "--file={connection_file}", "a'{connection_file}'b"])
@example(argv=["kernel", "{resource_dir}", "{{connection_file}}", "{\\x}"])
@example(argv=["~/kernel", "{host_connection_file}"])
def test_a_kernel_is_started_with_the_words_of_its_kernelspec(
    there: There, argv: list[str]
) -> None:
    # This alone could not be stored, and is refused.
    assume(argv != ["--"])
    change = discovery.added(there, found(argv=argv), "add")
    options, _ = from_argv(
        [word.replace("{prefix}", "no") for word in change.spec.document["argv"][3:]]
    )
    assert options.kernel_cmd is not None
    parts = kernel_command_parts(options.kernel_cmd, {})
    typed = "".join(part if isinstance(part, str) else "/path" for part in parts)
    wanted = [
        word.replace("{connection_file}", "/path").replace("{host_connection_file}", "/path")
        for word in argv
    ]
    assert shlex.split(typed) == wanted


# --- kernelspecs ---------------------------------------------------------------------------------


def test_a_kernelspec_has_all_that_front_ends_know(there: There) -> None:
    metadata = {"debugger": True, "kernel_provisioner": {"provisioner_name": "evil"}}
    kernel = found(interrupt_mode="message", metadata=metadata, env={"A": "$HOME"})
    change = discovery.added(there, kernel, "add")
    spec = change.spec
    assert (change.what, change.found, change.why) == ("added", kernel, "")
    assert not spec.directory.exists()
    assert spec.name == "rik_ssh_ada_far_torch"
    assert spec.document["argv"][:3] == [os.path.abspath(sys.executable), "-m", "remote_kernels"]
    assert spec.document["interrupt_mode"] == "message"
    assert spec.document["language"] == "python"
    assert spec.document["display_name"] == "SSH ada@far torch"
    own = spec.document["metadata"].pop("remote_kernels")
    assert spec.document["metadata"] == {"debugger": True}
    assert own["path"] == TORCH
    assert own["needs"] == [TORCH]
    assert own["way"] == ["ssh", "ada@far"]
    assert spec.options.env == ("A=$HOME",)
    assert change.data() == {"name": spec.name, "display_name": "SSH ada@far torch", "path": TORCH}


@pytest.mark.parametrize("name", ["kernel_provisioner", "interpreter"])
def test_what_names_a_program_of_that_machine_stays_there(there: There, name: str) -> None:
    # Jupyter, and VS Code, would run it here.
    kernel = found(metadata={name: {"path": "/bin/evil", "provisioner_name": "evil"}, "a": 1})
    document = discovery.added(there, kernel, "add").spec.document
    assert set(document["metadata"]) == {"a", "remote_kernels"}


@pytest.mark.parametrize("mode", [None, "", "magic", "Message"])
def test_an_interrupt_mode_that_jupyter_does_not_know_is_left_out(mode: str | None) -> None:
    assert found(interrupt_mode=mode, metadata={"kernel_provisioner": {}}).document == {}


def test_a_host_cannot_say_where_a_kernelspec_comes_from(there: There, kernels: Path) -> None:
    own = {
        **{"way": ["x"], "path": "/x", "needs": [], "mount": "/", "by": "add", "told": {}},
        "logos": {"a": "b"},
    }
    host = Host(raw(metadata={"remote_kernels": own, "a": 1}))
    synced(there, host)
    (document,) = written(kernels).values()
    assert document["metadata"]["remote_kernels"]["path"] == TORCH
    assert document["metadata"]["remote_kernels"]["logos"] == {}


def test_a_kernelspec_lives_as_long_as_its_file() -> None:
    spec = found(kind="kernelspec", path="/x/torch")
    assert spec.needs == ["/x/torch/kernel.json"]
    assert found().needs == [TORCH]


def test_adding_again_brings_it_up_to_date(there: There, kernels: Path) -> None:
    add(there, host=Host(raw(interrupt_mode="message", metadata={"a": 1})))
    path = kernels / "rik_ssh_ada_far_torch/kernel.json"
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, "env": {"BY_HAND": "1"}}))
    (change,) = add(there, host=Host(raw(interrupt_mode="signal", env={"A": "1"})))
    assert change.what == "updated"
    (document,) = written(kernels).values()
    assert document["interrupt_mode"] == "signal"
    assert document["env"]["BY_HAND"] == "1"
    assert kernelspecs.find([kernels])[0].options.env == ("A=1",)


def test_what_the_kernelspec_over_there_has_lost_is_lost_here(there: There, kernels: Path) -> None:
    # An interrupt as a message would reach a kernel that does not know it.
    host = Host(raw(interrupt_mode="message"))
    assert synced(there, host) == {"added": ["rik_ssh_ada_far_torch"]}
    host.kernels = [raw(interrupt_mode=None)]
    assert synced(there, host) == {"updated": ["rik_ssh_ada_far_torch"]}
    (document,) = written(kernels).values()
    assert "interrupt_mode" not in document


def test_a_kernel_of_another_s_name_is_left(there: There, kernels: Path) -> None:
    (change,) = add(there, "torch")
    other = Host(raw(path="/opt/torch"))
    with pytest.raises(KernelSpecError, match="another one, so it is left") as refused:
        discovery.added(there, other.found().kernels[0], "add")
    assert "manage --delete rik_ssh_ada_far_torch" in refused.value.advice
    # Nor is one taken over that a person has made.
    document = {key: x for key, x in change.spec.document.items() if key != "metadata"}
    kernelspecs.write(KernelSpec(change.spec.directory, document))
    before = written(kernels)
    with pytest.raises(KernelSpecError, match="another one"):
        discovery.added(there, found(), "add")
    (change.spec.directory / "kernel.json").write_text('{"argv": ["x"]}')
    with pytest.raises(KernelSpecError, match="not ours"):
        discovery.added(there, found(), "add")
    assert list(before) == list(written(kernels))


def test_two_kernels_of_one_kernel_name_are_not_one(there: There, kernels: Path) -> None:
    # Jupyter knows neither dots nor capitals; virtualenvwrapper's directory and another differ in
    # no more.
    told = [raw("py-3.11", path="/a"), raw("py311", path="/b"), raw("Py311", path="/c")]
    host = Host(*told)
    result = synced(there, host)
    assert result.get("added") == ["rik_ssh_ada_far_py311"]
    assert len(result["left"]) == 2
    assert kernelspecs.find([kernels])[0].options.activate == "/a"


def test_all_that_are_said_to_be_added_are_there(
    there: There, kernels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = Host(raw("~/venvs/a", path="/a"), raw("~/.venvs/a", path="/b"))
    _, out, _ = said(monkeypatch, capsys, host, "--add-all")
    shown = [line for line in out.splitlines() if line.startswith("Added")]
    assert len(shown) == len(written(kernels))


def test_what_cannot_be_added_keeps_no_other_from_it(
    there: There, kernels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = Host(
        raw("bad", env={"NO NAME": "1"}),
        raw("py-3.11", path="/a"),
        raw("py311", path="/b"),
        raw("good"),
    )
    dry = said(monkeypatch, capsys, host, "--add-all", "--dry-run")
    assert not kernels.exists()
    code, out, err = said(monkeypatch, capsys, host, "--add-all")
    assert (dry[0], dry[2]) == (code, err)
    assert code == OptionsError.exit_code
    assert out.splitlines() == [
        "Added kernel ['rik_ssh_ada_far_py311']: SSH ada@far py-3.11.",
        "Added kernel ['rik_ssh_ada_far_good']: SSH ada@far good.",
    ]
    assert "remote-kernels: bad cannot be added: " in err
    assert "py311 cannot be added: py-3.11 would be the kernel rik_ssh_ada_far_py311, too." in err
    assert set(written(kernels)) == {"rik_ssh_ada_far_py311", "rik_ssh_ada_far_good"}


def test_what_cannot_be_added_is_told_to_programs(
    kernels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = Host(raw("bad", env={"NO NAME": "1"}), raw("good"))
    code, out, _ = said(monkeypatch, capsys, host, "--add-all", "--json")
    (data,) = json.loads(out)
    assert [x["name"] for x in data["added"]] == ["rik_ssh_ada_far_good"]
    (failed,), error = data["failed"], data["error"]
    assert failed["path"] == f"{HOME}/miniconda3/envs/bad"
    assert failed["why"] == error["sentence"]
    assert error["exit_code"] == code


@pytest.mark.parametrize("action", ["--add-all", "--sync"])
def test_what_cannot_be_written_keeps_no_other_from_it(
    kernels: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    action: str,
) -> None:
    host = Host(raw("bad"), raw("good"))
    kernels.mkdir(parents=True)
    # Something lies where its directory is to be.
    (kernels / "rik_ssh_ada_far_bad").touch()
    code, out, err = said(monkeypatch, capsys, host, action)
    assert code == KernelSpecError.exit_code
    assert out == "Added kernel ['rik_ssh_ada_far_good']: SSH ada@far good.\n"
    assert "rik_ssh_ada_far_bad cannot be written: " in err
    assert (kernels / "rik_ssh_ada_far_good/kernel.json").exists()


# --- logos ---------------------------------------------------------------------------------------


def as_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_logos_are_brought_along(there: There, kernels: Path) -> None:
    host = Host(
        raw("bare"),
        raw("one", files="/specs/one"),
        raw("two", files="/specs/two"),
        files=[{"logo-64x64.png": as_text(PNG)}, {"logo-32x32.png": as_text(PNG)}],
    )
    add(there, host=host)
    assert host.asked[-1] == ("files", ["/specs/one", "/specs/two"])
    logos = {
        path.name.rpartition("_")[2]: {logo.name for logo in path.glob("logo-*")}
        for path in kernels.iterdir()
    }
    assert logos == {"bare": OURS, "one": {"logo-64x64.png"}, "two": {"logo-32x32.png"}}
    spec = kernelspecs.named(["rik_ssh_ada_far_one"])[0]
    assert (spec.directory / "logo-64x64.png").read_bytes() == PNG
    assert spec.origin is not None
    assert spec.origin.logos == {"logo-64x64.png": hashlib.sha256(PNG).hexdigest()}


def test_without_kernelspecs_over_there_nobody_is_asked_for_logos(there: There) -> None:
    host = Host(raw("bare"))
    add(there, host=host)
    assert [name for name, *_ in host.asked] == ["kernels"]


@pytest.mark.parametrize(
    "name",
    [
        *("../logo-x.png", "logo-../x.png", "/etc/logo-x.png", "logo-x/y.png", "logo-\0.png"),
        *("logo-x.sh", "logo-x.png.exe", "logo-.png\n", "kernel.json", "kernel.js", ""),
        *(f"logo-{'x' * 41}.png", "logo-ü.png", "logo-.svg/", "LOGO-x.png"),
        # It may hold a script.
        "logo-x.svg",
    ],
)
def test_what_has_no_name_of_a_picture_is_left(there: There, kernels: Path, name: str) -> None:
    host = Host(raw(files="/x"), files=[{name: as_text(PNG), "logo-good.png": as_text(PNG)}])
    add(there, host=host)
    (directory,) = kernels.iterdir()
    assert {path.name for path in directory.iterdir()} == {"kernel.json", "logo-good.png"}
    assert {path.name for path in kernels.parent.iterdir()} == {"kernels"}


@pytest.mark.parametrize("text", ["!", "QQ", "QUFB\n!", "ü", "\ud800", None, 3, ["QUFB"], {"a": 1}])
def test_what_is_no_picture_is_left(there: There, kernels: Path, text: Any) -> None:
    host = Host(raw(files="/x"), files=[{"logo-a.png": text, "logo-good.png": as_text(PNG)}])
    add(there, host=host)
    (directory,) = kernels.iterdir()
    assert {path.name for path in directory.iterdir()} == {"kernel.json", "logo-good.png"}


@pytest.mark.parametrize(
    "parts", [[], [None], ["x"], [{}] * 5, [[{}]], [{}, {}, {"logo-a.png": 1}]]
)
def test_an_answer_without_logos_is_none(there: There, kernels: Path, parts: list[Any]) -> None:
    add(there, host=Host(raw(files="/x"), files=parts))
    (directory,) = kernels.iterdir()
    assert {path.name for path in directory.iterdir()} == {"kernel.json", *OURS}


def test_each_kernel_has_its_own_logo(there: There, kernels: Path) -> None:
    # Two that a lying host says to lie in one place.
    names = {"a": "/x", "b": "/x", "c": "/y"}
    host = Host(*(raw(name, files=directory) for name, directory in names.items()))
    host.answers["files"] = lambda asked: [{f"logo-{x[1:]}.png": as_text(PNG)} for x in asked]
    add(there, host=host)
    for name, directory in names.items():
        (logo,) = (kernels / f"rik_ssh_ada_far_{name}").glob("logo-*")
        assert logo.name == f"logo-{directory[1:]}.png"


def test_what_is_removed_is_what_was_brought(there: There, kernels: Path) -> None:
    pictures = {f"logo-{name}.png": as_text(PNG) for name in ("own", "changed")}
    (change,) = add(there, host=Host(raw(files="/x"), files=[pictures]))
    directory = change.spec.directory
    (directory / "logo-changed.png").write_bytes(b"a person's")
    (directory / "logo-added.png").write_bytes(PNG)
    (spec,) = kernelspecs.find([kernels])
    kernelspecs.remove(spec)
    assert {path.name for path in directory.iterdir()} == {"logo-changed.png", "logo-added.png"}


def test_nothing_is_left_of_what_a_sync_removes(there: There, kernels: Path) -> None:
    host = Host(raw(files="/x"), files=[{"logo-own.png": as_text(PNG)}])
    assert list(synced(there, host)) == ["added"]
    # An update keeps in mind which logos are its own.
    host.kernels = [raw(files="/x", env={"A": "1"})]
    assert list(synced(there, host)) == ["updated"]
    host.kernels, host.gone = [], {TORCH}
    assert list(synced(there, host)) == ["removed"]
    assert list(kernels.iterdir()) == []


def test_a_person_s_own_logo_stays(there: There, kernels: Path) -> None:
    host = Host(raw(files="/x"), files=[{"logo-64x64.png": as_text(PNG)}])
    (change,) = add(there, host=host)
    logo = change.spec.directory / "logo-64x64.png"
    logo.write_bytes(b"a person's")
    host.kernels = [raw(files="/x", env={"A": "1"})]
    add(there, host=host)
    assert logo.read_bytes() == b"a person's"


# --- following a host ----------------------------------------------------------------------------


def test_a_sync_adds_what_would_start_and_then_nothing(there: There, kernels: Path) -> None:
    host = Host(raw("torch"), raw("broken", problem="no ipykernel"))
    assert synced(there, host) == {"added": ["rik_ssh_ada_far_torch"]}
    assert synced(there, host) == {}
    # As these come and go.
    host.kernels = [raw("torch", version="3.12.0", install="x")]
    assert synced(there, host) == {}


def test_a_dry_run_writes_nothing(there: There, kernels: Path) -> None:
    host = Host(raw(files="/x"))
    (change,) = discovery.sync(host, there, host.found())
    assert change.what == "added"
    assert not kernels.exists()
    assert [name for name, *_ in host.asked] == ["kernels"]


CHANGES: dict[str, Any] = {
    "argv": ["/other", "{connection_file}"],
    "language": "R",
    "activate": "",
    "env": {"A": "1"},
    "interrupt_mode": "message",
    "metadata": {"a": 1},
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_sync_follows_a_change_over_there(there: There, kernels: Path, field: str) -> None:
    host = Host(raw())
    synced(there, host)
    host.kernels = [raw(**{field: CHANGES[field]})]
    assert synced(there, host) == {"updated": ["rik_ssh_ada_far_torch"]}
    assert synced(there, host) == {}
    fresh = discovery.added(
        There.at("ada@far", {}, kernels / "fresh"), found(**{field: CHANGES[field]}), "sync"
    )
    assert written(kernels)["rik_ssh_ada_far_torch"] == {
        **fresh.spec.document,
        "metadata": {
            **fresh.spec.document["metadata"],
            "remote_kernels": {
                **fresh.spec.document["metadata"]["remote_kernels"],
                "needs": list(found().needs),
            },
        },
    }


def test_a_sync_keeps_what_a_person_has_changed(there: There, kernels: Path) -> None:
    host = Host(raw())
    synced(there, host)
    (spec,) = kernelspecs.find([kernels])
    changed = kernelspecs.edited(spec, spec.options._replace(lease="5h", name="Mine"))
    kernelspecs.write(changed)
    assert synced(there, host) == {}
    host.kernels = [raw(env={"A": "1"})]
    assert synced(there, host) == {"updated": ["rik_ssh_ada_far_torch"]}
    (spec,) = kernelspecs.find([kernels])
    assert (spec.options.lease, spec.options.name) == ("5h", "Mine")
    assert spec.options.env == ("A=1",)


def test_a_sync_with_other_options_changes_all(there: There, kernels: Path) -> None:
    host = Host(raw("a"), raw("b"))
    synced(there, host)
    other = There.at("ada@far", {"lease": "5h"}, kernels)
    assert len(synced(other, host)["updated"]) == 2
    assert synced(other, host) == {}
    assert {spec.options.lease for spec in kernelspecs.find([kernels])} == {"5h"}


@pytest.mark.parametrize(
    ("by", "now", "gone", "wanted", "why"),
    [
        ("sync", [], [TORCH], "removed", "it is not there any more"),
        ("add", [], [TORCH], "left", "it is not there any more, but a sync did not add it"),
        ("sync", [], [], "left", "it was not found, but its files are there"),
        ("add", [], [], "left", "it was not found, but its files are there"),
        ("sync", [raw(problem="no ipykernel")], [], "removed", "no ipykernel"),
        ("sync", [raw(problem="hangs", uncertain=True)], [], "left", "hangs"),
        ("add", [raw(problem="no ipykernel")], [], "left", "no ipykernel"),
    ],
)
def test_a_sync_removes_what_is_gone_and_it_has_added(
    there: There, kernels: Path, by: str, now: list[Any], gone: list[str], wanted: str, why: str
) -> None:
    host = Host(raw())
    discovery.write(host, [discovery.added(there, host.found().kernels[0], by)])
    host.kernels, host.gone = now, set(gone)
    (change,) = discovery.sync(host, there, host.found())
    assert (change.what, change.why) == (wanted, why)
    assert change.data()["why"] == why
    discovery.write(host, [change])
    assert bool(written(kernels)) is (wanted == "left")


def test_a_sync_leaves_other_kernels_alone(there: There, kernels: Path) -> None:
    gone = Host(raw())
    gone.gone = {TORCH}
    for host, asked in (
        ("bob@far", {}),
        ("ada@far", {"tunnel_hosts": ("gw",)}),
        ("", {"interface": "local"}),
    ):
        synced(There.at(host, asked, kernels), gone)
    add(there, "mine")
    (spec,) = [spec for spec in kernelspecs.find([kernels]) if spec.name.endswith("far_mine")]
    document = {key: x for key, x in spec.document.items() if key != "metadata"}
    kernelspecs.write(KernelSpec(spec.directory, document))
    before = written(kernels)
    assert len(before) == 4
    gone.kernels = []
    assert synced(there, gone) == {}
    assert written(kernels) == before


@pytest.mark.parametrize("answer", [[], [None], [3], ["x"], [{}], [[3, None]], [[["x"]]], [[{}]]])
def test_what_is_said_to_be_gone_in_no_way_that_we_know_stays(
    there: There, kernels: Path, answer: list[Any]
) -> None:
    synced(there, Host(raw()))
    host = Host(missing=answer)
    with suppress(RemoteKernelsError):
        assert list(synced(there, host)) == ["left"]
    assert list(written(kernels)) == ["rik_ssh_ada_far_torch"]


def test_one_that_cannot_be_added_keeps_no_other_from_it(there: There) -> None:
    host = Host(raw("bad", env={"NO NAME": "1"}), raw("good"))
    assert synced(there, host) == {
        "added": ["rik_ssh_ada_far_good"],
        "left": ["rik_ssh_ada_far_bad"],
    }


def test_one_that_cannot_be_changed_keeps_no_other_from_it(there: There, kernels: Path) -> None:
    host = Host(raw("bad"), raw("good"))
    synced(there, host)
    host.kernels = [raw("bad", env={"NO NAME": "1"}), raw("good", env={"A": "1"})]
    before = written(kernels)["rik_ssh_ada_far_bad"]
    assert synced(there, host) == {
        "updated": ["rik_ssh_ada_far_good"],
        "left": ["rik_ssh_ada_far_bad"],
    }
    assert written(kernels)["rik_ssh_ada_far_bad"] == before


def test_what_a_person_has_changed_stays_whatever_the_host_changes(
    there: There, kernels: Path
) -> None:
    host = Host(raw(env={"A": "1", "B": "1", "C": "1"}, interrupt_mode="message"))
    synced(there, host)
    (spec,) = kernelspecs.find([kernels])
    env = ("A=mine", "B=1", "OWN=1")  # and C is gone
    options = spec.options._replace(
        env=env, precmd="module load x", kernel_cmd="x {connection_file}"
    )
    changed = kernelspecs.edited(spec, options)
    metadata = {**changed.document["metadata"], "mine": 1}
    document = {**changed.document, "interrupt_mode": "signal", "metadata": metadata}
    kernelspecs.write(KernelSpec(spec.directory, document))
    host.kernels = [
        raw(
            env={"A": "2", "B": "2", "C": "2", "OWN": "2", "NEW": "2"},
            argv=["/other", "{connection_file}"],
            language="R",
            metadata={"theirs": 1},
        )
    ]
    assert synced(there, host) == {"updated": ["rik_ssh_ada_far_torch"]}
    assert synced(there, host) == {}
    # Nor does somebody who adds it once more want to lose that.
    add(there, host=host)
    (spec,) = kernelspecs.find([kernels])
    assert spec.options.env == ("A=mine", "B=2", "OWN=1", "NEW=2")
    assert (spec.options.precmd, spec.options.kernel_cmd) == (options.precmd, options.kernel_cmd)
    assert (spec.options.language, spec.document["interrupt_mode"]) == ("R", "signal")
    own = {x: value for x, value in spec.document["metadata"].items() if x != "remote_kernels"}
    assert own == {"mine": 1, "theirs": 1}


def test_what_was_asked_for_once_stays(there: There, kernels: Path) -> None:
    asked = There.at("ada@far", {"env": ("A=1",), "lease": "5h"}, kernels)
    add(asked, host=Host(raw()))
    assert synced(there, Host(raw())) == {}
    assert synced(there, Host(raw(env={"B": "2"}))) == {"updated": ["rik_ssh_ada_far_torch"]}
    (spec,) = kernelspecs.find([kernels])
    assert (spec.options.env, spec.options.lease) == (("A=1", "B=2"), "5h")


def test_two_kernelspecs_of_one_kernel_are_both_followed(there: There, kernels: Path) -> None:
    host = Host(raw())
    synced(there, host)
    add(There.at("ada@far", {"name": "big"}, kernels), host=host)
    host.kernels = [raw(env={"A": "1"})]
    assert synced(there, host) == {"updated": ["rik_ssh_ada_far_big", "rik_ssh_ada_far_torch"]}
    host.kernels, host.gone = [], {TORCH}
    assert synced(there, host) == {
        "left": ["rik_ssh_ada_far_big"],
        "removed": ["rik_ssh_ada_far_torch"],
    }


def test_two_syncs_at_once_are_as_one(there: There, kernels: Path) -> None:
    # From cron and at the login: neither knows of what the other does.
    host = Host(raw())
    changes = [discovery.sync(host, there, host.found()) for _ in range(2)]
    for each in changes:
        assert [x.error for x in discovery.write(host, each)] == [None]
    host.kernels, host.gone = [], {TORCH}
    changes = [discovery.sync(host, there, host.found()) for _ in range(2)]
    for each in changes:
        assert [x.error for x in discovery.write(host, each)] == [None]
    assert list(kernels.iterdir()) == []


def test_the_order_in_which_things_are_told_is_no_change(there: There, kernels: Path) -> None:
    host = Host(raw(env={"A": "1", "B": "2"}, metadata={"a": {"x": 1, "y": 2}}))
    synced(there, host)
    host.kernels = [raw(env={"B": "2", "A": "1"}, metadata={"a": {"y": 2, "x": 1}})]
    assert synced(there, host) == {}


# --- installing ----------------------------------------------------------------------------------


def test_what_an_installation_prints_is_told() -> None:
    host, told = Host(install=["one", "two", 3]), list[str]()
    discovery.install(host, found(install="pip install x", problem="no x"), told.append)
    assert told == ["one", "two", "3"]
    assert host.asked == [("install", "pip install x")]


@pytest.mark.parametrize(
    ("problem", "advice"), [("no x", "it would not start: no x"), ("", "it would start")]
)
def test_where_nothing_is_to_be_installed_there_is_a_sentence(problem: str, advice: str) -> None:
    host = Host(install=[])
    with pytest.raises(RemoteKernelsError, match="nothing is to be installed for") as refused:
        discovery.install(host, found(problem=problem), print)
    assert refused.value.advice == advice
    assert host.asked == []


# --- a host that lies ----------------------------------------------------------------------------


def said(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    host: Host,
    *words: str,
) -> tuple[int, str, str]:
    """The command ``discover`` at a host: its exit code, and what it has printed."""
    monkeypatch.setattr(There, "errand", lambda *_: host)
    with pytest.raises(SystemExit) as ended:
        cli.main(["discover", "ada@far", *words])
    assert isinstance(ended.value.code, int)
    return ended.value.code, *capsys.readouterr()


def assert_harmless(text: str) -> None:
    """Nothing in it would be obeyed by a terminal."""
    for line in text.split("\n"):
        assert line.replace("\t", " ").isprintable(), repr(line)


def refuse_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} is no JSON, and front ends read no list with it")


def assert_ours(kernels: Path) -> None:
    """All that is there was written by us, and runs nothing but our launcher."""
    written = [path for path in kernels.parent.rglob("*") if not path.is_dir()]
    for path in written:
        assert path.parent.parent == kernels, path
        assert path.parent.name.startswith("rik_ssh_ada_far_")
        assert path.name in {"kernel.json", *OURS} or discovery._LOGO.fullmatch(path.name)
        assert not path.is_symlink()
    for path in kernels.glob("*/kernel.json"):
        document = json.loads(path.read_bytes(), parse_constant=refuse_constant)
        assert document["argv"][:3] == [os.path.abspath(sys.executable), "-m", "remote_kernels"]
        assert set(document) <= {
            *("argv", "display_name", "language", "env", "interrupt_mode", "metadata"),
        }
        assert "kernel_provisioner" not in document["metadata"]
        assert set(document.get("env") or {}) <= {"REMOTE_KERNELS_ENV"}


HOSTILE = [
    *(
        "\x1b[2J",
        "\r",
        "\n",
        "\0",
        "\x9b",
        "\u202e",
        "\ud800",
        "\x7f",
        "ü",
        "日",
        "{connection_file}",
    ),
    *(
        "../",
        "/",
        "~",
        ".",
        "..",
        " ",
        "",
        "a",
        "torch",
        HOME,
        TORCH,
        "$(x)",
        "'",
        '"',
        "{ci[key]}",
    ),
    *("x" * 300, "-", "--", "@", "=", "[bold]", "kernel_provisioner", "remote_kernels"),
]
TEXTS = st.lists(st.sampled_from(HOSTILE), max_size=3).map("".join)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
NAMES_OF_LOGOS = st.sampled_from(
    ["logo-a.png", "logo-b.svg", "../logo-a.png", "logo-../a.png", "kernel.json", "logo-a.sh", ""]
)
PAIRS = st.lists(st.tuples(TEXTS | JSON, JSON).map(list), max_size=3)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(raw(), TEXTS),
    "argv": st.lists(TEXTS, max_size=4),
    "env": st.dictionaries(TEXTS, TEXTS, max_size=3) | PAIRS,
    "metadata": st.dictionaries(TEXTS | st.just("kernel_provisioner"), JSON, max_size=3) | PAIRS,
    "interrupt_mode": st.sampled_from(["message", "signal", "x\x1b"]),
    "problem": st.just("") | TEXTS,
    "uncertain": st.booleans(),
}


@st.composite
def rarely(draw: st.DrawFn, usual: st.SearchStrategy[Any]) -> Any:
    """The usual, but now and then anything."""
    return draw(draw(st.sampled_from([*[usual] * 19, JSON])))


@st.composite
def liars(draw: st.DrawFn) -> Any:
    """A kernel that makes sense but for some of its fields."""
    shown = ["name", "path", "problem", "version", "language", "env", "metadata"]
    names = draw(st.lists(st.sampled_from([*FIELDS, *shown]), min_size=1, max_size=5))
    return {**raw(), **{name: draw(rarely(FIELDS[name])) for name in names}}


ANSWERS = rarely(
    st.fixed_dictionaries(
        {
            "kernels": rarely(st.lists(rarely(liars()), max_size=4)),
            "notes": rarely(st.lists(st.lists(TEXTS, min_size=2, max_size=2), max_size=2)),
            "home": rarely(st.sampled_from([HOME, "", "/"])),
        }
    )
)
PICTURES = st.lists(
    rarely(st.dictionaries(NAMES_OF_LOGOS | TEXTS, rarely(st.just(as_text(PNG))), max_size=3)),
    max_size=4,
)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    answer=ANSWERS,
    pictures=PICTURES,
    gone=rarely(st.just(["/old"])),
    words=st.sampled_from(["add", "sync", "list", "table", "json"]),
)
@example({"kernels": [raw(metadata=[[1, 2], ["a", 3]])], "notes": [], "home": ""}, [], [], "add")
@example({"kernels": [raw(metadata={"a": float("nan")})], "notes": [], "home": ""}, [], [], "add")
@example({"kernels": [raw("\x1b")], "notes": [["\x1b", "\x1b"]], "home": ""}, [], [], "list")
@example({"kernels": [raw("\x1b")], "notes": [["\x1b", "\x1b"]], "home": ""}, [], [], "table")
@example({"kernels": [raw(env={"\x1b": "1"})], "notes": [], "home": ""}, [], [], "add")
@example({"kernels": [raw(files="/x")], "notes": [], "home": ""}, [{"logo-a.png": "ü"}], [], "add")
@example({"kernels": [raw(files="/x")], "notes": [], "home": ""}, [{}, {}, {}], [], "sync")
def test_a_host_that_lies(
    kernels: Path,
    there: There,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: Answer,
    pictures: list[Any],
    gone: Any,
    words: str,
) -> None:
    shutil.rmtree(kernels.parent, ignore_errors=True)
    # What is there from the time when it told the truth.
    add(there, host=Host(raw("old", path="/old"), raw("torch")))
    host = Host(kernels=[answer], files=pictures, missing=[gone])
    with suppress(RemoteKernelsError):
        discovered = host.found()
        assert isinstance(discovered, Discovery)
        for kernel in discovered.kernels:
            for text in map(printable, command._row(kernel)):
                assert_harmless(text)
                assert "\n" not in text
        assert json.loads(json.dumps(command._described(discovered)))
    monkeypatch.setattr(render, "at_terminal", lambda: words == "table")
    actions = {"add": ["--add-all"], "sync": ["--sync"], "json": ["--sync", "--json"]}
    code, out, err = said(monkeypatch, capsys, host, *actions.get(words, []))
    assert "Traceback" not in err
    assert_harmless(err)
    if words == "json":
        assert json.loads(out)[0]["host"] == "ada@far"
    else:
        assert_harmless(out)
        assert bool(code) is bool(err.startswith("remote-kernels: ") or "\nremote-kernels: " in err)
    assert_ours(kernels)
    assert (kernels / "rik_ssh_ada_far_old").exists()


@pytest.mark.parametrize("depth", [10, 900, 3000])
def test_what_is_nested_without_end_is_no_kernel_or_one(
    there: There, kernels: Path, depth: int
) -> None:
    deep: Any = []
    for _ in range(depth):
        deep = [deep]
    for answer in (
        {"kernels": [raw(metadata={"deep": deep}), raw("good")], "notes": [], "home": HOME},
        {"kernels": [raw(argv=deep), raw("good")], "notes": [["x", deep]], "home": deep},
    ):
        with suppress(RemoteKernelsError):
            add(there, host=Host(kernels=[answer]))
    assert_ours(kernels)
    if kernels.exists():
        assert "rik_ssh_ada_far_good" in written(kernels)


@pytest.mark.parametrize(
    "words",
    [["--add", "x"], ["--install", "x"], ["--install", "y"], ["--install", "z"], ["--add", "z"]],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_what_a_host_says_is_obeyed_by_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kernels: Path,
    words: Sequence[str],
    dry: Sequence[str],
) -> None:
    evil = "\x1b]0;evil\x07\n"
    host = Host(
        raw(f"a{evil}/x", path="/a"),
        raw(f"b{evil}/x", path="/b"),
        raw(f"{evil}/y", problem=evil, install=f"pip {evil}"),
        raw(f"{evil}/z", path="/z", problem=evil),
        install=[evil, evil],
    )
    code, out, err = said(monkeypatch, capsys, host, *words, *dry)
    assert_harmless(out + err)
    assert code == (0 if words[1] == "y" or words == ["--add", "z"] else 1)
