"""``remote-kernels attach``: a kernel that runs somewhere, in a front end here."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from remote_kernels.attach import attach as visit
from remote_kernels.attach import command_of
from remote_kernels.cli import render
from remote_kernels.cli.params import (
    ManageCommand,
    ManageOption,
    changes,
    complete_hosts,
    way_params,
)
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.kernel_log import printable
from remote_kernels.options import WAY_OPTIONS, KernelOptions
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.visit import Visited
from remote_kernels.whereabouts import all_schedulers, place_of, way_to, ways

_GROUP = "Which front end is started"
_FRONT_ENDS = ("console", "qtconsole", "lab", "run")


def _front_end(name: str, text: str) -> ManageOption:
    return ManageOption([f"--{name}"], group=_GROUP, is_flag=True, help=text)


@click.command(
    cls=ManageCommand,
    params=[
        click.Argument(["host"], metavar="HOST", shell_complete=complete_hosts),
        click.Argument(["selector"], required=False, default="", metavar="[ID|PID|FILE|latest]"),
        _front_end("console", "Start jupyter console, and leave the kernel with it."),
        _front_end("qtconsole", "Start jupyter qtconsole."),
        _front_end(
            "lab", "Start a JupyterLab of your own in which the kernel stands among those that run."
        ),
        ManageOption(
            ["--run"],
            group=_GROUP,
            metavar="FILE",
            help="Run a file of code in the kernel, show its outputs, and leave.",
        ),
        *way_params("lease", "no_share", "verbose"),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def attach(ctx: click.Context, /, host: str, selector: str, **values: Any) -> None:
    """Use a kernel that runs on a host, whoever has started it.

    Which one, 'remote-kernels ps HOST' shows; without a word it is the newest. On a cluster HOST
    is the login host, and the kernel may run in a job of yours. A connection file is written here,
    with which any number of front ends can use the kernel at a time: 'jupyter console --existing',
    qtconsole and others. Its sockets are carried until Ctrl-C, or until the front end that was
    started here has ended. The kernel stays.
    """
    chosen = [name for name in _FRONT_ENDS if values[name]]
    if len(chosen) > 1:
        raise click.UsageError(f"--{chosen[0]} and --{chosen[1]} do not fit together.")
    given = changes(values)
    known = ways(everywhere=True)
    way = way_to(host, known, **{name: given[name] for name in given if name in WAY_OPTIONS})
    options = KernelOptions(
        **{
            "interface": "ssh",
            "host": str(way.host),
            "tunnel_hosts": tuple(map(str, way.gateways)),
            "name": f"attach {selector}".strip(),
            **given,
        }
    )
    schedulers = known.get(way) or all_schedulers()
    place = PrivateDirectory()
    try:
        starts = _Starts(chosen[0] if chosen else "", str(values["run"] or ""), place.path)
        there = place_of(way, schedulers, selector, lambda text: None, alone=options.no_share)
        at_terminal = chosen in (["console"], ["run"])
        ctx.exit(
            visit(
                *(options, there.selector, starts.argv, starts.tell, there.hop),
                at_terminal=at_terminal,
            )
        )
    except RemoteKernelsError as error:
        click.echo(error.block(), err=True)
        ctx.exit(error.exit_code)
    finally:
        place.remove()


class _Starts:
    """The front end that a person wants."""

    def __init__(self, name: str, script: str, directory: Path) -> None:
        self._name, self._script, self._directory = name, script, directory
        # Before anything is asked of the host.
        self._command = command_of(name) if name else []

    def argv(self, file: Path) -> Sequence[str] | None:
        """Its argv for a connection file."""
        if not self._name:
            return None
        if self._name == "lab":
            # In this directory is nothing but the one file.
            (self._directory / file.name).symlink_to(file)
            return [
                *self._command,
                "--ServerApp.allow_external_kernels=True",
                f"--ServerApp.external_connection_dir={self._directory}",
            ]
        if self._name == "run":
            return [*self._command, "--existing", str(file), self._script]
        return [*self._command, "--existing", str(file)]

    def tell(self, visited: Visited, file: Path) -> None:
        """Say that front ends can connect."""
        aside = bool(self._name)
        name = printable(f"{visited.id} ({visited.name})")
        render.say(f"Attached to kernel {name}.", aside=aside)
        if not self._name:
            render.say(shlex.join(["jupyter", "console", "--existing", file.name]))
            render.say("Ctrl-C leaves it; the kernel stays.")
