"""``remote-kernels mirror``: an environment of one host on another one, and one kernel for both."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from remote_kernels import installation, kernelspecs, mirror, profiles
from remote_kernels.cli import in_words, render
from remote_kernels.cli.manage import NewKernel, complete_names, new_kernel
from remote_kernels.cli.params import (
    ManageCommand,
    ManageOption,
    complete_hosts,
)
from remote_kernels.errand import Errand
from remote_kernels.errors import OptionsError, RemoteKernelsError
from remote_kernels.installation import Plan, Step, There
from remote_kernels.kernel_log import printable
from remote_kernels.kernelspecs import KernelSpec
from remote_kernels.mirror import End, Original, Spot
from remote_kernels.options import DECLARED, KernelOptions, flag_and_value, given
from remote_kernels.questions import ASKING
from remote_kernels.requirements import Wanted
from remote_kernels.whereabouts import way_to, ways

# Of what is left out for one reason, so many names are said.
_NAMED = 6


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        kernel: whose environment is meant.
        first: the host that has it.
        second: the host that is to have it, too.
        into: the place there; empty for the same.
        python: of which it is made there; empty for one of the same version.
        exact: what differs there is made the same.
        name: of the kernel for both; empty for that which it has.
        no_kernel: there is to be none.
        dry_run: nothing is to be made, installed or written.
        json: the output is for a program.
    """

    kernel: str
    first: End
    second: End
    into: str
    python: str
    exact: bool
    name: str
    no_kernel: bool
    dry_run: bool
    json: bool

    def say(self, text: str) -> None:
        """Print one message; any of it may be a far side's words."""
        render.say(printable(text), aside=self.json)


def _option(group: str, flags: list[str], text: str, **settings: Any) -> ManageOption:
    return ManageOption(flags, group=group, help=text, **settings)


_HOSTS = "The two hosts"
_ENVIRONMENT = "The environment"
_KERNEL = "The kernel for both"
_OTHERS = "Other options"


@click.command(
    cls=ManageCommand,
    params=[
        _option(
            _HOSTS,
            ["--from", "first"],
            "Host that has the environment: [USER@]NAME[:PORT], or the name of one with options of "
            "its own (see 'remote-kernels hosts').",
            required=True,
            metavar="HOST",
            shell_complete=complete_hosts,
        ),
        _option(
            _HOSTS,
            ["--to", "second"],
            "Host that is to have it, too, written likewise.",
            required=True,
            metavar="HOST",
            shell_complete=complete_hosts,
        ),
        _option(
            _ENVIRONMENT,
            ["--into"],
            "Directory of the environment there. When it is not given: the same place, below your "
            "home if it is below your home.",
            metavar="DIR",
        ),
        _option(
            _ENVIRONMENT,
            ["--python"],
            "Program of which a virtualenv is made there, by its path or as on the PATH. When it "
            "is not given: a Python of the same version.",
            metavar="PROGRAM",
        ),
        _option(
            _ENVIRONMENT,
            ["--exact"],
            "Where an environment is there already: make what differs the same. Otherwise only "
            "what is missing is installed, and the rest stays as it is.",
            is_flag=True,
        ),
        _option(
            _KERNEL,
            ["--name", "-n"],
            "Name to identify the kernel. When it is not given: that of KERNEL, or of its "
            "environment.",
            metavar="NAME",
        ),
        _option(_KERNEL, ["--no-kernel"], "Add no kernel here.", is_flag=True),
        click.Argument(["kernel"], metavar="KERNEL", shell_complete=complete_names),
        _option(
            _OTHERS,
            ["--dry-run"],
            "Say what would be made, installed and added, and change nothing.",
            is_flag=True,
        ),
        _option(
            _OTHERS,
            ["--json"],
            "Print an object with from and to (each with host, prefix, kind, python and version; "
            "to also with made), left_out (a list of objects with name and why), missing, "
            "different (a list of objects with name, from and to), same, steps (each with by, "
            "argv and the texts of files), installed and changed (by names), kernel (null, or an "
            "object with name, display_name, directory and written), dry_run, and error (null, or "
            "an object with sentence, said, try and more).",
            is_flag=True,
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def command(ctx: click.Context, /, kernel: str, first: str, second: str, **values: Any) -> None:
    """Make the environment of a kernel on another host as well.

    KERNEL is one that runs on the host of --from: one of yours, or one that 'remote-kernels
    discover' shows there, or its path. A virtualenv or a conda environment with the same packages
    in the same versions is made on the host of --to, and one kernel is added here that serves both:
    it starts on the host of --to, and on that of --from while that does not answer.

    It may be run again and again: what is missing there is installed, and what is there stays. A
    host that is reached in a way of its own has to have a name with options; see 'remote-kernels
    hosts'.
    """
    known = ways(everywhere=True)
    request = Request(
        kernel=kernel,
        first=End(first, way_to(first, known)),
        second=End(second, way_to(second, known)),
        into=mirror.place_of(values["into"] or ""),
        python=values["python"] or "",
        exact=values["exact"],
        name=values["name"] or "",
        no_kernel=values["no_kernel"],
        dry_run=values["dry_run"],
        json=values["json"],
    )
    if request.first.way.host == request.second.way.host:
        raise click.UsageError("--from and --to are the same host.")
    data: dict[str, Any] = {
        **{"from": None, "to": None, "left_out": [], "missing": [], "different": [], "same": []},
        **{"steps": [], "installed": {}, "changed": {}, "kernel": None},
        **{"dry_run": request.dry_run, "error": None},
    }
    status = 0
    try:
        _mirror(request, data)
    except RemoteKernelsError as error:
        error.clean(printable)
        data["error"], status = error.data(), error.exit_code
        if not request.json:
            click.echo(error.block() if error.said else in_words(error), err=True)
    if request.json:
        render.as_json(data)
    ctx.exit(status)


def _mirror(request: Request, data: dict[str, Any]) -> None:
    """Do what is asked for, and note what there is to say for programs."""
    with _errand(request, request.first) as (errand, _):
        kernel = mirror.kernel_of(errand, request.first.way, request.kernel)
        found = mirror.original(errand, kernel)
    data["from"] = _described(request.first, found.place, found.kind, found.there)
    data["left_out"] = [{"name": name, "why": why} for name, why in found.left_out]
    _say_original(request, found)
    # Before anything is made: what cannot be added is refused now.
    new = None if request.no_kernel else _planned(request, kernel, found)
    with _errand(request, request.second) as (errand, log):
        where = mirror.spot(errand, found, request.into, request.python)
        # What comes of it is said while it goes on.
        log(ASKING)
        if where.kind:
            _bring_up_to_date(request, errand, found, where, data)
        else:
            _make(request, errand, found, where, data)
    if new is not None:
        data["kernel"] = _add(request, kernel, new)


@contextmanager
def _errand(request: Request, end: End) -> Iterator[tuple[Errand, Callable[[str], None]]]:
    """A session to a host, and what ends the word that it is being looked at."""
    text = printable(f"looking around at {end.way.host}")
    alone = bool(profiles.described(end.text, {}).get("no_share"))
    with (
        render.progress(text, quiet=request.json) as log,
        Errand(end.way, mirror.MODULES, log, alone=alone) as errand,
    ):
        yield errand, log


# --- the environment ----------------------------------------------------------------------------


def _make(
    request: Request, errand: Errand, found: Original, where: Spot, data: dict[str, Any]
) -> None:
    """Make an environment where nothing is."""
    host = request.second.way.host
    step = mirror.making(found, where, python_is_named=bool(request.python))
    data["to"] = {**_described(request.second, where.path, found.kind, None), "made": False}
    data["missing"] = [_spec(x) for x in (*found.packages, *found.distributions)]
    data["steps"] = [_data(step)]
    if request.dry_run:
        request.say(f"{host}: {where.path} would be made: {shlex.join(step.argv)}")
        if rest := ", ".join(each.line for each in found.distributions):
            request.say(f"Would install: {rest}.")
        return
    request.say(f"{host}: {where.path} is not there yet.")
    mirror.make(errand, where, step, request.say)
    # All of it is ours: what came with it, as pip does, is to have the right version as well.
    mirror.install(errand, found, where, request.say, exact=True)
    there = mirror.look(errand, where).there
    data["to"] = {**_described(request.second, where.path, found.kind, there), "made": True}
    empty = there.environment._replace(distributions={})
    data["installed"], _ = installation.changes(empty, there.environment)
    request.say(
        f"Made {where.path} on {host}: Python {there.environment.version}, "
        f"{len(data['installed'])} distributions."
    )


def _bring_up_to_date(
    request: Request, errand: Errand, found: Original, where: Spot, data: dict[str, Any]
) -> None:
    """Install what an environment lacks."""
    before = mirror.look(errand, where)
    plan = mirror.compared(found, before)
    there = before.there
    data["to"] = {**_described(request.second, where.path, found.kind, there), "made": False}
    data["missing"] = [_spec(x) for x in plan.missing]
    data["different"] = [
        {"name": x.name, "from": x.version, "to": version} for x, version in plan.different
    ]
    data["same"] = [x.name for x in plan.same]
    steps = list(mirror.steps(found, where, before, plan, exact=request.exact))
    data["steps"] = [_data(step) for step in steps]
    _show(request, found, where, there, plan)
    if request.dry_run or not steps:
        for step in steps:
            request.say(f"Would install with {step.by}: {', '.join(step.lines)}")
        return
    mirror.install(errand, found, where, request.say, exact=request.exact)
    after = mirror.look(errand, where).there.environment
    installed, changed = installation.changes(there.environment, after)
    data.update(installed=installed, changed=changed)
    if installed:
        names = [f"{name} {version}" for name, version in sorted(installed.items())]
        request.say(f"Installed: {installation.in_short(names)}.")
    for name, (old, now) in changed.items():
        request.say(f"Changed: {name} from {old} to {now}.")


def _spec(wanted: Wanted) -> str:
    return f"{wanted.name}={wanted.version}" if wanted.conda else wanted.line


def _data(step: Step) -> dict[str, Any]:
    return {"by": step.by, "argv": list(step.argv), **step.texts}


def _described(end: End, prefix: str, kind: str, there: There | None) -> dict[str, Any]:
    return {
        "host": str(end.way.host),
        "prefix": prefix,
        "kind": kind,
        "python": there.python if there else None,
        "version": there.environment.version if there else None,
    }


# --- what is said -------------------------------------------------------------------------------


def _say_original(request: Request, found: Original) -> None:
    count = len(found.packages) + len(found.distributions)
    what = "packages" if found.packages else "distributions"
    version = found.there.environment.version
    request.say(f"{request.first.way.host}: {found.place} (Python {version}), {count} {what}")
    reasons: dict[str, list[str]] = {}
    for name, why in found.left_out:
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        render.say(printable(f"Left out, {why}: {', '.join(names[:_NAMED])}{more}"), aside=True)


def _show(request: Request, found: Original, where: Spot, there: There, plan: Plan) -> None:
    first, second = request.first.way.host, request.second.way.host
    one, other = found.there.environment.version, there.environment.version
    request.say(f"{second}: {where.path} (Python {other})")
    if one.split(".")[:2] != other.split(".")[:2]:
        request.say(f"  Python: {one} on {first}, {other} on {second}")
    for wanted, version in plan.different:
        request.say(f"  {wanted.name}: {wanted.version} on {first}, {version} on {second}")
    if plan.different and not request.exact:
        request.say("What differs is left as it is; --exact makes it the same.")
    missing = installation.in_short([f"{x.name} {x.version}" for x in plan.missing])
    request.say(f"Missing: {missing}." if missing else "Nothing is missing.")


# --- the kernel ---------------------------------------------------------------------------------


def _planned(request: Request, kernel: KernelOptions, found: Original) -> NewKernel:
    ends = (request.first, request.second)
    fields = mirror.tile(kernel, found, ends, request.into, request.name)
    try:
        fields = {"interface": "ssh", **profiles.for_kernel(fields)}
        return new_kernel(fields, kernelspecs.user_directory(), aside=request.json)
    except RemoteKernelsError as error:
        other = (
            "--no-kernel makes the environment alone; 'remote-kernels manage --add' adds a kernel"
        )
        error.advice = "\n".join(filter(None, [error.advice, other]))
        raise


def _add(request: Request, kernel: KernelOptions, new: NewKernel) -> dict[str, Any]:
    """Add the kernel, unless it is there with all that belongs to it."""
    is_there = new.replaced is not None and _has_all(new.replaced, new.options)
    spec = new.replaced if is_there and new.replaced is not None else new.spec
    if is_there:
        request.say(f"The kernel ['{new.name}'] is there already: {spec.display_name}.")
    elif request.dry_run:
        request.say(f"Would add kernel ['{new.name}']: {spec.display_name}.")
    else:
        new.add(aside=request.json)
    others = mirror.not_taken(kernel)
    if others and not is_there:
        words = [word for name in others for word in flag_and_value(_flag(name), others[name])]
        edit = ["remote-kernels", "manage", "--edit", new.spec.name, *words]
        text = "It has not all options of the kernel that it is made after; this adds them:"
        render.say(printable(f"{text} {shlex.join(edit)}"), aside=True)
    first, second = request.first.way.host, request.second.way.host
    request.say(f"It starts on {second}, and on {first} while {second} does not answer.")
    return {
        "name": spec.name,
        "display_name": spec.display_name,
        "directory": str(spec.directory),
        "written": not (is_there or request.dry_run),
    }


def _flag(name: str) -> str:
    return DECLARED[name].flags[0]


def _has_all(spec: KernelSpec, wanted: KernelOptions) -> bool:
    """Whether a kernel has these options, whatever else a person has given to it."""
    try:
        options = spec.options
    except OptionsError:
        return False
    return all(getattr(options, name) == value for name, value in given(wanted).items())
