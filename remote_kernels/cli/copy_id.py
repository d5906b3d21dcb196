"""``remote-kernels copy-id``: logins without a password, set up once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from remote_kernels.cli import render
from remote_kernels.cli.params import (
    ManageCommand,
    changes,
    complete_hosts,
    way_params,
)
from remote_kernels.copy_id import Copying
from remote_kernels.errors import LoginError
from remote_kernels.whereabouts import way_to, ways


@click.command(
    cls=ManageCommand,
    params=[
        click.Argument(["host"], metavar="HOST", shell_complete=complete_hosts),
        click.Option(
            ["--identity", "-i"],
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="The key to give, by its private or its public half; made there if there is none. "
            "Without it: the one that ssh would use.",
        ),
        click.Option(
            ["--no-passphrase"],
            is_flag=True,
            help="If a key has to be made, let it have no passphrase: whoever gets at the file can "
            "use it.",
        ),
        *way_params(),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def copy_id(
    ctx: click.Context, /, host: str, identity: Path | None, no_passphrase: bool, **values: Any
) -> None:
    """Set up once that a host lets you in without a password.

    A key of yours becomes a line of ~/.ssh/authorized_keys there, as with ssh-copy-id, and on each
    gateway on the way; what is asked for meanwhile (password, code) is asked in the terminal. If
    you have no key, ssh-keygen makes one. A machine that lets you in with a key already is left as
    it is. In the end it is tried.
    """
    way = way_to(host, ways(everywhere=True), **changes(values))
    path = None if identity is None else identity.expanduser().absolute()
    try:
        Copying(way, path, passphrase=not no_passphrase, tell=render.say).run()
    except LoginError as error:
        click.echo(error.block(), err=True)
        ctx.exit(error.exit_code)
