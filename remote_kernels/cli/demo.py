"""``remote-kernels demo``: a kernel at work at the far end of an ssh connection, step by step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from typing import Any

import click

from remote_kernels.cli.render import at_terminal, say
from remote_kernels.errors import DemoError


@click.command()
@click.option(
    "--keep",
    is_flag=True,
    help="Leave server and kernel up until Ctrl-C, to be tried in JupyterLab.",
)
def demo(keep: bool) -> None:
    """Show a kernel at work at the far end of an ssh connection.

    Starts a throw-away ssh server on this machine, adds a kernel for it in a temporary directory,
    starts it, runs cells, interrupts, restarts and ends it. Needs ssh and
    pip install 'remote-kernels[demo]', but no sshd and no administrator's rights. Your ssh
    configuration and your kernels are left alone, and nothing is left behind.
    """
    from remote_kernels.demo.end_signals import Ended
    from remote_kernels.demo.run import run

    began = time.monotonic()
    try:
        run(_Steps().step, say, keep=keep)
    except Ended as ended:
        say(f"Ended by {ended.signum.name}. Nothing of it is left.", aside=True)
        raise
    except DemoError as error:
        for line in error.said:
            say(f"   {line}", aside=True)
        raise
    say(f"All of it worked, in {time.monotonic() - began:.1f} s. Nothing of it is left.")


class _Steps:
    """Tells the steps as they go: plain lines, or with colours and a sign of life at a terminal."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._console: Any = None
        if at_terminal():
            from rich.console import Console

            self._console = Console(highlight=False)

    @contextmanager
    def step(self, title: str, *typed: str) -> Iterator[list[str]]:
        """Tell one step; the lines that are added to the list are told at its end."""
        self._line(f"{next(self._numbers)}. {title}", "bold")
        for line in typed:
            self._line(f"     {line}", "cyan")
        found: list[str] = []
        began = time.monotonic()
        ended = "failed after"
        try:
            with self._console.status("") if self._console else nullcontext():
                yield found
            ended = "done in"
        finally:
            for line in found:
                self._line(f"   > {line}", "")
            colour = "green" if ended == "done in" else "red"
            self._line(f"   {ended} {time.monotonic() - began:.2f} s", colour)

    def _line(self, text: str, style: str) -> None:
        if self._console is None:
            click.echo(text)
            return
        # Never wrapped, and no markup: what is typed is there to be copied.
        self._console.print(text, style=style, markup=False, soft_wrap=True)
