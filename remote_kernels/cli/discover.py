"""``remote-kernels discover``: the kernels of a host, and kernelspecs for them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from remote_kernels import discovery, kernelspecs
from remote_kernels.cli import in_words, render
from remote_kernels.cli.manage import place_of, place_params
from remote_kernels.cli.params import (
    ManageCommand,
    ManageOption,
    changes,
    complete_hosts,
    kernel_params,
)
from remote_kernels.discovery import Change, Discovery, Found, There
from remote_kernels.errand import Errand
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.kernel_log import printable
from remote_kernels.questions import ASKING

# What is found says these; and the flag of one means something else here.
_NOT_SAID = ("host", "language", "kernel_cmd", "synced")
_ACTIONS = ("add", "add_all", "sync")
_GROUP = "What becomes of the kernels that are found"


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        asked: the options of a kernel that were given.
        parent: the directory of kernelspecs.
        look_in: directories of projects over there.
        add: names of kernels to be added.
        add_all: all that would start are to be added.
        sync: the kernelspecs are to follow the host.
        install: names of kernels for which something is to be installed first.
        dry_run: nothing is to be written or installed.
        json: the output is for a program.
    """

    asked: dict[str, Any]
    parent: Path
    look_in: tuple[str, ...]
    add: tuple[str, ...]
    add_all: bool
    sync: bool
    install: tuple[str, ...]
    dry_run: bool
    json: bool


def _action(flags: list[str], text: str, **settings: Any) -> ManageOption:
    return ManageOption(flags, group=_GROUP, help=text, **settings)


@click.command(
    cls=ManageCommand,
    params=[
        click.Argument(["hosts"], nargs=-1, metavar="[HOST…]", shell_complete=complete_hosts),
        _action(
            ["--add", "-a"],
            "Add these kernels, by their names in the list or by their paths.",
            multiple=True,
            metavar="NAME…",
        ),
        _action(["--add-all"], "Add all kernels that would start.", is_flag=True),
        _action(
            ["--sync"],
            "Make the list of kernels here follow the host: add new ones, change those that have "
            "changed there, and remove those that are gone and that a sync had added. Asks "
            "nothing, and may be run again and again.",
            is_flag=True,
        ),
        _action(
            ["--install"],
            "Run the command that the list shows for these kernels over there, and look again.",
            multiple=True,
            metavar="NAME…",
        ),
        _action(
            ["--look-in"],
            "Directories of projects over there: environments in them, in .venv, venv, env or "
            ".pixi below them, and in their subdirectories, are looked for as well.",
            multiple=True,
            metavar="DIR…",
        ),
        _action(
            ["--dry-run"],
            "With --add, --add-all, --sync or --install: say what would be done, and do nothing.",
            is_flag=True,
        ),
        _action(
            ["--json"],
            "Print a list of objects, one for each host, with host, error (null, or an object with "
            "sentence, said, try and more), kernels (each with name, kind, path, language, "
            "version, program, argv, activate, env, starts, problem and install), notes (what "
            "could not be looked at), and added, updated, removed, left and failed (each a list of "
            "objects with name, display_name, path and why); of several that failed, error is the "
            "first.",
            is_flag=True,
        ),
        *(
            param
            for param in kernel_params("How the kernels that are added are started")
            if param.name not in _NOT_SAID
        ),
        *place_params(),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def discover(ctx: click.Context, /, hosts: tuple[str, ...], **values: Any) -> None:
    """List the kernels that could run on a host, and add them.

    HOST is written as in --host of 'manage --add'; with --interface slurm and its like it is the
    login host, and the kernels that are added run in jobs. Kernelspecs, conda environments,
    virtualenvs, the Pythons of pyenv, uv and the system, R and Julia are found, whether there is a
    Jupyter or not. Kernels are added with their environment activated.

    Without an action the kernels are listed, and at a terminal you can pick some.
    """
    actions = [name for name in _ACTIONS if values[name]]
    if len(actions) > 1:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in actions)
        raise click.UsageError(f"{flags} do not fit together.")
    asked = changes(values)
    if "name" in asked and len(values["add"]) != 1:
        raise click.UsageError("--name is of use with one kernel to --add only.")
    if values["dry_run"] and not (actions or values["install"]):
        raise click.UsageError("--dry-run is of use with --add, --add-all, --sync or --install.")
    own = {name: values[name] for name in Request.__dataclass_fields__ if name in values}
    request = Request(asked=asked, parent=place_of(values) or kernelspecs.user_directory(), **own)
    results = [_at(host, request) for host in hosts or ("",)]
    if request.json:
        render.as_json([data for _, data in results])
    ctx.exit(next((status for status, _ in results if status), 0))


def _at(host: str, request: Request) -> tuple[int, dict[str, Any]]:
    """Do what is asked at one host; the exit code, and what there is to say for programs."""
    data: dict[str, Any] = {"host": host, "error": None}
    try:
        there = There.at(host, request.asked, request.parent)
        text = printable(f"looking around at {host or 'this machine'}")
        with render.progress(text, quiet=request.json) as log, there.errand(log) as errand:
            found = discovery.discover(errand, request.look_in)
            log(ASKING)
            instead: dict[str, str] = {}
            if request.install:
                found, instead = _install(errand, found, request)
            data.update(_described(found))
            if not request.json and not _acts(request):
                _show(host, found)
            made = _changes(errand, there, found, request, instead)
            if not request.dry_run:
                made = discovery.write(errand, made)
        data.update(_made(made, request))
        errors = [change.error for change in made if change.error is not None]
    except RemoteKernelsError as failure:
        errors = [failure]
    for error in errors:
        error.clean(printable)
        if not request.json:
            click.echo(error.block() if error.said else in_words(error), err=True)
    if errors:
        return errors[0].exit_code, {**data, "error": errors[0].data()}
    return 0, data


def _acts(request: Request) -> bool:
    return bool(request.add or request.add_all or request.sync)


def _install(
    errand: Errand, found: Discovery, request: Request
) -> tuple[Discovery, dict[str, str]]:
    """Install what is wanted; what is found then, and the environments that were made for names."""
    instead = {}
    for name, kernel in zip(request.install, found.named(request.install), strict=True):
        command, shown = printable(kernel.install), printable(kernel.name)
        if request.dry_run and command:
            render.say(f"Would run for {shown}: {command}", aside=request.json)
            continue
        render.say(f"Running for {shown}: {command}", aside=request.json)

        def told(line: str) -> None:
            render.say(f"  {printable(line)}", aside=request.json)

        discovery.install(errand, kernel, told)
        instead[name] = kernel.installs_into or name
    return (found if request.dry_run else discovery.discover(errand, request.look_in)), instead


def _changes(
    errand: Errand, there: There, found: Discovery, request: Request, instead: Mapping[str, str]
) -> list[Change]:
    """What is to become of kernelspecs; nothing is written."""
    if request.sync:
        return discovery.sync(errand, there, found)
    if request.add_all:
        chosen = [kernel for kernel in found.kernels if not kernel.problem]
    elif request.add:
        chosen = found.named([instead.get(name, name) for name in request.add])
    else:
        at_terminal = not request.json and render.at_terminal() and sys.stdin.isatty()
        chosen = _picked(found) if at_terminal and found.kernels and not request.install else []
    for kernel in chosen:
        if kernel.problem:
            render.say(
                f"Warning: {printable(kernel.name)} would not start: {printable(kernel.problem)}.",
                aside=True,
            )
    return discovery.all_added(there, chosen, "add")


def _picked(found: Discovery) -> list[Found]:
    """The kernels that a person picks from the list."""
    while True:
        said = click.prompt(
            "Add which? Numbers or names, all, or nothing for none", default="", show_default=False
        )
        if said.strip() == "all":
            return [kernel for kernel in found.kernels if not kernel.problem]
        words = said.replace(",", " ").split()
        try:
            return [_numbered(found, word) for word in words]
        except RemoteKernelsError as error:
            error.clean(printable)
            click.echo(in_words(error), err=True)


def _numbered(found: Discovery, word: str) -> Found:
    if word.isdecimal() and 0 < int(word) <= len(found.kernels):
        return found.kernels[int(word) - 1]
    return found.named([word])[0]


# --- what is said -------------------------------------------------------------------------------

_SAID = {"added": "Added", "updated": "Changed", "removed": "Removed", "left": "Left"}
_WOULD = {"added": "add", "updated": "change", "removed": "remove", "left": "leave"}


def _made(made: Sequence[Change], request: Request) -> dict[str, Any]:
    """Say what has become of kernelspecs; the same for programs."""
    if not request.json:
        for change in (change for change in made if change.what in _SAID):
            verb = f"Would {_WOULD[change.what]}" if request.dry_run else _SAID[change.what]
            why = f" ({printable(change.why)})" if change.why else ""
            shown = printable(change.spec.display_name)
            render.say(f"{verb} kernel ['{change.spec.name}']: {shown}.{why}")
        if not made and _acts(request):
            render.say("Nothing is to be changed." if request.sync else "Nothing is to be added.")
    return {what: [x.data() for x in made if x.what == what] for what in (*_SAID, "failed")}


def _described(found: Discovery) -> dict[str, Any]:
    kernels = [kernel.data() for kernel in found.kernels]
    notes = [{"path": path, "why": why} for path, why in found.notes]
    return {"kernels": kernels, "notes": notes}


def _show(host: str, found: Discovery) -> None:
    if render.at_terminal():
        _table(host, found)
    else:
        render.say(f"{host or 'this machine'}: {len(found.kernels)} kernels")
        for kernel in found.kernels:
            render.say("  " + "  ".join(map(printable, _row(kernel))))
    for kernel in found.kernels:
        if kernel.install:
            # On lines of their own and never wrapped, so that they can be copied.
            render.say(f"For {printable(kernel.name)}, over there: {printable(kernel.install)}")
    for path, why in found.notes:
        render.say(f"Not looked at: {printable(path)} ({printable(why)})", aside=True)


def _row(kernel: Found) -> list[str]:
    language = f"{kernel.language} {kernel.version}".strip() or "?"
    state = f"would not start: {kernel.problem}" if kernel.problem else "would start"
    return [kernel.name, language, kernel.kind, kernel.path, state]


def _table(host: str, found: Discovery) -> None:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    titles = ("", "Kernel", "Language", "Kind", "Where", "State")
    columns = [Column(title, overflow="fold") for title in titles]
    table = Table(*columns, title=printable(host), title_justify="left")
    for number, kernel in enumerate(found.kernels, 1):
        words = [str(number), *map(printable, _row(kernel))]
        table.add_row(*map(Text, words), style="dim" if kernel.problem else "")
    Console().print(table)
