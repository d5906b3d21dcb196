"""``remote-kernels hosts``: the hosts that have a name and options of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from remote_kernels import profiles
from remote_kernels.cli import render
from remote_kernels.cli.params import (
    ManageCommand,
    ManageOption,
    changes,
    complete_hosts,
    kernel_params,
    server_changes,
    server_params,
)
from remote_kernels.errors import ProfileError
from remote_kernels.kernel_log import printable
from remote_kernels.options import DEFAULTS, OF_A_HOST, SERVER_DEFAULTS
from remote_kernels.profiles import Profile

_ACTIONS = ("add", "edit", "delete", "import_")
_OPTIONS = "What holds for the host, with --add and --edit"
_SERVERS = "Its Jupyter server, for 'remote-kernels lab'"


def _action(flags: list[str], text: str, **settings: Any) -> ManageOption:
    return ManageOption(flags, group="Actions", help=text, **settings)


@click.command(
    cls=ManageCommand,
    params=[
        _action(["--add", "-a"], "Add a host of this name.", metavar="NAME"),
        _action(
            ["--edit"],
            "Change single options of a host. An empty value, as in --workdir '', takes one away.",
            metavar="NAME",
            shell_complete=complete_hosts,
        ),
        _action(
            ["--delete", "-d"],
            "Remove these hosts. Kernels that were added with them stay as they are.",
            multiple=True,
            metavar="NAME…",
            shell_complete=complete_hosts,
        ),
        _action(
            ["--import", "import_"],
            "Add the host of a file of variables for sh, with remote_user, remote_host, port_Y (of "
            "this machine), path_jupyter and servername; --as names it.",
            metavar="FILE",
        ),
        _action(["--as", "as_"], "The name of the host that is imported.", metavar="NAME"),
        *(param for param in kernel_params(_OPTIONS) if param.name in OF_A_HOST),
        *server_params(_SERVERS),
        ManageOption(
            ["--json"],
            group="Other options",
            is_flag=True,
            help="Without an action: print an object that has an object of options for each name.",
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def hosts(ctx: click.Context, /, **values: Any) -> None:
    """List the hosts that have a name of your own, and add, edit and remove them.

    Such a name stands wherever a command takes a HOST, and brings its options along: the way there,
    working directory, pre-command, interface and what a job is asked for. What is said on the
    command line outweighs it. They lie in config.toml in your configuration directory
    (on Linux ~/.config/remote-kernels), which you may write yourself.

    Without an action: list them.
    """
    actions = [name for name in _ACTIONS if values[name]]
    options, server = changes(values), server_changes(values)
    if len(actions) > 1:
        flags = " and ".join(f"--{name.strip('_')}" for name in actions)
        raise click.UsageError(f"{flags} do not fit together.")
    if (options or server) and not (values["add"] or values["edit"]):
        raise click.UsageError("Options of a host are of use with --add or --edit only.")
    if values["as_"] and not values["import_"]:
        raise click.UsageError("--as is of use with --import only.")
    if values["json"] and actions:
        raise click.UsageError("--json is of use without an action only.")
    if values["add"]:
        _add(Profile(values["add"], options, server))
    elif values["import_"]:
        _add(profiles.imported(Path(values["import_"]).expanduser(), values["as_"] or ""))
    elif values["edit"]:
        _edit(values["edit"], options, server)
    elif values["delete"]:
        _delete(values["delete"])
    else:
        _list(as_json=values["json"])


def _add(profile: Profile) -> None:
    if profile.name in profiles.profiles():
        raise ProfileError(
            f"there is a host {profile.name} already",
            advice=f"change it with 'remote-kernels hosts --edit {profile.name}'",
        )
    profiles.write(profile)
    render.say(f"Added host {profile.name}: {profile.options['host']}.")


def _edit(name: str, options: dict[str, Any], server: dict[str, Any]) -> None:
    if not options and not server:
        raise click.UsageError("--edit needs at least one option to change.")
    old = profiles.named(name)
    new = {**old.options, **options}
    new = {key: value for key, value in new.items() if value != DEFAULTS[key]}
    newer = {**old.server, **server}
    newer = {key: value for key, value in newer.items() if value != SERVER_DEFAULTS[key]}
    profiles.write(Profile(name, new, newer))
    render.say(f"Changed host {name}.")


def _delete(names: tuple[str, ...]) -> None:
    for name in names:
        profiles.named(name)
    for name in names:
        profiles.remove(name)
        render.say(f"Removed host {name}.")


def _list(*, as_json: bool) -> None:
    found = profiles.profiles().values()
    if as_json:
        render.as_json({profile.name: profile.values() for profile in found})
        return
    if not found:
        render.say(
            "No host has a name of its own yet; 'remote-kernels hosts --add NAME --host HOST' "
            "gives one."
        )
    elif render.at_terminal():
        _table(list(found))
    else:
        for profile in found:
            render.say(f"{profile.name}  {profile.options['host']}  {_rest(profile)}".rstrip())


def _rest(profile: Profile) -> str:
    """Its options but the host, as the file has them."""
    rest = {key: value for key, value in profile.values().items() if key != "host"}
    return printable(", ".join(f"{key} = {json.dumps(rest[key])}" for key in rest))


def _table(found: list[Profile]) -> None:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(*(Column(title, overflow="fold") for title in ("Name", "Host", "Options")))
    for profile in found:
        host = Text(str(profile.options["host"]))
        table.add_row(Text(profile.name), host, Text(_rest(profile)))
    Console().print(table)
