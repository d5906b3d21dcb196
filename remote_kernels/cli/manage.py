"""``remote-kernels manage``: add, show, edit, migrate and delete kernels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from remote_kernels import __version__, kernelspecs
from remote_kernels.cli import VERSION, in_words, render
from remote_kernels.cli.kernel_command import looked_at
from remote_kernels.cli.params import (
    ManageCommand,
    ManageOption,
    add_command,
    changes,
    kernel_params,
)
from remote_kernels.errors import OptionsError, RemoteKernelsError
from remote_kernels.interfaces import interface_named
from remote_kernels.interfaces.scheduler import Scheduler
from remote_kernels.kernelspecs import KernelSpec
from remote_kernels.options import DECLARED, KernelOptions
from remote_kernels.profiles import for_kernel
from remote_kernels.remote_script import refuse_secrets
from remote_kernels.shell_text import bootstrap_command, receiver_command

_ACTIONS = ("add", "edit", "show", "migrate", "delete")
_PLACES = ("user", "system", "sys_prefix", "prefix")


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        words: what follows the flag of the action.
        changes: the options of a kernel that were given, and those of its host's profile.
        place: the directory of kernelspecs that was named, if one was.
        dry_run: nothing is to be written.
        json: the output is for a program.
    """

    words: tuple[str, ...]
    changes: dict[str, Any]
    place: Path | None
    dry_run: bool
    json: bool

    def specs(self) -> list[KernelSpec]:
        """The kernels that there are, at the place that was named or wherever Jupyter looks."""
        return kernelspecs.find([self.place] if self.place else kernelspecs.search_directories())

    def named(self) -> tuple[list[KernelSpec], list[str]]:
        """The kernels with the names that were given, and the names that no kernel has."""
        known = {spec.name: spec for spec in self.specs()}
        found = [known[word.lower()] for word in self.words if word.lower() in known]
        return found, [word for word in self.words if word.lower() not in known]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _given(values: dict[str, Any], names: Sequence[str]) -> list[str]:
    return [name for name in names if values[name] not in (None, False, ())]


def _refuse_misfits(values: dict[str, Any]) -> None:
    """Refuse options that do not fit together.

    Raises:
        click.UsageError: in words.
    """
    actions, places = _given(values, _ACTIONS), _given(values, _PLACES)
    for several in (actions, places):
        if len(several) > 1:
            flags = " and ".join(map(_flag, several))
            raise click.UsageError(f"{flags} do not fit together.")
    options = changes(values)
    if options and (not actions or actions[0] not in ("add", "edit")):
        flag = DECLARED[next(iter(options))].flags[0]
        if actions:
            raise click.UsageError(f"{_flag(actions[0])} and {flag} do not fit together.")
        raise click.UsageError(f"{flag} is of use with --add or --edit only.")
    if actions == ["edit"] and not options:
        raise click.UsageError("--edit needs at least one option to change.")
    if values["dry_run"] and (not actions or actions[0] not in ("add", "edit")):
        raise click.UsageError("--dry-run is of use with --add or --edit only.")
    if values["json"] and actions != ["show"] and not values["dry_run"]:
        raise click.UsageError("--json is of use with --show or --dry-run only.")


def place_of(values: dict[str, Any]) -> Path | None:
    """The directory of kernelspecs that was named, if one was.

    Args:
        values: what click read, by the names of the options.

    Raises:
        click.UsageError: it is none.
    """
    if values["user"]:
        return kernelspecs.user_directory()
    if values["system"]:
        return kernelspecs.system_directory()
    if values["sys_prefix"]:
        return kernelspecs.prefix_directory(sys.prefix)
    if values["prefix"] == "":
        raise click.UsageError("--prefix needs a directory.")
    if values["prefix"]:
        return kernelspecs.prefix_directory(values["prefix"])
    return None


def place_words(spec: KernelSpec) -> list[str]:
    """The words that say where a kernelspec lies; none for the user's own."""
    parent = spec.directory.parent
    if parent == kernelspecs.user_directory():
        return []
    if parent == kernelspecs.system_directory():
        return ["--system"]
    if parent == kernelspecs.prefix_directory(sys.prefix):
        return ["--sys-prefix"]
    if parent.parts[-3:] == ("share", "jupyter", "kernels"):
        return ["--prefix", str(parent.parents[2])]
    return []


def _checked(options: KernelOptions, *, aside: bool) -> KernelOptions:
    """The options as they are stored, if a kernel can be made of them.

    Raises:
        RemoteKernelsError: one is missing.
        OptionsError: the interface cannot use one.
    """
    if options.interface is None:
        raise RemoteKernelsError("interface must be specified")
    interface = interface_named(options.interface)
    if options.interface == "ssh" and options.host is None:
        raise RemoteKernelsError("A host is required for ssh")
    if options.name is None:
        raise RemoteKernelsError("name is required for kernel")
    if options.kernel_cmd is None and options.existing is None:
        raise RemoteKernelsError("kernel_cmd is required")
    interface.check(options)
    if options.kernel_cmd is None:
        return options
    refuse_secrets(options.kernel_cmd)
    command, remarks = looked_at(options.kernel_cmd)
    for remark in remarks:
        render.say(remark, aside=aside)
    return options._replace(kernel_cmd=command)


def _dry_run(request: Request, spec: KernelSpec, options: KernelOptions) -> None:
    interface = interface_named(options.interface)
    # These are new at each start.
    directory, start, job_command = Path("PRIVATE_DIRECTORY"), bootstrap_command("BYTES"), None
    if issubclass(interface, Scheduler):
        start = receiver_command()
        name = interface.job_name(options, "TOKEN", kept=interface.keeps(options))
        job_command = [*interface.settings(), *interface.job_command(options, name)]
    if interface.keeps(options):
        command = interface.keeper_command(options, directory, alone=options.no_share)
    else:
        command = interface.session_command(options, directory, start)
    if request.json:
        document = {"directory": str(spec.directory), "kernel_json": spec.document}
        render.as_json({**document, "command": command, "job_command": job_command})
    else:
        render.dry_run(spec, command, job_command)


@dataclass(frozen=True)
class NewKernel:
    """A kernel that is to be added.

    Attributes:
        options: of it.
        spec: its kernelspec, which is not written yet.
        replaced: the one of ours that makes way for it; None for none.
    """

    options: KernelOptions
    spec: KernelSpec
    replaced: KernelSpec | None

    @property
    def name(self) -> str:
        """By which it is said to be added."""
        return kernelspecs.kernel_name(self.options)

    def add(self, *, aside: bool = False) -> None:
        """Write it, and say so.

        Args:
            aside: standard output is for data.

        Raises:
            KernelSpecError: it cannot be written; everything is as before.
        """
        kernelspecs.write(self.spec)
        render.say(f"Added kernel ['{self.name}']: {self.spec.display_name}.", aside=aside)
        if self.replaced:
            render.say("Replaced the kernel of that name.", aside=aside)


def new_kernel(fields: Mapping[str, Any], parent: Path, *, aside: bool) -> NewKernel:
    """The kernel with these options; nothing is written.

    Args:
        fields: of :class:`KernelOptions`, with what profiles of hosts stand for.
        parent: the directory of kernelspecs in which it is to lie.
        aside: standard output is for data.

    Raises:
        KernelSpecError: what lies there is not ours.
        OptionsError: the interface cannot use an option.
        RemoteKernelsError: an option is missing.
    """
    options = _checked(KernelOptions(**fields), aside=aside)
    return NewKernel(options, *kernelspecs.planned(options, parent))


def _add(request: Request) -> int:
    parent = request.place or kernelspecs.user_directory()
    new = new_kernel(request.changes, parent, aside=request.json)
    if request.dry_run:
        _dry_run(request, new.spec, new.options)
    else:
        new.add()
    return 0


def _not_found(request: Request, names: Sequence[str], said: str) -> int:
    """Say which names no kernel has, and list those that there are."""
    if not names:
        return 0
    render.say(f"{said}: {', '.join(names)}.", aside=request.json)
    if not request.json:
        render.listing(request.specs())
    return 1


def _edit(request: Request) -> int:
    found, unknown = request.named()
    if unknown:
        return _not_found(request, unknown, "Could not find")
    (spec,) = found
    if not spec.ours:
        raise RemoteKernelsError(
            f"{spec.name} is remote_ikernel's", advice=f"move it over first: --migrate {spec.name}"
        )
    options = _checked(spec.options._replace(**request.changes), aside=request.json)
    new = kernelspecs.edited(spec, options)
    if request.dry_run:
        _dry_run(request, new, options)
        return 0
    kernelspecs.write(new)
    render.say(f"Changed kernel ['{new.name}']: {new.display_name}.")
    return 0


def _shown(spec: KernelSpec) -> render.Shown:
    try:
        options = spec.options
    except OptionsError as error:
        return render.Shown(spec, None, problem=error.sentence)
    return render.Shown(spec, options, add_command(options, place_words(spec)))


def _show(request: Request) -> int:
    found, unknown = request.named() if any(request.words) else (request.specs(), [])
    kernels = [_shown(spec) for spec in found]
    if request.json:
        render.as_json([kernel.data() for kernel in kernels])
    else:
        render.show(kernels)
    return _not_found(request, unknown, "Could not find")


def _each(specs: Sequence[KernelSpec], action: Callable[[KernelSpec], object], said: str) -> int:
    """Do something with each kernel; one that fails does not keep the others from it."""
    status = 0
    for spec in specs:
        try:
            action(spec)
        except RemoteKernelsError as error:
            render.say(in_words(error), aside=True)
            status = error.exit_code
        else:
            render.say(f"{said} kernel ['{spec.name}']: {spec.display_name}.")
    return status


def _migrate(request: Request) -> int:
    found, unknown = request.named() if any(request.words) else (request.specs(), [])
    theirs = [spec for spec in found if not spec.ours]
    for spec in found:
        if spec.ours and any(request.words):
            render.say(f"The kernel ['{spec.name}'] has been moved over already.")
    if not theirs and not any(request.words):
        render.say("There are no kernels of remote_ikernel.")
    status = _each(theirs, kernelspecs.migrate, "Migrated")
    return _not_found(request, unknown, "Could not find") or status


def _delete(request: Request) -> int:
    found, unknown = request.named()
    status = _each(found, kernelspecs.remove, "Removed")
    return _not_found(request, unknown, "Can't delete") or status


def complete_names(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The names of kernels of ours that begin so."""
    specs = kernelspecs.find(kernelspecs.search_directories())
    return [
        CompletionItem(spec.name, help=spec.display_name)
        for spec in specs
        if spec.name.startswith(incomplete)
    ]


def _action_params() -> list[click.Parameter]:
    group = "Actions"
    names: dict[str, Any] = {"group": group, "shell_complete": complete_names}
    return [
        ManageOption(
            ["--add", "-a"],
            group=group,
            is_flag=True,
            help="Add a kernel with the options below. One of the same name is replaced if it is "
            "ours, and left alone if it is not.",
        ),
        ManageOption(
            ["--edit"],
            new=True,
            metavar="NAME",
            help="Change single options of a kernel. An empty value, as in --workdir '', gives "
            "the default again. The kernel name stays.",
            **names,
        ),
        ManageOption(
            ["--show", "-s"],
            multiple=True,
            alone=True,
            metavar="[NAME…]",
            help="Show these kernels, or all, each with the command that adds it again.",
            **names,
        ),
        ManageOption(
            ["--delete", "-d"],
            multiple=True,
            metavar="NAME…",
            help="Remove these kernels. Files of others in their directories stay.",
            **names,
        ),
        ManageOption(
            ["--migrate"],
            new=True,
            multiple=True,
            alone=True,
            metavar="[NAME…]",
            help="Let kernels that remote_ikernel added run by remote-kernels: these, or all of "
            f"them. Their names stay; the old file is kept as {kernelspecs.BACKUP_NAME}.",
            **names,
        ),
    ]


def place_params() -> list[click.Parameter]:
    """The options that say where a kernelspec lies."""
    group = "Where the kernelspec lies"
    return [
        ManageOption(
            ["--user"],
            group=group,
            new=True,
            is_flag=True,
            help="In your own Jupyter directory. --add does so when nothing else is said; the "
            "other actions look wherever Jupyter does.",
        ),
        ManageOption(
            ["--system"],
            group=group,
            is_flag=True,
            help="In the system's directory, so that all users have the kernel. May need "
            "administrator's rights.",
        ),
        ManageOption(
            ["--sys-prefix"],
            group=group,
            new=True,
            is_flag=True,
            help="In the Python environment that remote-kernels is installed in.",
        ),
        ManageOption(
            ["--prefix"],
            group=group,
            new=True,
            metavar="DIR",
            type=click.Path(file_okay=False),
            help="In DIR/share/jupyter/kernels.",
        ),
    ]


def _output_params() -> list[click.Parameter]:
    group = "Other options"
    return [
        ManageOption(
            ["--dry-run"],
            group=group,
            new=True,
            is_flag=True,
            help="With --add or --edit: print the kernel.json, the command that would start the "
            "session, and the one that would ask a scheduler for the job; write nothing.",
        ),
        ManageOption(
            ["--json"],
            group=group,
            new=True,
            is_flag=True,
            help="With --show: print a list of objects with name, display_name, directory, "
            "written_by (remote-kernels or remote_ikernel), interface, host, tunnel_hosts, options "
            "(those that differ from their defaults), add_command (a list of words) and problem "
            "(null, or why the options cannot be read). With --dry-run: an object with directory, "
            "kernel_json, command, and job_command (null where no scheduler is asked for a job).",
        ),
    ]


def _changes(values: dict[str, Any]) -> dict[str, Any]:
    """The options of a kernel that were given, with what profiles of hosts stand for."""
    found = for_kernel(changes(values))
    if values["add"] and "host" in found:
        found.setdefault("interface", "ssh")
    return found


@click.command(
    cls=ManageCommand,
    params=[
        *_action_params(),
        *kernel_params("The kernel, with --add and --edit"),
        *place_params(),
        *_output_params(),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "--version", "-V", message=VERSION)
@click.pass_context
def manage(ctx: click.Context, /, **values: Any) -> None:
    """Manage the kernels that run through remote-kernels.

    Without any option: list them, and print this help.
    """
    _refuse_misfits(values)
    actions = _given(values, _ACTIONS)
    words = values[actions[0]] if actions else ()
    request = Request(
        words=words if isinstance(words, tuple) else (str(words),),
        changes=_changes(values),
        place=place_of(values),
        dry_run=values["dry_run"],
        json=values["json"],
    )
    if not actions:
        render.listing(request.specs())
        click.echo("")
        click.echo(ctx.get_help())
        return
    run = {"add": _add, "edit": _edit, "show": _show, "migrate": _migrate, "delete": _delete}
    ctx.exit(run[actions[0]](request))
