"""``remote-kernels ps`` and what can be done with kernels that run; ``clean``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

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
from remote_kernels.questions import ASKED, ASKING
from remote_kernels.whereabouts import (
    Found,
    Host,
    Kernel,
    Leftovers,
    age,
    kernels_of,
    selected,
    span,
    way_to,
    ways,
    with_launchers,
)

_GROUP = "Other options"
# Seconds between two looks.
_WATCH_EVERY = 2.0


def _selecting(words: click.Argument) -> list[click.Parameter]:
    """The params of a command that is told of kernels, and where to look for them."""
    on = ManageOption(
        ["--on", "hosts"],
        group=_GROUP,
        multiple=True,
        metavar="HOST…",
        help="Look for it on these hosts; when it is not given, wherever kernels may run.",
    )
    return [words, on, *way_params()]


def _all_param() -> ManageOption:
    return ManageOption(
        ["--all", "everywhere"],
        group=_GROUP,
        is_flag=True,
        help="Look at this machine and at the hosts of all kernelspecs.",
    )


_SETTINGS = {"help_option_names": ["-h", "--help"]}


@click.command(
    cls=ManageCommand,
    params=[
        click.Argument(["hosts"], nargs=-1, metavar="[HOST…]", shell_complete=complete_hosts),
        _all_param(),
        ManageOption(
            ["--watch"], group=_GROUP, is_flag=True, help="Show it anew every two seconds."
        ),
        ManageOption(
            ["--json"],
            group=_GROUP,
            is_flag=True,
            help="Print a list of objects, one for each host, with host (empty for this machine), "
            "error (null, or an object with sentence, said, try and more) and kernels: a list of "
            "objects with id, name, host, node, ours, line (connected, away, waiting, or empty "
            "for a kernel of others), state (busy, idle, starting, restarting, ending, waiting or "
            "empty), since and active (seconds since 1970), memory (kB), cpu (seconds), lease_left "
            "(seconds), job, says, pid, file, stale and more.",
        ),
        *way_params(),
    ],
    context_settings=_SETTINGS,
)
@click.pass_context
def ps(
    ctx: click.Context, /, hosts: tuple[str, ...], everywhere: bool, watch: bool, **values: Any
) -> None:
    """Show the kernels that run, and where.

    Our kernels, with how each stands: busy or idle, connected to its launcher, away from it or
    waiting in a queue. Then kernels that other programs of yours have started there, the newest
    first; connection files of dead ones are marked as stale.

    Without HOST: on this machine, and on the hosts of the kernels that were started from it.
    """
    if watch and values["json"]:
        raise click.UsageError("--watch and --json do not fit together.")
    with _around(hosts, everywhere, values, quiet=values["json"]) as around:
        if not watch:
            ctx.exit(_show_once(around, as_json=values["json"]))
        # Ctrl-C is the ordinary end.
        with suppress(KeyboardInterrupt):
            _watch(around)


class _Around(NamedTuple):
    """Where is looked.

    Attributes:
        hosts: that are looked at.
        log: takes ASKING and ASKED; see :func:`~remote_kernels.cli.render.progress`.
    """

    hosts: list[Host]
    log: Callable[[str], None]

    def look(self) -> list[Found]:
        """The kernels there, to be shown."""
        found = with_launchers([host.look() for host in self.hosts])
        self.log(ASKING)
        return found


@contextmanager
def _around(
    hosts: Sequence[str], everywhere: bool, values: dict[str, Any], *, quiet: bool = False
) -> Iterator[_Around]:
    """Look around at hosts; at those where kernels may run if none is named."""
    given = changes(values)
    if hosts and everywhere:
        raise click.UsageError("Name hosts, or say --all.")
    if given and not hosts:
        raise click.UsageError("The way to a host is of use with HOST only.")
    known = ways(everywhere=everywhere or bool(hosts))
    found = [way_to(host, known, **given) for host in hosts] if hosts else list(known)
    with ExitStack() as stack:
        log = stack.enter_context(render.progress("looking around", quiet=quiet))
        looked_at = [
            stack.enter_context(Host(way, known.get(way, ()), log, in_a_row=len(found) > 1))
            for way in found
        ]
        yield _Around(looked_at, log)


def _show_once(around: _Around, *, as_json: bool) -> int:
    found = around.look()
    if as_json:
        render.as_json([_data(each) for each in found])
    else:
        _show(found)
    return next((each.error.exit_code for each in found if each.error is not None), 0)


def _data(found: Found) -> dict[str, Any]:
    error = found.error.data() if found.error is not None else None
    kernels = [kernel.data() for kernel in found.kernels]
    return {"host": found.host, "error": error, "kernels": kernels}


# --- what is shown --------------------------------------------------------------------------------

_TITLES = ("ID", "Kernel", "Where", "State", "Since", "Active", "Memory", "CPU", "Line")


def _row(kernel: Kernel) -> tuple[str, ...]:
    facts = kernel.facts
    where = kernel.node or kernel.host or "?"
    if facts.get("job"):
        where += f", job {facts['job']}"
    if facts.get("instead_of"):
        where += f" (since {facts['instead_of']})"
    if facts.get("time_left") is not None:
        where += f" ({span(facts['time_left'])} left)"
    state = "stale" if facts["stale"] else str(facts.get("state") or "")
    if facts.get("says"):
        state = str(facts["says"])
    line = kernel.line
    if facts.get("lease_left") is not None:
        line += f", {span(facts['lease_left'])} left"
    active, memory, cpu = facts.get("active"), facts.get("memory"), facts.get("cpu")
    name = kernel.name if kernel.is_ours else f"{kernel.name} (not ours)"
    words = (
        *(kernel.id, name, where, state or "?", age(facts["since"])),
        age(active) if active else "",
        f"{memory / 1024:.0f} MB" if memory is not None else "",
        span(cpu) if cpu is not None else "",
        line,
    )
    return tuple(map(printable, words))


def _show(found: Sequence[Found]) -> None:
    kernels = kernels_of(found)
    if render.at_terminal():
        from rich.console import Console

        Console().print(_table(kernels))
    else:
        for kernel in kernels:
            render.say("  ".join(word or "-" for word in _row(kernel)))
        if not kernels:
            render.say("No kernels run.")
    for each in found:
        if each.error is not None:
            click.echo(in_words(each.error), err=True)


def _table(kernels: Sequence[Kernel]) -> Any:
    from rich.table import Column, Table
    from rich.text import Text

    if not kernels:
        return Text("No kernels run.")
    table = Table(*(Column(title, overflow="fold") for title in _TITLES))
    for kernel in kernels:
        table.add_row(*map(Text, _row(kernel)), style="dim" if kernel.facts["stale"] else "")
    return table


def _watch(around: _Around) -> None:
    if not render.at_terminal():
        while True:
            _show(around.look())
            render.say("")
            time.sleep(_WATCH_EVERY)
    from rich.live import Live

    found = around.look()
    with Live(_table(kernels_of(found)), auto_refresh=False) as live:
        while True:
            time.sleep(_WATCH_EVERY)
            found = around.look()
            live.update(_table(kernels_of(found)), refresh=True)


# --- what is done with them -----------------------------------------------------------------------


@contextmanager
def _selected(
    words: Sequence[str], hosts: Sequence[str], values: dict[str, Any]
) -> Iterator[list[tuple[Host, Kernel]]]:
    """The kernels that a person names, each with its host, which can be asked."""
    with _around(hosts, not hosts, values) as around:
        named = {host.name: host for host in reversed(around.hosts)}
        kernels = selected(around.look(), words)
        yield [(named[kernel.host], kernel) for kernel in kernels]


def _command(name: str, word: str, done: str, text: str) -> click.Command:
    """One of the commands that do something with kernels.

    Args:
        name: of the command.
        word: for the keeper.
        done: what is said of each kernel.
        text: of the help.
    """

    def run(words: tuple[str, ...], hosts: tuple[str, ...], **values: Any) -> None:
        ctx = click.get_current_context()
        status = 0
        with _selected(words, hosts, values) as kernels:
            for host, kernel in kernels:
                try:
                    host.wish(kernel, word)
                except RemoteKernelsError as error:
                    click.echo(in_words(error), err=True)
                    status = error.exit_code
                else:
                    where = kernel.node or kernel.host or "this machine"
                    render.say(printable(f"{done} {kernel.id}: {kernel.name}, {where}."))
        ctx.exit(status)

    return click.command(
        name,
        cls=ManageCommand,
        params=_selecting(click.Argument(["words"], nargs=-1, required=True, metavar="ID…")),
        context_settings=_SETTINGS,
        help=f"{text}\n\nID is what 'remote-kernels ps' shows, or the beginning of it; a process "
        "number, the path of a connection file or a name will do if there is only one.",
    )(run)


stop = _command(
    *("stop", "STOP", "Stopped"),
    "End kernels in order, and the jobs in which they run. Jupyter does not start them again by "
    "itself.",
)
interrupt = _command(*("interrupt", "INT", "Interrupted"), "Interrupt the cells that kernels run.")
restart = _command(
    *("restart", "RESTART", "Restarted"),
    "Start kernels anew, where they are: their variables are gone, and whoever is connected stays.",
)


@click.command(
    cls=ManageCommand,
    params=[
        click.Argument(["hosts"], nargs=-1, metavar="[HOST…]", shell_complete=complete_hosts),
        _all_param(),
        ManageOption(
            ["--yes", "-y"], group=_GROUP, is_flag=True, help="Do not ask, and end no jobs."
        ),
        ManageOption(
            ["--jobs", "end_jobs"],
            group=_GROUP,
            is_flag=True,
            help="End jobs, too, that are named as ours are and that no keeper on the login host "
            "holds. Where one name leads to several login hosts, a keeper on another may. Jobs of "
            "kernels with --channel forward have no keeper: they are shown, and never ended.",
        ),
        ManageOption(["--dry-run"], group=_GROUP, is_flag=True, help="Show what would be removed."),
        *way_params(),
    ],
    context_settings=_SETTINGS,
)
@click.pass_context
def clean(
    ctx: click.Context,
    /,
    hosts: tuple[str, ...],
    everywhere: bool,
    yes: bool,
    end_jobs: bool,
    dry_run: bool,
    **values: Any,
) -> None:
    """Remove what dead kernels have left, after showing it.

    Connection files whose kernels are dead, their sockets, and directories of keepers that were
    killed; and jobs of kernels that nobody holds any more. Files that may belong to a kernel on
    another machine, since a file server holds them, are left.

    Without HOST: on this machine, and on the hosts of the kernels that were started from it. On
    this machine also shared connections that have died, notes of logins that have ended, and
    directories of launchers that were killed.
    """
    status = 0
    with _around(hosts, everywhere, values) as around:
        for host in around.hosts:
            around.log(ASKED)
            try:
                left = host.leftovers()
                around.log(ASKING)
                _clean(host, left, yes=yes, end_jobs=end_jobs, dry_run=dry_run)
            except RemoteKernelsError as error:
                click.echo(in_words(error), err=True)
                status = error.exit_code
    ctx.exit(status)


def _clean(host: Host, left: Leftovers, *, yes: bool, end_jobs: bool, dry_run: bool) -> None:
    jobs = [f"job {job.id}, {job.name}, {job.state}" for _, job in left.jobs]
    shown = host.name or "this machine"
    for path in left.silent:
        render.say(f"{shown}: a keeper does not answer: {printable(path)}. Jobs are left alone.")
    for scheduler, job in left.not_kept:
        text = f"job {job.id}, {job.name}, {job.state}: a launcher may hold it, here or elsewhere"
        render.say(printable(f"{shown}: {text}. If none does: {scheduler.cancel_one(job)}"))
    if not left.paths and not jobs:
        render.say(f"{shown}: nothing is left of dead kernels.")
        return
    render.say(f"{shown}: left of dead kernels:")
    for thing in [*(f"{path} ({what})" for path, what in left.paths.items()), *jobs]:
        render.say(f"  {printable(thing)}")
    if dry_run:
        return
    if not yes and not (sys.stdin.isatty() and click.confirm("Remove them?", default=False)):
        render.say("Nothing was removed; --yes removes it without asking.")
        return
    # Behind one name there may be several login hosts, with keepers that hold these jobs.
    asks = bool(jobs) and not yes and click.confirm("And end the jobs?", default=False)
    removed = host.clean(left, jobs=end_jobs or asks)
    render.say(f"Removed {removed} of {len(left.paths) + len(jobs)}.")


@click.command(
    "output",
    cls=ManageCommand,
    params=_selecting(click.Argument(["word"], metavar="ID")),
    context_settings=_SETTINGS,
)
def output(word: str, hosts: tuple[str, ...], **values: Any) -> None:
    """Show what a kernel that was kept has printed while nobody was there.

    That is shown in the first cell after the way back as well. No more than a megabyte is kept, of
    which the oldest goes first.
    """
    with _selected([word], hosts, values) as ((host, kernel),):
        for text in host.missed(kernel):
            click.echo("\n".join(map(printable, text.split("\n"))), nl=False)
