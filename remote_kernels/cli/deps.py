"""``remote-kernels deps``: what notebooks and modules need, and installing it over there."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from remote_kernels import installation
from remote_kernels.cli import in_words, render
from remote_kernels.cli.params import (
    ManageCommand,
    ManageOption,
    changes,
    way_params,
)
from remote_kernels.errand import Errand
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.installation import Plan, There
from remote_kernels.kernel_log import printable
from remote_kernels.local_environment import Environment, environment_of, program_of
from remote_kernels.options import WAY_OPTIONS, KernelOptions
from remote_kernels.questions import ASKING
from remote_kernels.requirement_formats import FORMATS, written
from remote_kernels.requirements import (
    Modules,
    Requirements,
    requirements_of,
    unknown_modules,
)
from remote_kernels.sources import Sources
from remote_kernels.way import Way
from remote_kernels.whereabouts import way_to, ways

_WRITING = "How it is written"
_INSTALLING = "Installing it over there"


@dataclass(frozen=True)
class Needed:
    """What was read, and what is needed for it.

    Attributes:
        sources: that were read.
        environment: on this machine.
        requirements: of the sources.
    """

    sources: Sources
    environment: Environment
    requirements: Requirements

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "python": {"program": self.environment.python, "version": self.environment.version},
            "requirements": [wanted.data() for wanted in self.requirements.wanted],
            "urls": self.requirements.urls,
            "indexes": [list(index) for index in self.requirements.indexes],
            "own": self.sources.own,
            "notes": [*self.requirements.notes, *map(str, self.sources.skipped)],
            "unread": [{**note.place._asdict(), "why": note.what} for note in self.sources.unread],
        }


def _writing(flags: list[str], text: str, **settings: Any) -> ManageOption:
    return ManageOption(flags, group=_WRITING, help=text, **settings)


def _installing(flags: list[str], text: str, **settings: Any) -> ManageOption:
    return ManageOption(flags, group=_INSTALLING, help=text, **settings)


@click.command(
    cls=ManageCommand,
    params=[
        click.Argument(["paths"], nargs=-1, required=True, metavar="NOTEBOOK|DIR…"),
        _writing(
            ["--format", "form"],
            "As a requirements.txt (the default), a pyproject.toml, or an environment.yml of "
            "conda's.",
            type=click.Choice(FORMATS),
            default=FORMATS[0],
            metavar="|".join(FORMATS),
        ),
        _writing(
            ["--output", "-o"],
            "The file to write, in place of standard output. One that exists is left alone.",
            type=click.Path(dir_okay=False),
            metavar="FILE",
        ),
        _writing(["--force"], "Overwrite the file.", is_flag=True),
        _writing(
            ["--python"],
            "The Python whose distributions give names and versions. When it is not given: that "
            "of the environment that is active (VIRTUAL_ENV, CONDA_PREFIX), or else python3.",
            metavar="PATH",
        ),
        _writing(
            ["--json"],
            "Print an object with python (program and version), requirements (each with name, "
            "line, version, specifier, extras, marker, url, imports, known_by and places), urls, "
            "indexes, own (your modules that are imported, with their paths), notes and unread "
            "(each with path, cell, line and why); with --install also install (host, python, "
            "version, prefix, kind, missing, different, same, steps, dry_run, installed and "
            "changed), and error (null, or an object with sentence, said, try and more).",
            is_flag=True,
        ),
        _installing(
            ["--install", "host"],
            "Install what is missing on this host, into the environment of a kernel, in the "
            "versions that are here; nothing that is installed there is changed.",
            metavar="HOST",
        ),
        _installing(
            ["--kernel"],
            "The kernel: one of yours that goes to the host, or one that 'discover' shows there. "
            "When it is not given: the only one of yours that goes there.",
            metavar="NAME",
        ),
        _installing(
            ["--dry-run"], "Say what would be installed, and change nothing.", is_flag=True
        ),
        *way_params("no_share"),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def deps(ctx: click.Context, /, paths: tuple[str, ...], **values: Any) -> None:
    """Tell what notebooks and modules need, and install it over there.

    Notebooks, Python files, and all of these in directories are read: imports, also conditional
    and nested ones, magics, and what %pip, !pip and their like install. Names and versions are
    those of the distributions that are installed here; your own modules, and what comes with
    Python, are left out. Nothing of it is run.

    What is not certain is said on standard error. The exit code is 1 if something could not be
    read.
    """
    given = changes(values)
    _check(values, given)
    host, output = values["host"], Path(values["output"]) if values["output"] else None
    if output is not None and os.path.lexists(output) and not values["force"]:
        raise RemoteKernelsError(f"{output} exists", advice="overwrite it with --force")
    needed = _needed(paths, values["python"])
    if not values["json"]:
        _say(needed)
    text = written(needed.requirements, values["form"], _name_for(paths), needed.environment)
    if output is not None:
        _write(output, text)
    elif not (values["json"] or host):
        click.echo(text, nl=False)
    status, data = 1 if needed.sources.unread else 0, needed.data()
    if host:
        failed, told = _install(host, needed, given, values)
        status, data = failed or status, {**data, **told}
    if values["json"]:
        render.as_json(data)
    ctx.exit(status)


def _check(values: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuse words that do not fit together."""
    for name in ("kernel", "dry_run"):
        if values[name] and not values["host"]:
            raise click.UsageError(f"--{name.replace('_', '-')} is of use with --install only.")
    if given and not values["host"]:
        raise click.UsageError("options of the way there are of use with --install only.")
    if values["force"] and not values["output"]:
        raise click.UsageError("--force is of use with --output only.")


def _needed(paths: tuple[str, ...], python: str | None) -> Needed:
    chosen = program_of(python)
    environment = environment_of(chosen)
    sources = Sources(Modules(environment).is_known)
    sources.read(paths)
    if unknown := unknown_modules(sources.imports, environment):
        places = environment_of(chosen, unknown).places
        environment = environment._replace(places=places)
    return Needed(sources, environment, requirements_of(sources, environment))


def _say(needed: Needed) -> None:
    """Say what is not certain, aside."""
    environment, sources = needed.environment, needed.sources
    text = f"Versions are those of {environment.python} (Python {environment.version})."
    render.say(printable(text), aside=True)
    if sources.own:
        own = ", ".join(f"{name} ({path})" for name, path in sorted(sources.own.items()))
        render.say(printable(f"Left out, modules of your own: {own}."), aside=True)
    for note in (*sources.skipped, *needed.requirements.notes):
        render.say(printable(f"Note: {note}"), aside=True)
    for note in sources.unread:
        render.say(printable(f"Not read: {note}"), aside=True)


def _name_for(paths: tuple[str, ...]) -> str:
    """What a project of these is called: as their directory."""
    place = Path(os.path.abspath(paths[0]))
    return (place if os.path.isdir(place) else place.parent).name


def _write(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}-", encoding="utf-8", delete=False
        ) as file:
            try:
                file.write(text)
                file.flush()
                umask = os.umask(0)
                os.umask(umask)
                os.chmod(file.name, 0o666 & ~umask)
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise RemoteKernelsError(f"cannot write {path}: {error.strerror}") from None
    render.say(printable(f"Wrote {path}."), aside=True)


# --- over there ---------------------------------------------------------------------------------


def _install(
    host: str, needed: Needed, given: dict[str, Any], values: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    """Install over there; the exit code, and what there is to say for programs."""
    told: dict[str, Any] = {"install": None, "error": None}
    try:
        way = way_to(
            host, ways(everywhere=True), **{x: given[x] for x in WAY_OPTIONS if x in given}
        )
        options = installation.kernel_here(way, values["kernel"])
        text = printable(f"looking around at {way.host}")
        alone = bool(given.get("no_share"))
        with (
            render.progress(text, quiet=values["json"]) as log,
            Errand(way, installation.MODULES, log, alone=alone) as errand,
        ):
            if options is None:
                options = installation.kernel_there(errand, values["kernel"])
            there = installation.look(errand, options)
            log(ASKING)
            found = installation.plan(needed.requirements, there)
            told["install"] = _described(way, there, found, dry_run=values["dry_run"])
            if not values["json"]:
                _show(way, there, found, needed)
            steps = list(installation.steps(found, needed.requirements, there))
            told["install"]["steps"] = [
                {"by": step.by, "argv": list(step.argv), **step.texts} for step in steps
            ]
            if not values["json"]:
                for step in steps:
                    text = f"To be installed with {step.by}: {', '.join(step.lines)}"
                    render.say(printable(text))
            if found.missing and not values["dry_run"]:
                told["install"].update(_made(errand, options, there, needed, values["json"]))
    except RemoteKernelsError as error:
        error.clean(printable)
        if not values["json"]:
            click.echo(error.block() if error.said else in_words(error), err=True)
        return error.exit_code, {**told, "error": error.data()}
    return 0, told


def _made(
    errand: Errand, options: KernelOptions, before: There, needed: Needed, aside: bool
) -> dict[str, Any]:
    """Install what is missing, and say what has become of it."""
    installation.install(
        errand, options, needed.requirements, lambda line: render.say(printable(line), aside=aside)
    )
    after = installation.look(errand, options).environment
    installed, changed = installation.changes(before.environment, after)
    if not aside:
        shown = ", ".join(f"{name} {version}" for name, version in sorted(installed.items()))
        render.say(printable(f"Installed: {shown}."))
        for name, (old, new) in changed.items():
            render.say(printable(f"Changed: {name} from {old} to {new}."))
    return {"installed": installed, "changed": changed}


def _described(way: Way, there: There, found: Plan, *, dry_run: bool) -> dict[str, Any]:
    return {
        "host": str(way.host),
        "python": there.python,
        "version": there.environment.version,
        "prefix": there.environment.prefix,
        "kind": there.kind,
        "missing": [wanted.line for wanted in found.missing],
        "different": [
            {"name": wanted.name, "here": wanted.version or wanted.specifier, "there": version}
            for wanted, version in found.different
        ],
        "same": [wanted.name for wanted in found.same],
        "steps": [],
        "dry_run": dry_run,
        "installed": {},
        "changed": {},
    }


def _show(way: Way, there: There, found: Plan, needed: Needed) -> None:
    here = needed.environment
    text = f"{way.host}: {there.python} (Python {there.environment.version}; here {here.version})"
    render.say(printable(text))
    rows = [
        *((x.name, x.versions or "any", "missing") for x in found.missing),
        *((x.name, x.version or x.specifier, version) for x, version in found.different),
    ]
    if render.at_terminal() and rows:
        _table(rows)
    else:
        for name, mine, other in rows:
            render.say(printable(f"  {name}: {mine} here, {other} there"))
    if found.different:
        render.say("What differs is left as it is.")
    if not found.missing:
        render.say("Nothing is missing.")
    for url in needed.requirements.urls:
        text = f"Not installed: {url}, since it does not say what it is called"
        render.say(printable(text), aside=True)


def _table(rows: list[tuple[str, str, str]]) -> None:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(*(Column(title, overflow="fold") for title in ("Distribution", "Here", "There")))
    for row in rows:
        table.add_row(*map(Text, map(printable, row)))
    Console().print(table)
