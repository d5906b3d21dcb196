"""``remote-kernels login`` and ``logout``: connections that stand, for all that goes over them."""

from __future__ import annotations

import shlex
import time
from typing import Any

import click

from remote_kernels.cli import render
from remote_kernels.cli.params import (
    ManageCommand,
    changes,
    complete_hosts,
    way_params,
)
from remote_kernels.errors import LoginError
from remote_kernels.hosts import Host
from remote_kernels.profiles import described
from remote_kernels.resources import seconds
from remote_kernels.shared_login import KeptLogin, at
from remote_kernels.standing_login import kept_logins, log_in, log_out, stands
from remote_kernels.whereabouts import way_to, ways


@click.command(
    cls=ManageCommand,
    params=[
        click.Argument(["host"], required=False, metavar="[HOST]", shell_complete=complete_hosts),
        click.Option(
            ["--for", "time"],
            default="8h",
            metavar="TIME",
            help="How long kernels may begin to use the login (default: 8h): H:MM:SS, D-HH:MM:SS, "
            "90m, 4h or 2d.",
        ),
        *way_params(),
        click.Option(
            ["--json"],
            is_flag=True,
            help="Without HOST: print a list of objects with host, gateways, since, until (both in "
            "seconds since 1970) and open.",
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def login(ctx: click.Context, /, host: str | None, time: str, json: bool, **values: Any) -> None:
    """Log in to a host once, in the terminal; kernels then ask nothing.

    HOST is written as in --host of the kernels, or as the last of --tunnel-hosts where a scheduler
    is there. The gateways are those of the kernels of that host, or those given here. What ssh
    asks (password, passphrase, code, a new host key) is asked here, once for each machine on the
    way; its answer is stored nowhere.

    Without HOST: list the logins, and how long each can be used.
    """
    if host is None:
        if json:
            render.as_json([_data(kept) for kept in kept_logins()])
        else:
            _list(kept_logins())
        return
    if json:
        raise click.UsageError("--json is of use without HOST only.")
    given = changes(values)
    way = way_to(host, ways(everywhere=True), **given)
    render.say(f"Logging in to {way}.")
    try:
        kept = log_in(way, seconds(time, "--for"))
    except LoginError as error:
        click.echo(error.block(), err=True)
        ctx.exit(error.exit_code)
    render.say(
        f"Logged in. Kernels can use it until {at(kept.until).removeprefix('at ')}; "
        f"'{shlex.join(['remote-kernels', 'logout', host])}' ends it."
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("host", required=False, metavar="[HOST]")
@click.option("--all", "everything", is_flag=True, help="End all of them.")
@click.pass_context
def logout(ctx: click.Context, /, host: str | None, everything: bool) -> None:
    """End a login that 'remote-kernels login' has made, and its connection.

    A kernel that runs over it loses its line, and waits for the next one (--lease).
    """
    if (host is None) != everything:
        raise click.UsageError("Name one HOST, or say --all.")
    # As it was noted: there is more than one way to write an address.
    name = None if host is None else str(Host.parse(described(host, {})["host"]))
    found = [kept for kept in kept_logins() if everything or kept.host == name]
    for kept in found:
        log_out(kept)
        render.say(f"Logged out of {_name(kept)}.")
    if not found:
        render.say(f"There is no login to {host}." if host else "There are no logins.", aside=True)
        ctx.exit(0 if everything else 1)


def _name(kept: KeptLogin) -> str:
    return f"{kept.host} (via {', '.join(kept.gateways)})" if kept.gateways else kept.host


def _list(logins: list[KeptLogin]) -> None:
    if not logins:
        render.say("There are no logins; 'remote-kernels login HOST' makes one.")
    for kept in logins:
        render.say(f"{_name(kept)}: {_state(kept)}")


def _state(kept: KeptLogin) -> str:
    if not stands(kept):
        return kept.ended()
    left = int(kept.until - time.time()) // 60
    return f"logged in {at(kept.since)}; {left // 60} h {left % 60:02} min left, {at(kept.until)}"


def _data(kept: KeptLogin) -> dict[str, Any]:
    return {
        "host": kept.host,
        "gateways": list(kept.gateways),
        "since": kept.since,
        "until": kept.until,
        "open": stands(kept),
    }
