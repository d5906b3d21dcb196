"""``remote-kernels lab``: a whole Jupyter server over there, in the browser here."""

from __future__ import annotations

import html
import os
import shlex
import threading
import time
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import click

from remote_kernels import steps
from remote_kernels.check import check
from remote_kernels.cli import in_words, render
from remote_kernels.cli.check import progress as steps_progress
from remote_kernels.cli.check import show as show_step
from remote_kernels.cli.params import (
    ManageCommand,
    ManageOption,
    changes,
    complete_hosts,
    kernel_params,
    server_changes,
    server_params,
)
from remote_kernels.errors import RemoteKernelsError, ServerError
from remote_kernels.interfaces import interface_named
from remote_kernels.kernel_log import printable
from remote_kernels.lab import (
    APP,
    Carriage,
    Server,
    Wanted,
    in_job,
    runtime_directory,
    servers,
    stop,
)
from remote_kernels.options import OF_A_HOST, WAY_OPTIONS, KernelOptions, flag_and_value
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.profiles import at_host, profiles, server_options
from remote_kernels.questions import ASKING
from remote_kernels.turn import Turn
from remote_kernels.whereabouts import age, way_to, ways

_GROUP = "The server"
# For somebody else's start here, who may be asked for a password; and between two looks.
_TURN_PATIENCE, _LOOK_AGAIN = 60.0, 0.1
# Seconds after which every browser has read its page.
_PAGE_LASTS = 60.0
# What may be said of a host, and means something where a server runs.
_OF_A_SERVER = set(OF_A_HOST) - {"host", "channel", "keep", "lease", "spool"} | {"verbose"}


def _own(flags: Sequence[str], text: str, **settings: Any) -> ManageOption:
    return ManageOption(flags, group=_GROUP, is_flag=True, help=text, **settings)


@click.command(
    cls=ManageCommand,
    params=[
        click.Argument(["hosts"], nargs=-1, metavar="HOST", shell_complete=complete_hosts),
        _own(["--notebook"], "Start 'jupyter notebook'."),
        *server_params(_GROUP),
        _own(["--no-browser"], "Print the address, and start no browser."),
        _own(
            ["--list", "list_"],
            "List the servers that run on these hosts, or on all that have a name of their own.",
        ),
        _own(
            ["--stop", "stops"],
            "End the server on HOST with its kernels, and its job; of several, the one in "
            "--workdir.",
        ),
        _own(
            ["--json"],
            "With --list: print a list of objects with host, error (null, or an object with "
            "sentence, said, try and more) and servers: a list of objects with id, name, "
            "directory, ours, pid, since (seconds since 1970), state, version, node, job and more.",
        ),
        *(
            param
            for param in kernel_params("The way there, and how a server is started")
            if param.name in _OF_A_SERVER
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def lab(ctx: click.Context, /, hosts: tuple[str, ...], **values: Any) -> None:
    """Use a whole Jupyter server that runs on a host, in the browser here.

    A server of yours that runs there in the directory is used, whoever has started it. Otherwise
    one is started, headless, in --workdir or else in your home; with --interface slurm and its
    like in a job, which is asked for on HOST. It is carried to a port of this machine, through all
    gateways, and stays when the line breaks, which comes back by itself.

    Ctrl-C leaves it: the server goes on with all that runs in it. The same command comes back to
    it, from another machine as well, and --stop ends it.
    """
    given, own = changes(values), server_changes(values)
    if values["notebook"] and "app" in own:
        raise click.UsageError("--notebook and --app do not fit together.")
    if values["notebook"]:
        own["app"] = "jupyter notebook"
    if values["list_"] and values["stops"]:
        raise click.UsageError("--list and --stop do not fit together.")
    if values["json"] and not values["list_"]:
        raise click.UsageError("--json is of use with --list only.")
    if values["list_"]:
        each = [(host, _wanted(host, given, own)) for host in _names(hosts)]
        ctx.exit(_list(each, as_json=values["json"]))
    if len(hosts) != 1:
        raise click.UsageError("Name one HOST.")
    wanted = _wanted(hosts[0], given, own)
    if values["stops"]:
        _stop(hosts[0], wanted)
        return
    _carry(hosts[0], wanted, browser=not values["no_browser"])


def _names(hosts: tuple[str, ...]) -> Sequence[str]:
    if not hosts and not profiles():
        raise click.UsageError("Name a HOST; no host has a name of its own yet.")
    return hosts or list(profiles())


def _wanted(host: str, given: dict[str, Any], own: dict[str, Any]) -> Wanted:
    # Without an option that says the way, it is that of the kernels there.
    way = way_to(host, ways(everywhere=True), **{x: given[x] for x in WAY_OPTIONS if x in given})
    options = KernelOptions(**at_host(host, {**way.options(), **given}))
    interface = interface_named(options.interface)
    if not interface.carries:
        raise click.UsageError(f"The interface {interface.name} goes to no host.")
    interface.check(options)
    server = server_options(host, own)
    return Wanted(options, server.app or APP, server.port)


# --- a server in the browser ----------------------------------------------------------------------


def _carry(host: str, wanted: Wanted, *, browser: bool) -> None:
    """Use a server, or start one, until the person leaves it.

    Raises:
        RemoteKernelsError: it failed.
        click.exceptions.Exit: likewise, and why was said.
    """
    # Of two that come at once, the second is to find the server of the first.
    turn = Turn(runtime_directory())
    with ExitStack() as stack:
        stack.callback(turn.give)
        with render.progress(f"logging in to {wanted.way}", quiet=False) as log:
            _await(turn)
            server = _found(wanted, log)
            log(ASKING)
        where = wanted.options.workdir or "your home"
        if server is None:
            render.say(printable(f"No server of yours runs in {where} on {wanted.way}."))
            _check_way(wanted)
            render.say(printable(f"Starting {wanted.app} in {where} on {wanted.way}."))
        else:
            turn.give()
            render.say(printable(f"{server.name} runs in {where} since {age(server.since)}."))
        told = _Told(host, wanted, stack, browser=browser)
        carriage = Carriage(wanted, server, told.up, told.waits)
        try:
            carriage.carry(began=turn.give)
        except RemoteKernelsError as error:
            click.echo(carriage.life.error_block(error), err=True)
            raise click.exceptions.Exit(error.exit_code) from None
        told.left(carriage)


def _found(wanted: Wanted, log: Callable[[str], None]) -> Server | None:
    """The server that runs in the directory; None if none does.

    Raises:
        RemoteKernelsError: its host cannot be asked, or it waits for its job.
    """
    with wanted.errand(log) as errand:
        found = servers(errand, wanted.options.workdir or "")
    server = next((server for server in found if server.is_here), None)
    return in_job(wanted, server, log) if server is not None and server.is_in_job else server


def _await(turn: Turn) -> None:
    deadline = time.monotonic() + _TURN_PATIENCE
    while not turn.take() and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN)


def _check_way(wanted: Wanted) -> None:
    """Go the way to where a server would start, as ``remote-kernels check`` does.

    Raises:
        click.exceptions.Exit: it does not lead there; why was said.
    """
    place = PrivateDirectory()
    try:
        with steps_progress(quiet=False) as now:
            options = wanted.options._replace(kernel_cmd=wanted.app)
            for finding in check(options, "", place.path, fast=True, now=now):
                if finding.step is steps.COMMAND and not finding.ok:
                    # It may be a function of the shell; if not, the start says so.
                    return
                show_step(finding)
                if not finding.ok:
                    raise click.exceptions.Exit((finding.error or {}).get("exit_code") or 1)
    finally:
        place.remove()


def _words_back(host: str, wanted: Wanted) -> list[str]:
    """The words of a command line that lead to a server again."""
    own = at_host(host, {}) if host in profiles() else {}
    known = Wanted(KernelOptions(**own), "", 0) if own else None
    if known is not None and known.way == wanted.way:
        words = [host]
    else:
        words, known = wanted.way.words(), None
    if wanted.options.workdir != (known.options.workdir if known is not None else None):
        words += flag_and_value("--workdir", wanted.options.workdir or "~")
    return words


class _Told:
    """What is said of a server that is carried, and the browser that is started for it."""

    def __init__(self, host: str, wanted: Wanted, stack: ExitStack, *, browser: bool) -> None:
        self._stack, self._browser = stack, browser
        self._words = _words_back(host, wanted)
        self._port = flag_and_value("--port", wanted.port) if wanted.port else []

    def waits(self, text: str) -> None:
        """Say how a job stands that is waited for."""
        render.say(printable(text))

    def up(self, server: Server, port: int) -> None:
        """Say where it is, and let the browser show it."""
        url = server.url(port)
        render.say(printable(f"{server.name} on {server.node} is at {url}"))
        if server.has_password:
            render.say("It asks for the password that you have given it.")
        elif server.may_be_open:
            render.say(
                "It has no token: unless it asks for a password, whoever reaches it over there may "
                "use it."
            )
        render.say("Ctrl-C leaves it; the server goes on. What comes back to it:")
        render.say(f"  {shlex.join(['remote-kernels', 'lab', *self._words, *self._port])}")
        render.say("What ends it:")
        render.say(f"  {shlex.join(['remote-kernels', 'lab', '--stop', *self._words])}")
        if self._browser:
            _browse(url, self._stack)

    def left(self, carriage: Carriage) -> None:
        """Say how it ended."""
        if not carriage.was_left:
            render.say("The server has ended.")
        elif carriage.stays:
            render.say("Left; the server goes on.")
        else:
            render.say("Given up; nothing was left over there.")


def _browse(url: str, stack: ExitStack) -> None:
    """Open the browser at an address whose token stands in no command line.

    As jupyter_server does, through a file of ours that leads there.
    """
    directory = runtime_directory()
    for old in directory.glob("rk-lab-*-open.html"):
        # One of ours that was killed has left it.
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > _PAGE_LASTS:
                old.unlink()
    path = directory / f"rk-lab-{os.getpid()}-open.html"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    stack.callback(path.unlink, missing_ok=True)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(_PAGE.format(html.escape(url)))
    # Some browsers end only when they are closed.
    threading.Thread(target=_open, args=(path.as_uri(),), daemon=True).start()


_PAGE = """<!DOCTYPE html>
<meta charset="utf-8"><meta http-equiv="refresh" content="1;url={0}">
<title>Jupyter</title><a href="{0}">{0}</a>
"""


def _open(address: str) -> None:
    with suppress(webbrowser.Error):
        if webbrowser.open(address):
            return
    render.say("There is no browser that could be started: open the address by hand.")


# --- the servers that there are -------------------------------------------------------------------


def _list(wanted: Sequence[tuple[str, Wanted]], *, as_json: bool) -> int:
    status, told = 0, []
    for host, each in wanted:
        data: dict[str, Any] = {"host": host, "error": None, "servers": []}
        try:
            text = printable(f"looking around at {host}")
            with render.progress(text, quiet=as_json) as log, each.errand(log) as errand:
                found = servers(errand, each.options.workdir or "")
            data["servers"] = [server.data() for server in found]
            if not as_json:
                _show(host, found)
        except RemoteKernelsError as error:
            error.clean(printable)
            data["error"], status = error.data(), error.exit_code
            if not as_json:
                click.echo(in_words(error), err=True)
        told.append(data)
    if as_json:
        render.as_json(told)
    return status


def _show(host: str, found: Sequence[Server]) -> None:
    if not found:
        render.say(printable(f"No servers run on {host}."))
    for server in found:
        whose = "" if server.is_ours else " (not ours)"
        job = f", job {server.job}" if server.job else ""
        state = server.waits or f"since {age(server.since)}"
        words = (server.id, f"{server.name}{whose}", f"{server.node or host}{job}")
        render.say(printable("  ".join((*words, server.directory or "-", state))))


def _stop(host: str, wanted: Wanted) -> None:
    """End the server in the directory, or the only one that there is.

    Raises:
        RemoteKernelsError: there is none, or it does not end.
    """
    text = printable(f"stopping the server on {host}")
    with render.progress(text, quiet=False) as log, wanted.errand(log) as errand:
        found = servers(errand, wanted.options.workdir or "")
        # That which would be come back to.
        meant = next((server for server in found if server.is_here), None)
        if meant is None and wanted.options.workdir is None and len(found) == 1:
            (meant,) = found
        if meant is None:
            where = wanted.options.workdir or "your home"
            there = "\n".join(f"{server.name} in {server.directory}" for server in found)
            raise ServerError(
                f"no server of yours runs in {where} on {host}",
                advice=f"name the directory with --workdir; there are:\n{there}" if there else "",
            )
        stop(errand, meant)
    render.say(printable(f"Stopped {meant.name} in {meant.directory or '-'} on {host}."))
