"""What code needs, compared with the environment of a kernel over there, and installed into it.

Only what is missing is installed, in the version that is here. What is there already stays as it
is: the program that installs is held to its versions, and fails where that cannot be.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from remote_kernels import discovery, kernelspecs
from remote_kernels.errand import Errand
from remote_kernels.errors import (
    ConnectionLostError,
    InstallationError,
    OptionsError,
    RemoteKernelsError,
)
from remote_kernels.interfaces import interface_named
from remote_kernels.kernel_environment import KernelEnvironment, as_words
from remote_kernels.kernel_log import printable
from remote_kernels.local_environment import Environment, program
from remote_kernels.options import KernelOptions
from remote_kernels.remote_script import DIALECTS, shell_text
from remote_kernels.requirement_formats import conda_name, conda_spec
from remote_kernels.requirements import Requirements, Wanted, is_needed
from remote_kernels.spare import machines
from remote_kernels.way import Way

#: Of ours, that look around over there.
MODULES = (*discovery.MODULES, "far_environment")

# A Python in the words of a kernel command, and a script that names one.
_RUNS_PYTHON = re.compile(r"(.*\S)\s+-m\s+[A-Za-z_][\w.]*(?=\s|$)", re.DOTALL)
_RUNS_SCRIPT = re.compile(r"\s*([^\s'\"]*ipython3?)\s+kernel(?=\s|$)")
_SAID = 20
# Of these the names are said; of more, how many they are.
_SHOWN = 20

# How conda lists what its channels do not have, and how its solvers say it.
_LISTED = re.compile(r"\s+- ([^\s=<>!~\[]+)")
_NOT_PROVIDED = re.compile(
    r"nothing provides (?:requested )?([\w.-]+)|[─-] ([\w.-]+) .*does not exist \(perhaps a typo"
)


class There(NamedTuple):
    """The environment of a kernel over there.

    Attributes:
        python: by whose path it is known over there.
        environment: as that tells of it.
        conda: argv that installs packages of conda's into it; empty where that cannot be.
        uv: the program; empty if there is none.
    """

    python: str
    environment: Environment
    conda: tuple[str, ...]
    uv: str

    @property
    def kind(self) -> str:
        """Of the environment: conda, venv or system."""
        return "conda" if self.conda else "venv" if self.environment.is_environment else "system"


class Plan(NamedTuple):
    """What is the same in two environments, what differs, and what is missing over there.

    Attributes:
        missing: over there.
        different: there in another version; each with that.
        same: there in the version that is here, or in one that will do.
    """

    missing: tuple[Wanted, ...]
    different: tuple[tuple[Wanted, str], ...]
    same: tuple[Wanted, ...]


class How(Enum):
    """What may become of what is installed already.

    Attributes:
        HELD: it stays as it is.
        RESOLVED: it may change, where what is installed needs another version.
        AS_IT_STANDS: what is installed is taken to be all that is needed.
    """

    HELD = "held"
    RESOLVED = "resolved"
    AS_IT_STANDS = "as it stands"


class Step(NamedTuple):
    """One command that installs something.

    Attributes:
        by: conda, pip or uv.
        argv: of it; words that name texts stand for files that have these.
        texts: by their names.
        wanted: what it installs.
    """

    by: str
    argv: tuple[str, ...]
    texts: Mapping[str, str]
    wanted: tuple[Wanted, ...]

    @property
    def lines(self) -> list[str]:
        """What it is asked for, each as that program has it."""
        return [conda_spec(each) if self.by == "conda" else each.line for each in self.wanted]


# --- which environment --------------------------------------------------------------------------


def kernel_here(way: Way, name: str | None) -> KernelOptions | None:
    """The kernel of ours whose environment is meant.

    Args:
        way: to its host.
        name: of its kernelspec; None for the only one that goes there. One that is named may have
            the host as a spare.

    Returns:
        Its options; None if none has that name, which may be one over there.

    Raises:
        RemoteKernelsError: it goes elsewhere, or there is none, or more than one.
    """
    there: dict[str, KernelOptions] = {}
    for spec in kernelspecs.find(kernelspecs.search_directories()):
        try:
            options, *spares = machines(spec.options)
            if name is not None and spec.name == name.lower():
                return _of_host(way, spec.name, [options, *spares])
            if _goes_to(way, options) and _words_of(options.kernel_cmd or ""):
                there[spec.name] = options
        except OptionsError:
            # What is wrong with it, its start says.
            continue
    if name is not None:
        return None
    # The same environment may be reached at once and in jobs.
    environments = {_place_of(options): options for options in there.values()}
    if len(environments) == 1:
        return next(iter(environments.values()))
    if there:
        raise RemoteKernelsError(
            f"{len(there)} kernels go to {way.host}",
            advice="\n".join(f"--kernel {name}" for name in there),
        )
    raise RemoteKernelsError(
        f"no kernel of yours goes to {way.host}",
        advice="name a kernel of that host with --kernel; 'remote-kernels discover "
        f"{way.host}' lists them",
    )


def _goes_to(way: Way, options: KernelOptions) -> bool:
    goes = interface_named(options.interface).way(options)
    return goes is not None and goes.host == way.host


def _of_host(way: Way, name: str, machines: Sequence[KernelOptions]) -> KernelOptions:
    """The options of a kernel on that of its machines that is a host."""
    for options in machines:
        if _goes_to(way, options):
            return options
    raise RemoteKernelsError(f"the kernel {name} does not go to {way.host}")


def _place_of(options: KernelOptions) -> tuple[Any, ...]:
    """What tells one environment from another."""
    words = _words_of(options.kernel_cmd or "")
    return (words, options.activate, options.precmd, options.env, options.workdir)


def kernel_there(errand: Errand, name: str) -> KernelOptions:
    """The kernel over there whose environment is meant.

    Args:
        errand: to its host.
        name: as 'discover' shows it, or its path.

    Returns:
        Its options; the name is what people know it by.

    Raises:
        RemoteKernelsError: there is none.
    """
    look_in = [name] if name.startswith(("/", "~/")) else []
    (found,) = discovery.discover(errand, look_in).named([name])
    return KernelOptions(
        name=(found.kind == "kernelspec" and found.display_name) or found.name,
        language=found.language or None,
        kernel_cmd=found.command,
        activate=found.activate or None,
        env=as_words(found.env),
    )


def look(errand: Errand, options: KernelOptions) -> There:
    """Ask the Python of a kernel over there what it has installed.

    Args:
        errand: to its host.
        options: of the kernel.

    Raises:
        RemoteKernelsError: it has none, or that does not tell.
    """
    words = _words_of(options.kernel_cmd or "")
    if words is None:
        raise RemoteKernelsError(
            f"which Python it is, the kernel command does not say: {options.kernel_cmd}",
            advice="name another kernel with --kernel; one whose command is "
            "PYTHON -m ipykernel_launcher -f {connection_file}",
        )
    surroundings = KernelEnvironment.parse(options.activate, options.env)
    texts = {x: shell_text(x, "@rk-look", options.precmd, surroundings) for x in DIALECTS}
    order = {
        "texts": texts,
        "variables": surroundings.handed_over(),
        "workdir": options.workdir,
        "python": words[0],
        "script": words[1],
        "program": program(()),
    }
    answer = errand.ask("environment", order)
    try:
        conda, uv, python = tuple(answer["conda"]), answer["uv"], answer["python"]
        if not all(isinstance(word, str) for word in (*conda, uv, python)):
            raise TypeError
        return There(python, Environment.read(answer["facts"]), conda, uv)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise RemoteKernelsError("the far side tells of it in no way that we know") from None


def by_name(kernel_cmd: str, prefix: str) -> str:
    """A kernel command that finds its Python on the PATH, once its environment is activated.

    Args:
        kernel_cmd: of a kernel whose Python is known; see :func:`look`.
        prefix: directory of its environment.
    """
    words = _words_of(kernel_cmd)
    if words is None:
        return kernel_cmd
    python, script = words
    if script:
        return kernel_cmd.replace(script, script.rpartition("/")[2], 1)
    with suppress(ValueError):
        if len(shlex.split(python)) == 1:
            return kernel_cmd.replace(python, "python", 1)
    # Variables and options before and behind it stay.
    return re.sub(rf"'?{re.escape(prefix)}/bin/python[\d.]*'?", "python", kernel_cmd, count=1)


def _words_of(kernel_cmd: str) -> tuple[str, str] | None:
    """The words of a kernel command that run a Python, and the script that it is of; or neither."""
    if found := _RUNS_PYTHON.match(kernel_cmd):
        return found[1], ""
    found = _RUNS_SCRIPT.match(kernel_cmd)
    return ("", found[1]) if found else None


# --- what is to be done -------------------------------------------------------------------------


def plan(needed: Requirements, there: There) -> Plan:
    """Compare what is needed with what there is.

    Args:
        needed: on this machine.
        there: the other environment.
    """
    missing, different, same = [], [], []
    for wanted in needed.wanted:
        if not is_needed(wanted, there.environment.markers):
            continue
        found = there.environment.distributions.get(wanted.key)
        if found is None or _lacks_extras(wanted, there.environment):
            missing.append(wanted)
        elif _will_do(wanted, found.version):
            same.append(wanted)
        else:
            different.append((wanted, found.version))
    return Plan(tuple(missing), tuple(different), tuple(same))


def _will_do(wanted: Wanted, version: str) -> bool:
    """Whether a version is the one that is here, or, where none is, one that is asked for."""
    try:
        if wanted.version:
            # Builds of one version for different machines differ in what follows the plus sign.
            return Version(wanted.version).public == Version(version).public
        return SpecifierSet(wanted.specifier).contains(Version(version), prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return wanted.version in ("", version)


def _lacks_extras(wanted: Wanted, environment: Environment) -> bool:
    """Whether something is not there that an extra of a distribution, which is there, brings."""
    for text in environment.distributions[wanted.key].requires if wanted.extras else ():
        try:
            required = Requirement(text)
        except InvalidRequirement:
            continue
        for extra in wanted.extras:
            needed = required.marker is not None and required.marker.evaluate(
                {**environment.markers, "extra": extra}
            )
            if needed and canonicalize_name(required.name) not in environment.distributions:
                return True
    return False


def steps(found: Plan, needed: Requirements, there: There) -> Iterator[Step]:
    """The commands that install what is missing.

    What conda turns out not to have is left to pip.

    Args:
        found: what is missing.
        needed: with the indexes and channels that notebooks name.
        there: the environment.

    Raises:
        InstallationError: nothing may be, or can be, installed there.
    """
    suits = _suits_conda(found, there)
    if suits:
        yield by_conda(suits, needed, there)
    if rest := [x for x in found.missing if x not in suits]:
        yield by_pip(rest, needed, there)


def _suits_conda(found: Plan, there: There) -> list[Wanted]:
    return [x for x in found.missing if not (x.url or x.extras)] if there.conda else []


def by_conda(missing: Sequence[Wanted], needed: Requirements, there: There) -> Step:
    """The command that installs packages of conda's; see :func:`steps`."""
    channels = [word for channel in needed.channels for word in ("-c", channel)]
    argv = [*there.conda, "--freeze-installed", *channels, *map(conda_spec, missing)]
    return Step("conda", tuple(argv), {}, tuple(missing))


def by_pip(
    missing: Sequence[Wanted], needed: Requirements, there: There, how: How = How.HELD
) -> Step:
    """The command that installs without conda; see :func:`steps`."""
    environment = there.environment
    if environment.is_closed:
        raise InstallationError(
            f"the system of that machine keeps others from installing into {environment.prefix}",
            advice="make a virtual environment over there, and a kernel in it: 'remote-kernels "
            "discover HOST --install NAME --add NAME' does both",
        )
    texts = {"requirements": _requirements(missing, needed)}
    files = ["-r", "requirements"]
    if how is How.HELD:
        texts["constraints"] = _constraints(there)
        files = ["-c", "constraints", *files]
    elif how is How.AS_IT_STANDS:
        files = ["--no-deps", *files]
    if "pip" in environment.distributions:
        in_home = not (environment.is_environment or environment.may_write)
        options = ["--disable-pip-version-check", "--no-input", *(["--user"] if in_home else [])]
        argv = (there.python, "-m", "pip", "install", *options, *files)
        return Step("pip", argv, texts, tuple(missing))
    if there.uv:
        argv = (there.uv, "pip", "install", "--python", there.python, *files)
        return Step("uv", argv, texts, tuple(missing))
    raise InstallationError(
        f"there is neither pip nor uv that could install into {environment.prefix}",
        advice=f"install one there: {shlex.join([there.python, '-m', 'ensurepip'])}",
    )


def _requirements(missing: Sequence[Wanted], needed: Requirements) -> str:
    lines = [f"{option} {value}" for option, value in needed.indexes]
    return "".join(f"{line}\n" for line in [*lines, *(x.line for x in missing)])


def _constraints(there: There) -> str:
    """What holds pip to the versions of all that is installed."""
    lines = []
    for distribution in there.environment.distributions.values():
        try:
            lines.append(f"{distribution.name}=={Version(distribution.version)}")
        except InvalidVersion:
            # Older than the rules, and pip would not read it.
            continue
    return "".join(f"{line}\n" for line in sorted(lines))


# --- doing it -----------------------------------------------------------------------------------


def install(
    errand: Errand,
    options: KernelOptions,
    needed: Requirements,
    told: Callable[[str], None],
) -> None:
    """Install what is missing.

    Args:
        errand: to the host.
        options: of the kernel; see :func:`look`.
        needed: on this machine.
        told: takes what is run, and what that prints, line by line.

    Raises:
        InstallationError: it cannot be installed.
    """
    there = look(errand, options)
    found = plan(needed, there)
    todo = _suits_conda(found, there)
    while todo:
        step, said = by_conda(todo, needed, there), list[str]()
        try:
            run(errand, step, there, told, said)
            todo = []
        except InstallationError:
            unknown = not_in_conda(said, step)
            if not unknown:
                raise
            told(f"conda does not have {', '.join(x.name for x in unknown)}: left to pip")
            todo = [x for x in todo if x not in unknown]
    if there.conda:
        # What it has brought is to stay as it is, too.
        there = look(errand, options)
        found = plan(needed, there)
    if found.missing:
        run(errand, by_pip(found.missing, needed, there), there, told, [])


def run(
    errand: Errand, step: Step, there: There, told: Callable[[str], None], said: list[str]
) -> None:
    """Run a command that installs something.

    Args:
        errand: to the host.
        step: the command.
        there: the environment.
        told: takes what is run, and what that prints, line by line.
        said: gets what it prints.

    Raises:
        InstallationError: it has failed.
    """
    told(f"{step.by} installs {in_short(step.lines)}")
    carry_out(
        errand,
        step,
        ("add", there.python),
        told,
        said,
        failed=f"{step.by} could not install what is missing in {there.environment.prefix}",
        advice="what is installed there is not changed for it; where versions do not fit "
        "together, install by hand over there, or let the kernel have an environment of its "
        "own",
    )


def in_short(names: Sequence[str]) -> str:
    """The names of a few distributions, or how many they are."""
    return ", ".join(names) if len(names) <= _SHOWN else f"{len(names)} distributions"


def carry_out(
    errand: Errand,
    step: Step,
    asked: tuple[str, str],
    told: Callable[[str], None],
    said: list[str],
    *,
    failed: str,
    advice: str,
) -> None:
    """Run a command over there.

    Args:
        errand: to the host.
        step: the command.
        asked: the function that runs it, and its first argument.
        told: takes what is printed, line by line.
        said: gets the same.
        failed: what has failed if it does.
        advice: what to try then.

    Raises:
        InstallationError: it has failed.
    """

    def heard(line: Any) -> None:
        said.append(printable(str(line)))
        told(f"  {said[-1]}")

    try:
        # It may say nothing for many minutes; a line that breaks, ssh notices.
        last = errand.ask(*asked, step.argv, step.texts, told=heard, patience=math.inf)
    except ConnectionLostError:
        raise
    except RemoteKernelsError as error:
        raise InstallationError(
            f"{failed}: {error.sentence}",
            host=error.host,
            said=[line for line in said if line.strip()][-_SAID:],
            command=shlex.join(step.argv),
            advice=advice,
        ) from None
    if last is not None:
        heard(last)


def changes(
    before: Environment, after: Environment
) -> tuple[dict[str, str], dict[str, list[str | None]]]:
    """What has been installed in an environment, and what has changed in it.

    Args:
        before: as it was.
        after: as it is.

    Returns:
        The versions of what is new, and the old and new ones of what has changed, by names.
    """
    old, new = before.distributions, after.distributions
    installed = {each.name: each.version for key, each in new.items() if key not in old}
    changed = {
        each.name: [each.version, new[key].version if key in new else None]
        for key, each in old.items()
        if key not in new or new[key].version != each.version
    }
    return installed, changed


def not_in_conda(said: Sequence[str], step: Step) -> list[Wanted]:
    """What conda has said that its channels do not have.

    conda, its newer solver, mamba and micromamba each have words of their own for that.

    Args:
        said: by the command, line by line.
        step: that was run.
    """
    missing: set[str] = set()
    is_list = False
    for line in said:
        if "PackagesNotFoundError" in line or "are not available from current channels" in line:
            is_list = True
        elif is_list and (item := _LISTED.match(line)):
            missing.add(item[1].rpartition("::")[2])
        elif line.strip() and not line.startswith(" "):
            is_list = False
        if found := _NOT_PROVIDED.search(line):
            missing.add(found[1] or found[2])
    return [each for each in step.wanted if conda_name(each) in missing]
