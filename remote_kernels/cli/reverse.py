"""``remote-kernels reverse``: a machine behind NAT, reached through a server."""

from __future__ import annotations

import os
import platform
import pwd
import re
import shlex
import time
from typing import Any

import click

from remote_kernels import reverse_service
from remote_kernels.cli import render
from remote_kernels.cli.params import (
    ManageCommand,
    ManageOption,
    changes,
    complete_hosts,
    way_params,
)
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.hosts import Host
from remote_kernels.kernel_log import printable
from remote_kernels.questions import ASKING
from remote_kernels.reverse import Ended, Holding, Tunnel, TunnelLine, address_of
from remote_kernels.shared_login import at
from remote_kernels.tunnel_notes import AWAY, CONNECTED, TunnelNote
from remote_kernels.whereabouts import way_to, ways

_TUNNEL, _SERVICE, _LOOK = "The tunnel", "After boot", "What there is"
_PORT = click.IntRange(1, 65535)


@click.command(
    cls=ManageCommand,
    params=[
        click.Argument(
            ["server"], required=False, metavar="[SERVER]", shell_complete=complete_hosts
        ),
        ManageOption(
            ["--port"],
            group=_TUNNEL,
            type=_PORT,
            metavar="N",
            help="Port on the server (default: the one that it had last, and at first one that is "
            "always the same for this machine, you and that server).",
        ),
        ManageOption(
            ["--to"],
            group=_TUNNEL,
            type=_PORT,
            metavar="PORT",
            help="Port of the ssh server on this machine (default: 22).",
        ),
        ManageOption(
            ["--unattended"],
            group=_TUNNEL,
            is_flag=True,
            help="Nobody is there: nothing is asked, and whatever fails is tried again. So a "
            "service runs it.",
        ),
        *way_params(),
        ManageOption(
            ["--service"],
            group=_SERVICE,
            is_flag=True,
            help="Let a service of yours hold it, now and after each boot (systemd, or launchd on "
            "macOS).",
        ),
        ManageOption(
            ["--remove"], group=_SERVICE, is_flag=True, help="With --service: end it and remove it."
        ),
        ManageOption(
            ["--status"],
            group=_LOOK,
            is_flag=True,
            help="Tell how the tunnels of this machine stand, or the one to SERVER.",
        ),
        ManageOption(
            ["--json"],
            group=_LOOK,
            is_flag=True,
            help="With --status: print a list of objects with server, gateways, address, port, to, "
            "pid, began, state (connected, away or ended), since, connects, why and service (an "
            "object with installed, enabled and running). Times are in seconds since 1970.",
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def reverse(ctx: click.Context, /, server: str | None, **values: Any) -> None:
    """Let a server lead others to this machine, which nobody reaches.

    To be run on the machine behind NAT, a GPU box at home: it logs in to SERVER and holds a port
    there that leads to the ssh server here. It prints what to type elsewhere: with
    '--host me@localhost:PORT --tunnel-hosts SERVER' all commands get here. When the line is lost,
    it comes back by itself. The port is open to the server itself only. Ctrl-C ends it.
    """
    if values["json"] and not values["status"]:
        raise click.UsageError("--json goes with --status.")
    if values["remove"] and not values["service"]:
        raise click.UsageError("--remove goes with --service.")
    try:
        if values["status"]:
            _show_status(ctx, server, values)
            return
        if server is None:
            raise click.UsageError("Name a SERVER; --status tells of those that there are.")
        way = way_to(server, ways(everywhere=True), **changes(values))
        if values["remove"]:
            _remove_service(ctx, address_of(way))
            return
        tunnel = Tunnel.wanted(way, values["port"], values["to"])
        if values["service"]:
            _install_service(tunnel)
        else:
            _hold(tunnel, unattended=values["unattended"])
    except RemoteKernelsError as error:
        error.clean(printable)
        click.echo(error.block(), err=True)
        ctx.exit(error.exit_code)


# --- holding it -----------------------------------------------------------------------------------


def _hold(tunnel: Tunnel, *, unattended: bool) -> None:
    with render.progress(f"Logging in to {tunnel.way}", quiet=unattended) as log:

        def up(line: TunnelLine, note: TunnelNote) -> None:
            # Nothing is waited for any more.
            log(ASKING)
            _tell_up(tunnel, line)
            if note.connects > 1:
                gone = time.time() - away_since[0]
                render.say(f"{_now()} the tunnel to {tunnel.way.host} is back after {gone:.0f} s")
                return
            render.say(f"Port {tunnel.port} of {tunnel.way.host} leads to port {tunnel.to} here.")
            if not unattended:
                render.say("Ctrl-C ends that. On your laptop:")
                _tell_lines(tunnel)

        def away(error: RemoteKernelsError, note: TunnelNote, pause: float) -> None:
            away_since[0] = note.since
            _tell_away(error, tunnel, pause)

        away_since = [0.0]
        try:
            Holding(tunnel, unattended=unattended, log=log, up=up, away=away).run()
        except Ended:
            log(ASKING)
            render.say(f"The tunnel to {tunnel.way.host} has ended.")


def _tell_up(tunnel: Tunnel, line: TunnelLine) -> None:
    if line.cleared:
        render.say(f"A dead tunnel of ours, made {at(line.cleared)}, held the port; it was ended.")
    if not line.is_seen:
        render.say(
            f"Whether {tunnel.way.host} alone can connect could not be seen: look at "
            "GatewayPorts of its sshd.",
            aside=True,
        )


def _tell_away(error: RemoteKernelsError, tunnel: Tunnel, pause: float) -> None:
    error.clean(printable)
    again = "trying to get back" if pause < 60 else f"next attempt in {pause / 60:.0f} min"
    said = f" ({error.said[-1]})" if error.said else ""
    render.say(f"{_now()} no tunnel to {tunnel.way.host}: {error.sentence}{said}; {again}")
    for line in error.advice.splitlines() if error.refused or pause >= 60 else ():
        render.say(f"  try: {line}")


def _now() -> str:
    return time.strftime("%H:%M:%S")


def _tell_lines(tunnel: Tunnel) -> None:
    for words in laptop_lines(tunnel):
        render.say(f"  {shlex.join(words)}")


def laptop_lines(tunnel: Tunnel) -> list[list[str]]:
    """The commands with which others get here, each as its words.

    Args:
        tunnel: that stands.
    """
    me = pwd.getpwuid(os.getuid()).pw_name
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", platform.node()).strip("_.-") or "box"
    there = ["--host", str(Host("localhost", me, tunnel.port)), "--tunnel-hosts", tunnel.address]
    kernel = ["--name", "Python 3", "--language", "python"]
    command = "--kernel_cmd=python3 -m ipykernel_launcher -f {connection_file}"
    return [
        ["remote-kernels", "hosts", "--add", name, *there],
        ["remote-kernels", "discover", name],
        ["remote-kernels", "manage", "--add", "--interface", "ssh", *there, *kernel, command],
        ["ssh", "-J", tunnel.address, "-p", str(tunnel.port), f"{me}@localhost"],
    ]


# --- a service ------------------------------------------------------------------------------------


def _install_service(tunnel: Tunnel) -> None:
    with render.progress(f"Trying the tunnel to {tunnel.way}", quiet=False):
        reverse_service.check(tunnel)
    service = reverse_service.install(tunnel)
    render.say(f"The service {service.name} holds the tunnel, now and after each boot:")
    render.say(f"  {service.file}")
    for hint in service.hints:
        render.say(hint)
    render.say("On your laptop:")
    _tell_lines(tunnel)


def _remove_service(ctx: click.Context, address: str) -> None:
    if reverse_service.remove(address):
        render.say(f"The service for {address} has ended, and was removed.")
    else:
        render.say(f"There is no service for {address}.", aside=True)
        ctx.exit(1)


# --- how they stand -------------------------------------------------------------------------------


def _show_status(ctx: click.Context, server: str | None, values: dict[str, Any]) -> None:
    notes = list(TunnelNote.all())
    if server is not None:
        address = address_of(way_to(server, ways(everywhere=True), **changes(values)))
        notes = [note for note in notes if note.address == address]
    if values["json"]:
        render.as_json([_data(note) for note in notes])
    else:
        for note in notes:
            _show(note)
    if not notes and server is not None:
        render.say(f"There is no tunnel to {server}.", aside=True)
        ctx.exit(1)
    if not notes and not values["json"]:
        render.say("There are no tunnels; 'remote-kernels reverse SERVER' makes one.")


def _show(note: TunnelNote) -> None:
    way = f" (via {', '.join(note.gateways)})" if note.gateways else ""
    port = f"port {note.port} there leads to port {note.to} here"
    state = _state(note)
    if state == CONNECTED:
        told = f"connected {at(note.since).replace('at', 'since', 1)}; {port}"
    elif state == AWAY:
        told = f"away {at(note.since).replace('at', 'since', 1)}: {printable(note.why)}"
    else:
        told = f"not held; {port.replace('leads', 'led')}"
    if state in (CONNECTED, AWAY):
        again = max(0, note.connects - 1)
        times = "once" if again == 1 else f"{again} times"
        told += f"; made anew {times}; process {note.pid}, started {at(note.began)}"
    render.say(f"{note.server}{way}: {told}")
    service = reverse_service.state_of(note.address)
    if service.installed:
        enabled = "starts after boot" if service.enabled else "does not start after boot"
        running = "runs" if service.running else "does not run"
        render.say(f"  its service {running}, and {enabled}")


def _state(note: TunnelNote) -> str:
    return note.state if note.is_held() else "ended"


def _data(note: TunnelNote) -> dict[str, Any]:
    data = note._asdict()
    data.update(state=_state(note), gateways=list(note.gateways))
    data["service"] = reverse_service.state_of(note.address)._asdict()
    return data
