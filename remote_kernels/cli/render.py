"""What the commands print: plain words for scripts, tables at a terminal, JSON on request."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from remote_kernels.errors import OptionsError
from remote_kernels.kernelspecs import KernelSpec
from remote_kernels.options import KernelOptions, given
from remote_kernels.questions import ASKED, ASKING

MIGRATE_NOTE = "(remote_ikernel; --migrate moves it over)"


@dataclass(frozen=True)
class Shown:
    """What --show says of one kernel.

    Attributes:
        spec: its kernelspec.
        options: those it was added with; None if they cannot be read.
        command: the words that add it again.
        problem: why its options cannot be read.
    """

    spec: KernelSpec
    options: KernelOptions | None
    command: Sequence[str] = ()
    problem: str | None = None

    def facts(self) -> list[tuple[str, str]]:
        """Each fact with its title, for a person."""
        found = [
            ("Kernel found in", str(self.spec.directory)),
            ("Name", self.spec.display_name),
        ]
        if self.options is not None:
            options = self.options
            found.append(("Interface", options.interface or ""))
            if options.host:
                found.append(("Host", options.host))
            if options.tunnel_hosts:
                way = [*options.tunnel_hosts, *([options.host] if options.host else [])]
                found.append(("Way there", " -> ".join(way)))
        if not self.spec.ours:
            found.append(("Written by", MIGRATE_NOTE.strip("()")))
        if self.problem:
            found.append(("Problem", self.problem))
        return found

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        options = self.options
        return {
            "name": self.spec.name,
            "display_name": self.spec.display_name,
            "directory": str(self.spec.directory),
            "written_by": self.spec.written_by,
            "interface": options.interface if options else None,
            "host": options.host if options else None,
            "tunnel_hosts": list(options.tunnel_hosts) if options else [],
            "options": given(options) if options else {},
            "add_command": list(self.command),
            "problem": self.problem,
        }


def at_terminal() -> bool:
    """Whether a person reads the output."""
    return sys.stdout.isatty()


def say(text: str, *, aside: bool = False) -> None:
    """Print one message.

    Args:
        text: the message.
        aside: on standard error, where standard output is for data.
    """
    click.echo(text, err=aside)


@contextmanager
def progress(text: str, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Say what is being waited for, where a person looks.

    What it gives takes ASKING, from which on nothing is shown, and ASKED, after which it is again.

    Args:
        text: what is said.
        quiet: the output is for a program.
    """
    if quiet or not at_terminal():
        yield lambda word: None
        return
    from rich.console import Console
    from rich.text import Text

    # Text, since rich would take brackets in a str for markup.
    with Console().status(Text(text)) as status:

        def log(word: str) -> None:
            # Nothing is to be written over a question, or a list.
            if word == ASKING:
                status.stop()
            elif word == ASKED:
                status.start()

        yield log


def as_json(data: object) -> None:
    """Print data as JSON."""
    click.echo(json.dumps(data, indent=2))


def listing(specs: Sequence[KernelSpec]) -> None:
    """Print the kernels that there are."""
    if at_terminal():
        _table(specs)
        return
    click.echo("Currently installed kernels:")
    for spec in specs:
        note = "" if spec.ours else f" {MIGRATE_NOTE}"
        click.echo(f"  ['{spec.name}']: {spec.display_name}{note}")


def _table(specs: Sequence[KernelSpec]) -> None:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    if not specs:
        click.echo("No kernels yet; --add adds one.")
        return
    # Folded, not cut: a kernel name is there to be copied.
    titles = ("Kernel", "In the list of kernels", "Interface", "Host and way there")
    table = Table(*(Column(title, overflow="fold") for title in titles))
    for spec in specs:
        try:
            options = spec.options
        except OptionsError:
            options = KernelOptions()
        way = " via ".join(filter(None, [options.host, " ".join(options.tunnel_hosts)]))
        shown = Text(spec.display_name)
        if not spec.ours:
            shown.append(f"\n{MIGRATE_NOTE}", "dim")
        # Text, since rich would take brackets in a str for markup.
        table.add_row(Text(spec.name), shown, Text(options.interface or "?"), Text(way))
    Console().print(table)


def show(kernels: Sequence[Shown]) -> None:
    """Print all that is known of some kernels."""
    for kernel in kernels:
        if at_terminal():
            _facts(kernel)
        else:
            click.echo(f"['{kernel.spec.name}']")
            for title, fact in kernel.facts():
                click.echo(f"|  * {title}: {fact}")
        if kernel.command:
            # On lines of its own and never wrapped, so that it can be copied.
            click.echo("|  * Command that adds it again:" if not at_terminal() else "")
            click.echo(shlex.join(kernel.command))
        click.echo("")


def _facts(kernel: Shown) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=kernel.spec.name, title_justify="left", show_header=False)
    for title, fact in kernel.facts():
        table.add_row(title, Text(fact, overflow="fold"))
    Console().print(table)


def dry_run(spec: KernelSpec, command: Sequence[str], job_command: Sequence[str] | None) -> None:
    """Print what would be written and what would be run.

    Args:
        spec: that would be written.
        command: that would be spawned.
        job_command: that would be run in the session to ask for a job; None for no job.
    """
    click.echo(f"Would write {spec.directory / 'kernel.json'}:")
    click.echo(json.dumps(spec.document, indent=2, sort_keys=True))
    click.echo(
        "The kernel would be started through the following; BYTES, TOKEN, and PRIVATE_DIRECTORY "
        "where ssh is used, are new at each start:"
    )
    click.echo(shlex.join(command))
    if job_command is not None:
        click.echo("In that session the scheduler would be asked for a job:")
        click.echo(shlex.join(job_command))
