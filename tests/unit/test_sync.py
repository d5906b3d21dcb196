"""Two directories made alike: what is planned, and what is done when things change meanwhile.

Both are on this machine, and files are copied instead of carried by rsync.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remote_kernels import tree
from remote_kernels.errors import (
    DiskFullError,
    OptionsError,
    ProgramMissingError,
    RemoteKernelsError,
)
from remote_kernels.sync import agreed as agreed_module
from remote_kernels.sync.agreed import Agreed
from remote_kernels.sync.entry import HERE, THERE, Side
from remote_kernels.sync.execution import Execution
from remote_kernels.sync.outcome import Outcome, Progress
from remote_kernels.sync.pair import remote_for
from remote_kernels.sync.plan import Direction, Wishes, plan
from remote_kernels.sync.rules import Rules
from remote_kernels.sync.transfer import Carried, Rsync
from remote_kernels.sync.unison import Two as Unisons
from remote_kernels.sync.walk import look

NAMES: dict[Side, str] = {HERE: "laptop", THERE: "gpu box"}


class Local:
    """A directory of this machine, on either side."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Called before something is asked, with its name.
        self.before: Callable[[str], None] = lambda name: None

    def ask(self, name: str, *arguments: Any) -> Iterator[Any]:
        self.before(name)
        return tree.FUNCTIONS[name](str(self.root), *arguments)


class Two:
    """Two directories, and what both had agreed on."""

    def __init__(self, place: Path) -> None:
        self.places = {HERE: Local(place / "here"), THERE: Local(place / "there")}
        for each in self.places.values():
            each.root.mkdir()
        # Called before files are carried.
        self.while_carried: Callable[[], None] = lambda: None
        self.carried: list[str] = []
        self.whole = True

    @property
    def here(self) -> Path:
        return self.places[HERE].root

    @property
    def there(self) -> Path:
        return self.places[THERE].root

    def sync(self, direction: Direction, *, delete: bool = False, **how: bool) -> Outcome:
        """Make them alike."""
        places = self.places
        agreed = Agreed("gpu", str(self.here), str(self.there))
        sight = look(places, Rules())
        for path in agreed.paths.keys() - sight.here.keys() - sight.there.keys():
            if not sight.is_hidden(path):
                del agreed.paths[path]
        wishes = Wishes(delete, **how)
        first = plan(direction, sight, agreed.paths, wishes, NAMES)
        alike = {
            path for path in first.doubtful if self.holds(HERE, path) == self.holds(THERE, path)
        }
        steps = plan(direction, sight, agreed.paths, wishes, NAMES, alike)
        outcome = Outcome()
        outcome.begin_anew(steps, sight)
        execution = Execution(
            *(steps, sight, places, agreed, outcome, self.carry, self.note_progress)
        )
        try:
            execution.run()
        finally:
            agreed.write()
        return outcome

    def note_progress(self, progress: Progress) -> None:
        assert 0 <= progress.files <= progress.of_files
        assert 0 <= progress.bytes <= progress.of_bytes

    def holds(self, side: Side, path: str) -> bytes:
        return (self.places[side].root / path).read_bytes()

    def carry(
        self, to: Side, paths: Sequence[str], *, goes_on: bool, told: Callable[[int], None]
    ) -> Carried:
        self.while_carried()
        source = self.places[HERE if to == THERE else THERE].root
        (stage,) = self.places[to].root.glob(f"{tree.PARTIAL}*")
        for path in paths:
            target = stage / tree.ARRIVES / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                shutil.copy2(source / path, target)
        self.carried += paths
        return Carried(self.whole, ())

    def state(self, side: Side) -> dict[str, tuple[Any, ...]]:
        """What is on one side, by paths."""
        found: dict[str, tuple[Any, ...]] = {}
        root = self.places[side].root
        for path in root.rglob("*"):
            name = str(path.relative_to(root))
            if path.is_symlink():
                found[name] = ("link", os.readlink(path))
            elif path.is_dir():
                found[name] = ("directory", path.stat().st_mode)
            else:
                status = path.stat()
                found[name] = (path.read_text(), status.st_mode, status.st_mtime_ns)
        return found


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


# --- nothing is lost ------------------------------------------------------------------------------

PATHS = ["a", "b.txt", "d", "d/x", "d/e", "d/e/y"]
EDITS = st.lists(
    st.tuples(
        st.sampled_from([HERE, THERE]),
        st.sampled_from(PATHS),
        st.sampled_from(["write", "write", "write", "delete", "link", "mode", "directory"]),
    ),
    max_size=6,
)


class Editor:
    """Somebody who changes files on both sides."""

    def __init__(self, two: Two) -> None:
        self.two = two
        self.count = 0

    def edit(self, side: Side, name: str, what: str) -> None:
        self.count += 1
        path = self.two.places[side].root / name
        if not path.parent.is_dir() or path.parent.is_symlink():
            return
        is_directory = path.is_dir() and not path.is_symlink()
        if what == "mode":
            if path.exists() and not path.is_symlink():
                path.chmod(0o700 if self.count % 2 else 0o755)
            return
        if what == "directory":
            if not is_directory:
                path.unlink(missing_ok=True)
                path.mkdir()
            return
        if is_directory:
            if what == "delete":
                shutil.rmtree(path)
            return
        path.unlink(missing_ok=True)
        if what == "write":
            path.write_text(f"text {self.count:04}")
            moment = (1_700_000_000 + self.count) * 10**9
            os.utime(path, ns=(moment, moment))
        elif what == "link":
            path.symlink_to(f"target {self.count}")


def version(row: tuple[Any, ...]) -> str:
    """What something holds; empty for a directory."""
    return str({"directory": "", "link": row[1]}.get(row[0], row[0]))


def without_modes(state: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    return {path: (row[0], row[-1] if row[0] != "directory" else "") for path, row in state.items()}


def versions(state: dict[str, tuple[Any, ...]]) -> set[str]:
    """All that was written, by what it holds."""
    return {
        row[1] if row[0] == "link" else row[0] for row in state.values() if row[0] != "directory"
    }


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(EDITS, min_size=1, max_size=4))
def test_nothing_is_lost(rounds: list[list[tuple[Side, str, str]]]) -> None:
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreed_module, "directory", lambda: Path(place, "state"))
        two = Two(Path(place))
        editor = Editor(two)
        before = {HERE: two.state(HERE), THERE: two.state(THERE)}
        for edits in rounds:
            for edit in edits:
                editor.edit(*edit)
            now = {side: two.state(side) for side in (HERE, THERE)}
            # What nobody has touched since both agreed may be replaced; the rest is work.
            work = {
                version(row)
                for side in (HERE, THERE)
                for path, row in now[side].items()
                if path not in before[side] or version(before[side][path]) != version(row)
            }
            outcome = two.sync("both", delete=True)
            assert outcome.failed == {}
            after = two.state(HERE)
            # What both have made has the mode that each gave it.
            assert without_modes(after) == without_modes(two.state(THERE))
            assert work - {""} <= versions(after)
            again = two.sync("both")
            assert not again.has_changed
            assert again.is_settled
            before = {side: two.state(side) for side in (HERE, THERE)}
            assert before[HERE] == after


# --- who changes what ----------------------------------------------------------------------------


def write(path: Path, text: str, moment: int = 0) -> None:
    """Write a file, with its directories, at a moment that others are later than."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if moment:
        os.utime(path, ns=(moment * 10**9, moment * 10**9))


def test_a_file_that_changes_where_it_is_to_arrive_is_not_overwritten(two: Two) -> None:
    write(two.here / "a", "0")
    two.sync("both")
    write(two.here / "a", "mine")
    two.while_carried = lambda: write(two.there / "a", "theirs, just now")
    outcome = two.sync("push")
    assert outcome.failed == {"a": "it has changed meanwhile"}
    assert (two.there / "a").read_text() == "theirs, just now"
    two.while_carried = lambda: None
    outcome = two.sync("both")
    assert (two.there / "a").read_text() == "mine"
    assert (two.here / outcome.conflicts["a"]).read_text() == "theirs, just now"


def test_a_file_that_comes_where_none_was_is_not_overwritten(two: Two) -> None:
    write(two.here / "a", "mine")
    two.while_carried = lambda: write(two.there / "a", "theirs")
    assert list(two.sync("push", overwrite=True).failed) == ["a"]
    assert (two.there / "a").read_text() == "theirs"


def test_a_file_that_was_changed_is_not_deleted(two: Two) -> None:
    write(two.there / "a", "theirs")

    def change(name: str) -> None:
        if name == "remove":
            write(two.there / "a", "changed")

    two.places[THERE].before = change
    assert list(two.sync("push", delete=True).failed) == ["a"]
    assert (two.there / "a").read_text() == "changed"


def test_a_file_that_is_written_to_while_it_is_sent_is_sent_again(two: Two) -> None:
    write(two.here / "a", "half")
    texts = ["whole"]
    two.while_carried = lambda: write(two.here / "a", texts.pop()) if texts else None
    assert two.sync("both").failed == {}
    assert two.carried == ["a", "a"]
    assert (two.there / "a").read_text() == "whole"


def test_a_file_that_never_rests_is_taken_as_it_is(two: Two) -> None:
    write(two.here / "log", "1")
    two.while_carried = lambda: write(two.here / "log", (two.here / "log").read_text() + "+")
    assert two.sync("push").failed == {}
    assert (two.there / "log").read_text() == "1++"
    # What came while it was sent goes the next time, and is no conflict.
    write(two.here / "log", "1+++")
    two.while_carried = lambda: None
    outcome = two.sync("both")
    assert outcome.conflicts == {}
    assert (two.there / "log").read_text() == "1+++"


def test_of_one_that_never_rests_nothing_is_taken_if_rsync_failed(two: Two) -> None:
    write(two.here / "log", "1")
    two.whole = False
    two.while_carried = lambda: write(two.here / "log", (two.here / "log").read_text() + "+")
    assert two.sync("push").failed == {"log": "it is being written to"}
    assert list(two.there.iterdir()) == []


def test_a_file_that_goes_meanwhile_is_no_failure(two: Two) -> None:
    write(two.here / "a", "1")
    write(two.here / "b", "1")
    two.while_carried = lambda: (two.here / "a").unlink(missing_ok=True)
    outcome = two.sync("both")
    assert (outcome.skipped, outcome.failed) == ({"a": "it has gone meanwhile"}, {})
    assert [path.name for path in two.there.iterdir()] == ["b"]


def test_what_did_not_arrive_is_no_deletion_later(two: Two) -> None:
    write(two.here / "a", "0")
    two.sync("both")
    for name in ("a", "b", "d/c"):
        write(two.here / name, "1")

    def break_the_line() -> None:
        raise RemoteKernelsError("the line broke")

    two.while_carried = break_the_line
    with pytest.raises(RemoteKernelsError, match="the line broke"):
        two.sync("both")
    assert (two.there / "a").read_text() == "0"
    two.while_carried = lambda: None
    outcome = two.sync("both")
    assert outcome.removed == {}
    assert two.state(HERE) == two.state(THERE)


def test_what_failed_is_not_agreed(two: Two) -> None:
    write(two.here / "a", "0")
    two.sync("both")
    # The mode goes the other way, and arrives.
    write(two.here / "a", "mine")
    (two.there / "a").chmod(0o700)
    two.while_carried = lambda: write(two.there / "a", "theirs, just now")
    assert list(two.sync("both").failed) == ["a"]
    assert (two.here / "a").stat().st_mode & 0o777 == 0o700
    two.while_carried = lambda: None
    assert list(two.sync("both").conflicts) == ["a"]
    assert (two.here / "a").read_text() == "mine"


def test_a_side_that_keeps_whole_seconds(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    utime = os.utime

    def coarse(path: Any, ns: tuple[int, int], **how: Any) -> None:
        is_there = str(two.there) in os.fsdecode(path)
        utime(path, ns=tuple(x // 10**9 * 10**9 for x in ns) if is_there else ns, **how)

    monkeypatch.setattr(os, "utime", coarse)
    for text, moment in (("1", 10**18 + 2 * 10**8), ("2", 10**18 + 7 * 10**8)):
        (two.here / "a").write_text(text)
        os.utime(two.here / "a", ns=(moment, moment))
        assert two.sync("both").conflicts == {}
        assert (two.there / "a").read_text() == text
        assert not two.sync("push").has_changed


def test_a_full_disk(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    write(two.here / "a", "1")

    real = os.rename

    def rename(old: bytes, new: bytes) -> None:
        if str(two.there) in os.fsdecode(new):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        with pytest.raises(DiskFullError) as failed:
            two.sync("push")
    assert failed.value.said == ("a: No space left on device",)
    assert list(two.there.iterdir()) == []


def test_nothing_is_written_through_a_link(two: Two, tmp_path: Path) -> None:
    write(two.here / "d/a", "1")
    (tmp_path / "outside").mkdir()
    two.while_carried = lambda: (
        (two.there / "d").rmdir() or (two.there / "d").symlink_to(tmp_path / "outside")
    )
    assert list(two.sync("push").failed) == ["d/a", "d"]
    assert list((tmp_path / "outside").iterdir()) == []


def test_names_of_one_file_do_not_disturb_each_other(two: Two) -> None:
    for name in ("a", "b", "c"):
        write(two.here / name, "mine")
    write(two.there / "a", "0")
    for name in ("b", "c", "d", "e"):
        (two.there / name).hardlink_to(two.there / "a")
    outcome = two.sync("push", delete=True, overwrite=True)
    assert outcome.failed == {}
    assert two.state(HERE) == two.state(THERE)


def test_a_directory_of_a_group_stays_one(two: Two) -> None:
    two.there.chmod(0o2775)
    write(two.here / "d/a", "1")
    assert two.sync("push").failed == {}
    assert (two.there / "d").stat().st_mode & 0o7000 == 0o2000


def test_what_cannot_be_read_is_not_taken_for_gone(two: Two) -> None:
    for name in ("d/a", "e"):
        write(two.here / name, "1")
    two.sync("both")
    place, ask = two.places[THERE], two.places[THERE].ask

    def blind(name: str, *arguments: Any) -> Iterator[Any]:
        for part in ask(name, *arguments):
            yield ["d", None, "Permission denied"] if name == "look" and part[0] == "d" else part

    place.ask = blind
    write(two.here / "e", "22")
    outcome = two.sync("both")
    assert outcome.skipped == {"d": "Permission denied"}
    assert (outcome.removed, list(outcome.sent)) == ({}, ["e"])
    del place.ask
    (two.here / "d/a").unlink()
    # It was known all the time.
    assert two.sync("both").removed == {"d/a": THERE}


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\0b", 1, None])
def test_a_far_side_that_lies_about_names(two: Two, name: Any) -> None:
    def lies(asked: str, *arguments: Any) -> Iterator[Any]:
        yield ["", [[name, [tree.FILE, 1, 1, 0o600, ""]]], {}]

    two.places[THERE].ask = lies
    with pytest.raises(RemoteKernelsError, match="in no way that we know"):
        two.sync("pull")


# --- decisions ------------------------------------------------------------------------------------


def left(two: Two, direction: Direction, **how: bool) -> dict[str, str]:
    """What is left as it is, and nothing else."""
    outcome = two.sync(direction, **how)
    assert outcome.failed == {}
    return outcome.left


def test_push_leaves_what_is_newer(two: Two) -> None:
    write(two.here / "a", "mine", 100)
    write(two.there / "a", "theirs", 200)
    assert left(two, "push") == {"a": "it is newer over there"}
    assert left(two, "push", overwrite=True) == {}
    assert (two.there / "a").read_text() == "mine"


def test_push_leaves_what_was_changed_there_and_looks_older(two: Two) -> None:
    write(two.here / "a", "0", 100)
    two.sync("push")
    write(two.there / "a", "theirs", 50)
    write(two.here / "a", "mine", 200)
    assert left(two, "push") == {"a": "it was changed over there since the last sync"}


def test_push_overwrites_what_it_has_brought_itself(two: Two) -> None:
    write(two.here / "a", "0", 100)
    two.sync("push")
    write(two.here / "a", "older, from a backup", 50)
    assert left(two, "push") == {}
    assert (two.there / "a").read_text() == "older, from a backup"


def test_files_that_hold_the_same_only_get_the_time(two: Two) -> None:
    write(two.here / "a", "same", 100)
    write(two.there / "a", "same", 200)
    assert left(two, "push") == {}
    assert two.carried == []
    assert two.state(HERE) == two.state(THERE)


@pytest.mark.parametrize("delete", [False, True])
def test_a_directory_in_the_way_of_a_file(two: Two, delete: bool) -> None:
    write(two.here / "a", "mine", 100)
    write(two.there / "a/b/c", "theirs", 50)
    assert left(two, "push") == {"a": "it is a directory over there"}
    found = two.sync("push", delete=delete, overwrite=True)
    assert list(found.left) == ([] if delete else ["a"])
    assert (two.there / "a").is_file() == delete


def test_a_file_in_the_way_of_a_directory(two: Two) -> None:
    write(two.here / "a/b/c", "mine", 100)
    write(two.there / "a", "theirs", 50)
    assert left(two, "push") == {"a": "it is a file over there"}
    assert (two.there / "a").is_file()
    assert left(two, "push", overwrite=True) == {}
    assert (two.there / "a/b/c").read_text() == "mine"


def test_a_directory_that_was_deleted_comes_back_with_what_is_new_in_it(two: Two) -> None:
    write(two.here / "d/e/a", "1")
    write(two.here / "d/b", "1")
    two.sync("both")
    shutil.rmtree(two.here / "d")
    write(two.there / "d/e/new", "2")
    outcome = two.sync("both")
    assert outcome.failed == {}
    assert outcome.removed == {"d/b": THERE, "d/e/a": THERE}
    assert set(two.state(HERE)) == set(two.state(THERE)) == {"d", "d/e", "d/e/new"}


@pytest.mark.parametrize("side", [HERE, THERE])
def test_a_file_became_a_directory_and_was_changed(two: Two, side: Side) -> None:
    write(two.here / "a", "0")
    two.sync("both")
    one, two_ = two.places[side].root, two.places[HERE if side == THERE else THERE].root
    (one / "a").unlink()
    write(one / "a/b", "in it")
    write(two_ / "a", "changed")
    outcome = two.sync("both")
    assert outcome.failed == {}
    assert (two.here / "a/b").read_text() == "in it"
    assert (two.here / outcome.conflicts["a"]).read_text() == "changed"
    assert two.state(HERE) == two.state(THERE)


def test_a_directory_became_a_file(two: Two) -> None:
    write(two.here / "a/b", "0")
    two.sync("both")
    shutil.rmtree(two.here / "a")
    write(two.here / "a", "1")
    outcome = two.sync("both")
    assert (outcome.failed, outcome.conflicts) == ({}, {})
    assert (two.there / "a").read_text() == "1"


def test_a_link_over_there_is_no_directory_for_us(two: Two, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (two.there / "data").symlink_to(tmp_path / "scratch")
    write(two.here / "data/a", "1")
    assert left(two, "push") == {"data": "it is a link over there"}
    assert (two.there / "data").is_symlink()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_version_gets_the_same_name_twice(two: Two) -> None:
    for side in (two.here, two.there):
        write(side / "notebook.ipynb", str(side), 100)
    name = two.sync("both").conflicts["notebook.ipynb"]
    moment = time.strftime("%Y%m%dT%H%M%S", time.localtime(100))
    assert name == f"notebook.conflict-gpu-box-{moment}.ipynb"
    assert (two.here / name).read_text() == (two.there / name).read_text() == str(two.there)
    # A conflict that was cut off after it had got its name.
    write(two.here / "notebook.ipynb", "mine", 200)
    shutil.copy2(two.there / name, two.there / "notebook.ipynb")
    os.utime(two.there / "notebook.ipynb", ns=(100 * 10**9, 100 * 10**9))
    Path(agreed_module.directory(), os.listdir(agreed_module.directory())[0]).unlink()
    assert two.sync("both").conflicts == {"notebook.ipynb": name}
    # Another version of the same second.
    write(two.here / "notebook.ipynb", "mine again", 300)
    write(two.there / "notebook.ipynb", "theirs", 100)
    assert two.sync("both").conflicts["notebook.ipynb"].endswith(f"-{moment}-2.ipynb")


def test_a_long_name_in_conflict(two: Two) -> None:
    for side in (two.here, two.there):
        write(side / ("é" * 127), str(side))
    outcome = two.sync("both")
    assert outcome.failed == {}
    assert len(os.fsencode(*outcome.conflicts.values())) <= 255
    assert two.state(HERE) == two.state(THERE)


def test_modes_of_both_sides_are_brought_together(two: Two) -> None:
    for name in ("content", "mode"):
        write(two.here / name, "0")
        (two.here / name).chmod(0o644)
    two.sync("both")
    write(two.here / "content", "11")
    (two.there / "content").chmod(0o755)
    (two.there / "mode").chmod(0o600)
    outcome = two.sync("both")
    assert (outcome.conflicts, list(outcome.sent)) == ({}, ["content"])
    assert (two.there / "content").read_text() == "11"
    modes = [(two.here / name).stat().st_mode & 0o777 for name in ("content", "mode")]
    assert modes == [0o755, 0o600]
    assert two.state(HERE) == two.state(THERE)


# --- what is left out ----------------------------------------------------------------------------

# As git says of the same lines and paths; those of directories end with a slash.
RULES = [
    ("*.log", {"a.log": True, "d/a.log": True, "a.logs": False, "a.log/": True}),
    ("/a", {"a": True, "d/a": False}),
    ("build/", {"build/": True, "d/build/": True, "build": False}),
    ("d/*\n!d/keep", {"d/": False, "d/x": True, "d/keep": False, "e/d/x": False}),
    ("data/**\n!data/**/\n!data/**/*.csv", {"data/": False, "data/a/": False, "data/a/x": True}),
    ("data/**\n!data/**/\n!data/**/*.csv", {"data/a/x.csv": False, "data/x.csv": False}),
    ("*\n!*/\n!*.py", {"d/": False, "d/x": True, "d/x.py": False}),
    ("\\#a\n\\!b\n# c", {"#a": True, "!b": True, "# c": False}),
    ("a \nb\\ ", {"a": True, "a ": False, "b ": True, "b": False}),
    ("a[0-9]\n[!x]y", {"a1": True, "ab": False, "zy": True, "xy": False}),
    ("\n[\n!", {"[": False, "!": False}),
    ("a?c", {"a\nc": True, "a/c": False, "a\udcffc": True}),
    ("*\n!*/", {".git/": True, "__pycache__/": True, "d/": False}),
    ("", {".git/": True, "d/__pycache__/": True, "rik_kernel-1.json": True, ".gitignore": False}),
]


@pytest.mark.parametrize(("lines", "paths"), RULES)
def test_rules_are_those_of_git(lines: str, paths: dict[str, bool]) -> None:
    rules = Rules()
    rules.learn(THERE, "", {".gitignore": lines})
    found = {
        path: rules.leave_out(path.rstrip("/"), is_directory=path.endswith("/")) for path in paths
    }
    assert found == paths


def test_the_nearest_rules_count_and_those_that_were_asked_for_most() -> None:
    rules = Rules(["!x.log", "secret"])
    rules.learn(HERE, "", {".gitignore": "*.log\n*.tmp"})
    rules.learn(HERE, "d", {".gitignore": "/a", ".remote-kernels-ignore": "!*.log"})
    rules.learn(THERE, "d", {".remote-kernels-ignore": "b.log"})
    paths = ("a.log", "x.log", "d/a.log", "d/b.log", "d/a", "d/e/a", "d/a.tmp", "d/secret")
    found = [path for path in paths if rules.leave_out(path, is_directory=False)]
    assert found == ["a.log", "d/b.log", "d/a", "d/a.tmp", "d/secret"]
    without = Rules(git=False)
    assert without.names == (".remote-kernels-ignore",)
    with pytest.raises(OptionsError):
        Rules(["["])


def test_a_person_can_let_in_what_is_left_out() -> None:
    assert not Rules(["!.git"]).leave_out("d/.git", is_directory=True)


def test_what_is_on_its_way_is_never_in_a_sync() -> None:
    assert Rules(["!*"]).leave_out(f"d/{tree.PARTIAL}x", is_directory=True)


# --- what is known -------------------------------------------------------------------------------


def test_what_is_agreed_is_for_the_user_alone(two: Two) -> None:
    write(two.here / "a\udcff", "1")
    two.sync("push")
    (path,) = agreed_module.directory().iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert agreed_module.directory().stat().st_mode & 0o777 == 0o700
    assert list(Agreed("gpu", str(two.here), str(two.there)).paths) == ["a\udcff"]
    assert Agreed("another", str(two.here), str(two.there)).paths == {}


@pytest.mark.parametrize("text", ["", "{}", '{"version": 2, "agreed": {}}', '{"version": 1}', "[]"])
def test_what_is_agreed_and_broken_is_not_taken_for_nothing(two: Two, text: str) -> None:
    two.sync("push")
    (path,) = agreed_module.directory().iterdir()
    path.write_text(text)
    with pytest.raises(RemoteKernelsError, match="what both sides had agreed on cannot be read"):
        two.sync("both")


def test_times_are_compared_as_far_as_both_can_tell() -> None:
    moment = 1_234_567_890_123_456_789
    for unit in (1, 1000, 10**6, 10**9):
        assert tree.same_time(moment, moment // unit * unit)
    assert tree.same_time(moment, moment + 999)
    assert not tree.same_time(moment, moment + 2000)
    assert not tree.same_time(moment // 10**9 * 10**9, moment // 10**9 * 10**9 + 10**9)


# --- the programs ---------------------------------------------------------------------------------


def test_which_rsync_will_do() -> None:
    said = "rsync  version 3.2.7  protocol version 31\nCopyright"
    assert Rsync.read(["/usr/bin/rsync", said], "here").version == (3, 2)
    for found, sentence in (
        (["", ""], "there is no rsync on gpu"),
        (["/r", "openrsync: protocol version 29\nrsync version 2.6.9 compatible"], "too old"),
        (["/r", "what?"], "does not tell its version"),
    ):
        with pytest.raises(ProgramMissingError, match=sentence):
            Rsync.read(found, "on gpu")


def test_which_unisons_fit_together() -> None:
    new, newer, old = (
        ["/usr/bin/unison", f"unison version {version}\n"]
        for version in ("2.52.1 (ocaml 4.13.1)", "2.53.5 (ocaml 5.1)", "2.51.3 (ocaml 4.08)")
    )
    none = ["", ""]
    assert Unisons.read(new, newer) == ("/usr/bin/unison", "/usr/bin/unison")
    assert Unisons.read(old, old) is not None
    assert Unisons.read(old, new) is None
    assert Unisons.read(new, none) is None
    assert Unisons.read(new, ["/opt/my unison", new[1]]) is None


def test_the_directory_over_there_that_goes_with_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert remote_for(tmp_path / "my work/a") == "~/my work/a"
    for path in (tmp_path, tmp_path.parent, Path("/srv")):
        with pytest.raises(OptionsError):
            remote_for(path)
