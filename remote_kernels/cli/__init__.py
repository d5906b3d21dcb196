"""The command line ``remote-kernels``. click and rich are used here and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn, TextIO, cast

import click

from remote_kernels import __version__
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.kernel_log import printable

PROGRAM = "remote-kernels"
VERSION = f"Remote Jupyter kernel manager (version {__version__})."

# Names of commands, not commands: one is not imported when another is run.
_COMMANDS = {
    "manage": "manage:manage",
    "discover": "discover:discover",
    "deps": "deps:deps",
    "mirror": "mirror:command",
    "attach": "attach:attach",
    "lab": "lab:lab",
    "ps": "ps:ps",
    "stop": "ps:stop",
    "interrupt": "ps:interrupt",
    "restart": "ps:restart",
    "output": "ps:output",
    "clean": "ps:clean",
    "sync": "sync:sync",
    "check": "check:command",
    "logs": "logs:logs",
    "report": "logs:report",
    "hosts": "hosts:hosts",
    "login": "login:login",
    "logout": "login:logout",
    "copy-id": "copy_id:copy_id",
    "reverse": "reverse:reverse",
    "demo": "demo:demo",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, command = _COMMANDS[cmd_name].partition(":")
        return cast(click.Command, getattr(import_module(f"{__name__}.{module}"), command))

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except RemoteKernelsError as error:
            click.echo(in_words(error), err=True)
            ctx.exit(error.exit_code)


def in_words(error: RemoteKernelsError) -> str:
    """An error as a person at a command line reads it: what failed, and what to try."""
    error.clean(printable)
    lines = [f"{PROGRAM}: {error.sentence.removesuffix('.')}."]
    lines += [f"  try: {line}" for line in error.advice.splitlines()]
    return "\n".join(lines)


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", "-V", message=VERSION)
def commands() -> None:
    """All your Jupyter kernels, on all your machines, in one place."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, and leave with its exit code.

    Args:
        argv: the words after the program's name; those of this process when not given.
    """
    for stream in (sys.stdout, sys.stderr):
        # What a terminal cannot show must not end in a traceback.
        cast(TextIO, stream).reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
    commands.main(None if argv is None else list(argv), prog_name=PROGRAM)
    raise AssertionError("click leaves by itself")
