"""``remote-kernels logs`` and ``report``: what a kernel's launchers have written down."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from remote_kernels import kernelspecs
from remote_kernels.cli import render
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.report import logs_of, redacted
from remote_kernels.report import report as lines_of_report
from remote_kernels.trace import whole_lines

_LOOK_AGAIN = 0.2


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name")
@click.option("--follow", "-f", is_flag=True, help="Go on showing what is written, until Ctrl-C.")
def logs(name: str, follow: bool) -> None:
    """Show the newest log of a kernel, without secrets.

    With --follow, a kernel that is started meanwhile is followed, too.
    """
    (spec,) = kernelspecs.named([name])
    options = spec.options
    if not logs_of(options) and not follow:
        raise RemoteKernelsError(f"there is no log of {name} yet", advice="start the kernel once")
    shown, position = None, 0
    try:
        while True:
            newest = next(iter(logs_of(options)), None)
            if newest is not None:
                if newest != shown:
                    shown, position = newest, 0
                    render.say(str(newest), aside=True)
                position = _show(newest, position)
            if not follow:
                return
            time.sleep(_LOOK_AGAIN)
    except KeyboardInterrupt:
        return


def _show(path: Path, position: int) -> int:
    """Show the whole lines behind a position; the position behind these."""
    whole = whole_lines(path, position)
    if whole:
        click.echo(redacted(whole.decode("utf-8", "replace")), nl=False)
    return position + len(whole)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name")
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="The file to write, in place of remote-kernels-report-NAME-TIME.txt here.",
)
def report(name: str, output: str | None) -> None:
    """Write one text file with all that a bug report needs.

    Versions, the kernelspec, what ssh's configuration says of the host, and the newest log: without
    what looks like a secret. A file that exists is left alone.
    """
    (spec,) = kernelspecs.named([name])
    path = output or f"remote-kernels-report-{spec.name}-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise RemoteKernelsError(f"cannot write {path}: {error.strerror}") from None
    with open(descriptor, "w", encoding="utf-8", errors="replace") as file:
        file.writelines(f"{line}\n" for line in lines_of_report(spec))
    render.say(f"Wrote {path}. Look through it before you send it: it names hosts and paths.")
