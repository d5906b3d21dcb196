"""``remote-kernels sync``: a directory here and one on a host, made alike."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from remote_kernels.cli import in_words, render
from remote_kernels.cli.params import (
    ManageCommand,
    ManageOption,
    changes,
    complete_hosts,
    way_params,
)
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.kernel_log import printable
from remote_kernels.profiles import described
from remote_kernels.questions import ASKING
from remote_kernels.sync.entry import HERE, THERE
from remote_kernels.sync.outcome import Outcome, Progress
from remote_kernels.sync.pair import Listener, Pair, Request, remote_for
from remote_kernels.sync.plan import Wishes
from remote_kernels.sync.watch import keep_going
from remote_kernels.whereabouts import way_to, ways

_GROUP = "What is done"
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
# Seconds between two lines about how far it is, where no person looks.
_LINE_EVERY = 10.0
# Names that are listed of each kind; of more, how many.
_MOST_NAMES = 50


def _option(flags: list[str], text: str, **settings: Any) -> ManageOption:
    return ManageOption(flags, group=_GROUP, help=text, **settings)


def _flag(flags: list[str], text: str) -> ManageOption:
    return _option(flags, text, is_flag=True)


@click.command(
    cls=ManageCommand,
    params=[
        click.Argument(
            ["direction"], type=click.Choice(["push", "pull", "both"]), metavar="push|pull|both"
        ),
        click.Argument(["host"], metavar="HOST", shell_complete=complete_hosts),
        click.Argument(["local"], required=False, default=".", metavar="[LOCAL]"),
        click.Argument(["remote"], required=False, default="", metavar="[REMOTE]"),
        _flag(["--dry-run", "-n"], "Say what would be done, and do nothing."),
        _flag(
            ["--delete"],
            "With push or pull: remove what is on the receiving side alone, but for what is left "
            "out. With both: also when most of a side is to be removed.",
        ),
        _flag(
            ["--overwrite"],
            "With push or pull: overwrite also what is newer on the receiving side, or was changed "
            "there since the last sync.",
        ),
        _option(
            ["--exclude"],
            "Leave out what fits a pattern, as in gitignore(5); one that begins with an "
            "exclamation mark lets in what is left out otherwise.",
            multiple=True,
            metavar="PATTERN…",
        ),
        _flag(["--no-gitignore"], "Heed no .gitignore, but .remote-kernels-ignore only."),
        _flag(
            ["--no-unison"], "With both: do without unison, which is used where both sides have it."
        ),
        _flag(
            ["--watch"],
            "Go on until Ctrl-C: whenever something changes here, and with pull and both every so "
            "often.",
        ),
        _option(
            ["--every"],
            "With --watch: so often it is looked for what has changed over there (default: 30).",
            type=click.FloatRange(min=0.1),
            default=30.0,
            metavar="SECONDS",
        ),
        _flag(
            ["--json"],
            "Print an object with host, here, there, direction, transferred (a list of objects "
            "with path, to and bytes), deleted (path, on), conflicts (path, other), left, skipped "
            "and failed (path, why), kept (paths), said (by rsync, of what failed), left_out (how "
            "many), files, bytes, seconds, by, and error (null, or an object with sentence, said, "
            "try and more); with --watch one on each line.",
        ),
        *way_params("no_share"),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def sync(
    ctx: click.Context, /, direction: Any, host: str, local: str, remote: str, **values: Any
) -> None:
    """Make a directory here and one on a host alike.

    push makes the one over there like LOCAL, pull makes LOCAL like that, both brings to each side
    what was changed on the other. LOCAL is the current directory if it is not named. REMOTE is the
    workdir of HOST, if it has a name with options of its own that has one; else the directory of
    the same path in the home over there, if LOCAL is in the home. '~/', in quotes, is the home over
    there.

    Left out are .git, checkpoints of notebooks, __pycache__, and what .gitignore and
    .remote-kernels-ignore say. The exit code is 1 if something is left for you to look at.
    """
    given = changes(values)
    if values["watch"] and values["dry_run"]:
        raise click.UsageError("--watch and --dry-run do not fit together.")
    alone = bool(given.pop("no_share", False))
    request = Request(
        direction,
        Wishes(values["delete"], values["overwrite"]),
        tuple(values["exclude"]),
        git=not values["no_gitignore"],
        dry_run=values["dry_run"],
        unison=not values["no_unison"],
    )
    here = Path(os.path.abspath(os.path.expanduser(local)))
    there = remote or described(host, {}).get("workdir") or remote_for(here)
    way = way_to(host, ways(everywhere=True), **given)
    screen = _screen(quiet=values["json"])
    with (
        _ended_by_signals(),
        screen,
        Pair(way, here, there, request, screen.listener, alone=alone) as pair,
    ):
        teller = _Teller(pair, request, screen, json=values["json"], watches=values["watch"])
        if values["watch"]:
            ctx.exit(_watch(pair, teller, values["every"]))
        else:
            ctx.exit(_once(pair, teller))


def _once(pair: Pair, teller: _Teller) -> int:
    """Make them alike; the exit code."""
    outcome, error = Outcome(), None
    try:
        pair.sync(outcome)
    except RemoteKernelsError as failure:
        error = failure
    teller.tell(outcome, error)
    if error is not None:
        return error.exit_code
    return 0 if outcome.is_settled else 1


def _watch(pair: Pair, teller: _Teller, every: float) -> int:
    """Keep them alike until somebody ends it; the exit code."""
    direction = teller.request.direction
    try:
        return keep_going(
            *(pair, every),
            hears=direction != "pull",
            looks=direction != "push",
            told=teller.tell,
            say=teller.screen.say,
        ).exit_code
    except KeyboardInterrupt:
        teller.tell_all()
        return 0


# --- what is said -------------------------------------------------------------------------------


class _Teller:
    """Says what has come of it, in words or as JSON; of many syncs only what is new."""

    def __init__(
        self, pair: Pair, request: Request, screen: _Screen, *, json: bool, watches: bool
    ) -> None:
        self._pair, self.request, self.screen = pair, request, screen
        self._json, self._watches = json, watches
        self._all = Outcome()
        self._notes: set[tuple[str, str, str]] = set()
        self._error = ""

    def tell(self, outcome: Outcome, error: RemoteKernelsError | None) -> None:
        """Say what has come of one."""
        self.screen.rest()
        if error is not None:
            error.clean(printable)
        known, self._notes = self._notes, set(_notes(outcome))
        is_new = outcome.has_changed or self._notes - known or _text(error) != self._error
        self._error = _text(error)
        self._all.add(outcome)
        if self._json and (is_new or not self._watches):
            self._tell_json(outcome, error)
        elif not self._json:
            self._tell_words(outcome, error, known if self._watches else set(), is_new=bool(is_new))

    def _tell_json(self, outcome: Outcome, error: RemoteKernelsError | None) -> None:
        data = {
            "host": str(self._pair.way.host),
            "here": self._pair.here,
            "there": self._pair.there,
            "direction": self.request.direction,
            **outcome.data(),
            "error": error.data() if error is not None else None,
        }
        if self._watches:
            # One on each line, so that they can be read one by one.
            click.echo(json.dumps(data))
        else:
            render.as_json(data)

    def _tell_words(
        self,
        outcome: Outcome,
        error: RemoteKernelsError | None,
        known: set[tuple[str, str, str]],
        *,
        is_new: bool,
    ) -> None:
        dry_run = self.request.dry_run
        for line in _done(outcome, dry_run=dry_run):
            render.say(line)
        _say_notes([note for note in _notes(outcome) if note not in known])
        for line in outcome.said if outcome.failed else ():
            render.say(f"  said: {line}", aside=True)
        if outcome.left and set(_notes(outcome)) - known:
            render.say(
                "'sync both' keeps both versions of what is left; --overwrite overwrites.",
                aside=True,
            )
        if error is None and (is_new or not self._watches):
            moment = f"{time.strftime('%H:%M:%S')} " if self._watches else ""
            render.say(moment + _summary(outcome, dry_run=dry_run))
        if error is not None and is_new:
            click.echo(error.block() if error.said else in_words(error), err=True)

    def tell_all(self) -> None:
        """Say what has come of all of them."""
        self.screen.rest()
        if not self._json:
            render.say(f"\nEnded; in all {_amounts(self._all)}.")


def _text(error: RemoteKernelsError | None) -> str:
    return "" if error is None else error.sentence


def _notes(outcome: Outcome) -> Iterator[tuple[str, str, str]]:
    """What is not done: what became of it, its path, and why."""
    for verb, found in (
        ("Left", outcome.left),
        ("Skipped", outcome.skipped),
        ("Failed", outcome.failed),
    ):
        for path, why in found.items():
            yield verb, path, why


def _say_notes(notes: Sequence[tuple[str, str, str]]) -> None:
    for verb, path, why in notes[:_MOST_NAMES]:
        render.say(f"{verb}: {printable(path)} ({printable(why)})", aside=True)
    if len(notes) > _MOST_NAMES:
        render.say(f"There are {len(notes) - _MOST_NAMES} more; --json lists all.", aside=True)


def _done(outcome: Outcome, *, dry_run: bool) -> Iterator[str]:
    """What was done, or would be, path by path, but for what was sent."""
    if dry_run:
        for path, (side, size) in outcome.sent.items():
            verb = "bring here" if side == HERE else "send"
            yield f"Would {verb}: {printable(path)} ({_amount(size)})"
    for path, side in outcome.removed.items():
        where = "here" if side == HERE else "over there"
        yield f"{'Would delete' if dry_run else 'Deleted'} {where}: {printable(path)}"
    for path, second in outcome.conflicts.items():
        verb = "would be" if dry_run else "is"
        yield (
            f"Conflict: {printable(path)} was changed on both sides; the version of over there "
            f"{verb} {printable(second)}"
        )
    for path in outcome.kept:
        yield f"Kept: {printable(path)} was deleted on one side, and changed on the other"


def _summary(outcome: Outcome, *, dry_run: bool) -> str:
    end = "."
    if outcome.left_out:
        end = f" ({outcome.left_out} left out)."
    if not outcome.has_changed:
        return ("Nothing would be done" if dry_run else "Nothing had to be done") + end
    if dry_run:
        return f"Would do: {_amounts(outcome)}{end}"
    return f"Done in {outcome.seconds:.1f} s: {_amounts(outcome)}{end}"


def _amounts(outcome: Outcome) -> str:
    """How much was done."""
    parts = []
    for side, verb in ((THERE, "sent"), (HERE, "brought here")):
        sizes = [size for to, size in outcome.sent.values() if to == side]
        if sizes:
            files = "1 file" if len(sizes) == 1 else f"{len(sizes)} files"
            parts.append(f"{files} {verb} ({_amount(sum(sizes))})")
    if outcome.removed:
        parts.append(f"{len(outcome.removed)} deleted")
    if outcome.conflicts:
        parts.append(f"{len(outcome.conflicts)} in conflict")
    return ", ".join(parts) or "nothing"


def _amount(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


# --- how far it is ------------------------------------------------------------------------------


class _Screen:
    """Where it is shown how far it is; this one shows nothing. Use it in a ``with`` block."""

    def __enter__(self) -> _Screen:
        return self

    def __exit__(self, *ended: Any) -> None:
        self.rest()

    @property
    def listener(self) -> Listener:
        """Who hears of it."""
        return Listener(self.looked, self.progress, self.say, self.log)

    def looked(self, count: int) -> None:
        """So many paths have been looked at."""

    def rest(self) -> None:
        """Nothing happens any more, or not for a while."""

    def progress(self, now: Progress) -> None:
        """It is so far."""

    def log(self, word: str) -> None:
        """Somebody is asked for what the login needs, or has been."""

    def say(self, line: str) -> None:
        """Something has happened."""
        render.say(printable(line), aside=True)


class _Lines(_Screen):
    """A line now and then."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def progress(self, now: Progress) -> None:
        if time.monotonic() - self._last >= _LINE_EVERY:
            self._last = time.monotonic()
            self.say(
                f"{now.files} of {now.of_files} files, "
                f"{_amount(now.bytes)} of {_amount(now.of_bytes)}"
            )


class _Bar(_Screen):
    """A bar, where a person looks."""

    def __init__(self) -> None:
        from rich import progress as bars
        from rich.console import Console

        columns = (
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            bars.DownloadColumn(),
            bars.TransferSpeedColumn(),
            bars.TimeRemainingColumn(),
        )
        self._bars = bars.Progress(*columns, console=Console(), transient=True)
        self._task = self._bars.add_task("", total=None)

    # It begins after the login: nothing is to be written over a question.

    def looked(self, count: int) -> None:
        self._bars.update(self._task, description=f"looking: {count} paths")
        self._bars.start()

    def rest(self) -> None:
        self._bars.stop()
        self._bars.reset(self._task, total=None)

    def progress(self, now: Progress) -> None:
        self._bars.update(
            self._task,
            description=f"{now.files} of {now.of_files} files",
            completed=now.bytes,
            total=max(now.of_bytes, 1),
        )
        self._bars.start()

    def log(self, word: str) -> None:
        if word == ASKING:
            self._bars.stop()

    def say(self, line: str) -> None:
        self._bars.stop()
        super().say(line)


def _screen(*, quiet: bool) -> _Screen:
    if quiet:
        return _Screen()
    return _Bar() if render.at_terminal() else _Lines()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let all that is under way be ended in order by a signal, as by Ctrl-C."""

    def end(signum: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signum)

    before = {signum: signal.signal(signum, end) for signum in _SIGNALS}
    try:
        yield
    except KeyboardInterrupt:
        render.say("Interrupted; the next sync goes on from here.", aside=True)
        raise SystemExit(128 + signal.SIGINT) from None
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
