"""An environment of one host, made on another one as well.

It is described there and made anew here, from where its distributions are published: no file is
copied. What is there already stays as it is. Neither host is trusted with more than that: what one
says becomes names, versions and addresses, which the other one is asked to install.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from remote_kernels import installation, profiles
from remote_kernels.errand import Errand
from remote_kernels.errors import InstallationError, OptionsError, RemoteKernelsError
from remote_kernels.installation import How, Plan, Step, There
from remote_kernels.kernel_environment import as_mapping, as_words
from remote_kernels.local_environment import Distribution, Environment
from remote_kernels.options import KernelOptions, given, with_options
from remote_kernels.requirement_formats import channel_of, conda_spec
from remote_kernels.requirements import Requirements, Wanted, address_of
from remote_kernels.way import Way

#: Of ours, that look around on either host.
MODULES = (*installation.MODULES, "new_environment")

# What is read by pip or conda, in a line of its own; see PEP 508.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[!-~]+")
_PACKAGE = re.compile(r"[A-Za-z0-9_][\w.-]*", re.ASCII)
_CHANNEL = re.compile(r"[A-Za-z0-9_][\w.:/+-]*", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9][\w.!+-]*", re.ASCII)


class End(NamedTuple):
    """One of the two hosts.

    Attributes:
        text: as the person wrote it.
        way: to it.
    """

    text: str
    way: Way

    @property
    def options(self) -> dict[str, Any]:
        """The options of a kernel that lead there; a profile stands for its own."""
        is_profile = self.text in profiles.profiles()
        return {"host": self.text} if is_profile else self.way.options()


class Original(NamedTuple):
    """An environment that another host is to have, too.

    Attributes:
        there: the environment.
        place: its directory, with a tilde if that is below the home.
        packages: that conda has put there; empty for a virtualenv.
        distributions: that others can have, and that are in no package of conda's.
        left_out: those that others cannot have, each with the reason.
        is_whole: these are all that is needed: nothing that is used lies elsewhere, and nothing is
            of a build that an index need not have, whose other builds may need more.
    """

    there: There
    place: str
    packages: tuple[Wanted, ...]
    distributions: tuple[Wanted, ...]
    left_out: tuple[tuple[str, str], ...]
    is_whole: bool

    @property
    def kind(self) -> str:
        """Of the environment: conda or venv."""
        return "conda" if self.packages else "venv"

    @property
    def minor(self) -> str:
        """The version of its Python, as in 3.11."""
        return self.there.environment.markers.get("python_version", "")


class Spot(NamedTuple):
    """A place on the other host.

    Attributes:
        path: its whole path.
        kind: of what is there: conda, venv or something else; empty for nothing.
        pythons: of which a virtualenv could be made, each with its version.
        uv: the program; empty if there is none.
        conda: the program, or one like it; empty if there is none.
    """

    path: str
    kind: str
    pythons: tuple[tuple[str, str], ...]
    uv: str
    conda: str

    @property
    def kernel(self) -> KernelOptions:
        """What leads to the environment's Python; see :func:`installation.look`."""
        python = shlex.quote(f"{self.path}/bin/python")
        return KernelOptions(kernel_cmd=f"{python} -m ipykernel", activate=self.path)


class Copy(NamedTuple):
    """An environment at such a place.

    Attributes:
        there: the environment.
        packages: versions of conda's packages, by their names.
    """

    there: There
    packages: Mapping[str, str]


# --- what there is ------------------------------------------------------------------------------


def kernel_of(errand: Errand, way: Way, name: str) -> KernelOptions:
    """The options of a kernel as it is started on a host; its name is what people know it by.

    Args:
        errand: to the host.
        way: to the host.
        name: of a kernel of ours that goes there, or of one that 'discover' shows, or its path.

    Raises:
        RemoteKernelsError: there is none.
    """
    options = installation.kernel_here(way, name)
    return installation.kernel_there(errand, name) if options is None else options


def original(errand: Errand, kernel: KernelOptions) -> Original:
    """Ask a host for the environment of a kernel.

    Args:
        errand: to the host.
        kernel: its options; see :func:`kernel_of`.

    Raises:
        RemoteKernelsError: it cannot be made anywhere else.
    """
    there = installation.look(errand, kernel)
    environment = there.environment
    place, packages = _contents(errand, environment.prefix)
    if not (packages or environment.is_environment):
        raise RemoteKernelsError(
            f"{there.python} is a Python of the system, and in no environment that could be made "
            "elsewhere",
            advice="make a virtual environment over there (python3 -m venv ~/.virtualenvs/NAME), "
            "install what you need into it, and name that",
        )
    _check_place(place)
    found = [_judged(each) for each in _of_pip(environment, packages)]
    found += [(each, _built_there(each)) for each in packages]
    good = [wanted for wanted, why in found if not why]
    return Original(
        there,
        place,
        tuple(wanted for wanted in good if wanted.conda),
        tuple(wanted for wanted in good if not wanted.conda),
        tuple((wanted.name, why) for wanted, why in found if why),
        all(each.is_own or each.directory for each in environment.distributions.values())
        and not any("+" in wanted.version for wanted in good),
    )


def _contents(errand: Errand, prefix: str) -> tuple[str, tuple[Wanted, ...]]:
    """The place of an environment, and what conda has put there."""
    answer = errand.ask("contents", prefix)
    try:
        place = answer["place"]
        if not isinstance(place, str):
            raise TypeError
        return place, tuple(_package(*facts) for facts in answer["packages"])
    except (LookupError, TypeError, ValueError):
        raise _nonsense() from None


def _nonsense() -> RemoteKernelsError:
    return RemoteKernelsError("the far side tells of its environment in no way that we know")


def _check_place(place: str) -> None:
    """Refuse what is no place for an environment.

    Raises:
        OptionsError: in words.
    """
    parts = place.split("/")
    is_path = parts[0] in ("", "~") and any(parts[1:]) and ".." not in parts
    if not is_path or not place.isprintable():
        raise OptionsError(
            f"{place!r} is no place for an environment: --into DIR names one, as in ~/venvs/NAME"
        )


def _package(name: Any, version: Any, channel: Any) -> Wanted:
    """A package of conda's.

    Raises:
        ValueError: it is none.
        TypeError: likewise.
    """
    if not (_PACKAGE.fullmatch(name) and _VERSION.fullmatch(version)):
        raise ValueError("it is no package")
    return Wanted(name, version, conda={"name": name, "version": version, "channel": str(channel)})


def _of_pip(environment: Environment, packages: Sequence[Wanted]) -> Iterator[Distribution]:
    """The distributions that are in no package of conda's."""
    for each in environment.distributions.values():
        of_conda = each.metadata in environment.conda or each.installer == "conda"
        if not (packages and of_conda and each.is_own):
            yield each


def _built_there(package: Wanted) -> str:
    channel = (package.conda or {}).get("channel", "")
    return f"a package in {channel}" if channel.startswith("file:") else ""


def _judged(installed: Distribution) -> tuple[Wanted, str]:
    """What is to be installed for a distribution, and why others cannot have that, if so."""
    wanted = Wanted(installed.name, installed.version, url=address_of(installed))
    return wanted, _why_not(installed, wanted)


def _why_not(installed: Distribution, wanted: Wanted) -> str:
    if installed.directory:
        return f"a project in {installed.directory}"
    if not installed.is_own:
        return "not in the environment itself"
    if not _NAME.fullmatch(installed.name):
        return "no name that pip would take"
    if not wanted.url:
        if installed.url is not None:
            # An index may have something else by that name, and of somebody else.
            return f"installed from {installed.url.get('url')}"
        return "" if wanted.versions else f"no version that pip would take: {installed.version}"
    if not _ADDRESS.fullmatch(wanted.url):
        return "no address that pip would take"
    address = urlsplit(wanted.url)
    over_http = address.scheme.rpartition("+")[2] in ("http", "https")
    if address.password or (address.username and over_http):
        return f"there is a secret in its address at {address.hostname}"
    return ""


def spot(errand: Errand, found: Original, into: str, python: str) -> Spot:
    """Look at the place where an environment is to be.

    Args:
        errand: to the host.
        found: the environment.
        into: the place; empty for that of the original.
        python: of which it is to be made; empty for any of the same version.

    Raises:
        OptionsError: it is no place for an environment.
        RemoteKernelsError: there is something else.
    """
    place = into or found.place
    _check_place(place)
    answer = errand.ask("spot", place, python)
    try:
        path, kind, uv, conda = (answer[name] for name in ("path", "kind", "uv", "conda"))
        pythons = tuple((str(program), str(version)) for program, version in answer["pythons"])
        if not all(isinstance(word, str) for word in (path, kind, uv, conda)):
            raise TypeError
    except (LookupError, TypeError, ValueError):
        raise _nonsense() from None
    if kind not in ("", found.kind):
        what = "no environment" if kind == "something else" else f"an environment of {kind}"
        raise RemoteKernelsError(
            f"{path} is there, and is {what}: it is left as it is",
            advice="name another place with --into DIR, or remove that if it is of no use",
        )
    return Spot(path, kind, pythons, uv, conda)


def place_of(into: str) -> str:
    """A place as a person names it, below the home if it is a relative one.

    Args:
        into: of ``--into``; empty for none.
    """
    return into if not into or into.startswith(("/", "~")) else f"~/{into}"


# --- what is to be done -------------------------------------------------------------------------


def making(found: Original, where: Spot, *, python_is_named: bool) -> Step:
    """The command that makes an environment.

    Args:
        found: the environment as it is on its own host.
        where: the place for it.
        python_is_named: the person has named the Python.

    Raises:
        InstallationError: that host lacks what is needed for it.
    """
    if found.kind == "conda":
        if not where.conda:
            raise InstallationError(
                "there is neither conda nor mamba nor micromamba over there",
                advice="install one there, as from https://conda-forge.org/download",
            )
        argv = (where.conda, "create", "-y", "-p", where.path, *_channels(found.packages))
        return _by_conda(argv, found.packages)
    fitting = [python for python, version in where.pythons if _minor(version) == found.minor]
    if python_is_named:
        fitting = [python for python, _ in where.pythons]
    if where.uv:
        # It has ways of its own to get one.
        python = fitting[0] if fitting else found.minor
        return Step("uv", (where.uv, "venv", "--python", python, where.path), {}, ())
    if fitting:
        return Step("venv", (fitting[0], "-m", "venv", where.path), {}, ())
    others = ", ".join(dict.fromkeys(version for _, version in where.pythons))
    raise InstallationError(
        f"there is no Python {found.minor} over there"
        + (f", whose Pythons are {others}" if others else ""),
        advice=f"install Python {found.minor} there (on Debian python{found.minor}-venv, where it "
        f"has that version; else uv, which gets any), or name another Python with --python",
    )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _channels(packages: Sequence[Wanted]) -> list[str]:
    """Words that name the channels of packages, the one with most of them first."""
    found = Counter(channel_of(each) for each in packages)
    named = [channel for channel, _ in found.most_common() if _CHANNEL.fullmatch(channel)]
    return [word for channel in named for word in ("-c", channel)]


def _by_conda(argv: Sequence[str], packages: Sequence[Wanted]) -> Step:
    # By its end conda tells what is in the file.
    name = "packages.txt"
    text = "".join(f"{conda_spec(each)}\n" for each in packages)
    return Step("conda", (*argv, "--file", name), {name: text}, tuple(packages))


def look(errand: Errand, where: Spot) -> Copy:
    """Ask the environment at a place what it has.

    Args:
        errand: to the host.
        where: the place.

    Raises:
        RemoteKernelsError: it does not tell.
    """
    _, packages = _contents(errand, where.path)
    there = installation.look(errand, where.kernel)
    return Copy(there, {package.name: package.version for package in packages})


def compared(found: Original, copy: Copy) -> Plan:
    """Compare two environments.

    Args:
        found: the one that is to be had elsewhere, too.
        copy: the one at the place for that.
    """
    installed = copy.there.environment.distributions
    # What installs is no part of what is installed.
    wanted = [x for x in found.distributions if x.key != "pip" or "pip" not in installed]
    by_pip = installation.plan(Requirements(wanted), copy.there)
    missing, different, same = [], [], []
    for package in found.packages:
        version = copy.packages.get(package.name)
        if version is None:
            missing.append(package)
        elif version == package.version:
            same.append(package)
        else:
            different.append((package, version))
    return Plan((*missing, *by_pip.missing), (*different, *by_pip.different), (*same, *by_pip.same))


def steps(found: Original, where: Spot, copy: Copy, plan: Plan, *, exact: bool) -> Iterator[Step]:
    """The commands that make an environment what another one is.

    Args:
        found: that one.
        where: the place of the environment.
        copy: the environment.
        plan: of both; see :func:`compared`.
        exact: what differs is made the same.

    Raises:
        InstallationError: nothing can be installed there.
    """
    todo = [*plan.missing, *((wanted for wanted, _ in plan.different) if exact else ())]
    if of_conda := [wanted for wanted in todo if wanted.conda]:
        if not where.conda:
            raise InstallationError("there is no conda over there that could install packages")
        held = () if exact else ("--freeze-installed",)
        argv = (where.conda, "install", "-y", "-p", where.path, *held, *_channels(of_conda))
        yield _by_conda(argv, of_conda)
    if of_pip := [wanted for wanted in todo if not wanted.conda]:
        yield _by_pip(found, copy.there, plan, of_pip, exact=exact)


def _by_pip(
    found: Original, there: There, plan: Plan, todo: Sequence[Wanted], *, exact: bool
) -> Step:
    # For another Python or system, other things may be needed.
    telling = ("python_version", "implementation_name", "sys_platform", "platform_machine")
    one, other = found.there.environment.markers, there.environment.markers
    is_alike = all(one.get(name) == other.get(name) for name in telling)
    how = How.RESOLVED if exact else How.HELD
    if is_alike and found.is_whole and (exact or not plan.different):
        how = How.AS_IT_STANDS
    return installation.by_pip(todo, Requirements(), there, how)


# --- doing it -----------------------------------------------------------------------------------


def make(errand: Errand, where: Spot, step: Step, told: Callable[[str], None]) -> None:
    """Make an environment; nothing of it stays if that fails.

    Args:
        errand: to the host.
        where: the place for it.
        step: the command; see :func:`making`.
        told: takes what is run, and what that prints, line by line.

    Raises:
        InstallationError: it cannot be made.
    """
    told(f"{step.by} makes {where.path}")
    installation.carry_out(
        errand,
        step,
        ("make", where.path),
        told,
        [],
        failed=f"{step.by} could not make {where.path}",
        advice="nothing of it is left over there; mend what it says, and run this again",
    )


def install(
    errand: Errand, found: Original, where: Spot, told: Callable[[str], None], *, exact: bool
) -> None:
    """Install what is missing at a place. What has been installed before a failure stays.

    Args:
        errand: to the host.
        found: the environment that is to be had there.
        where: the place.
        told: takes what is run, and what that prints, line by line.
        exact: what differs is made the same.

    Raises:
        InstallationError: something cannot be installed.
    """
    copy = look(errand, where)
    plan = compared(found, copy)
    todo = list(steps(found, where, copy, plan, exact=exact))
    for step in todo:
        if step is not todo[0]:
            # What conda has brought is to stay as it is, too.
            copy = look(errand, where)
            step = _by_pip(found, copy.there, plan, step.wanted, exact=exact)
        try:
            installation.run(errand, step, copy.there, told, [])
        except InstallationError as error:
            error.advice = (
                f"what has been installed stays; mend what it says, or install that by hand over "
                f"there ({copy.there.python} -m pip install …), and run this again, which goes on"
            )
            raise


# --- the kernel ---------------------------------------------------------------------------------


def tile(
    kernel: KernelOptions, found: Original, hosts: tuple[End, End], into: str, name: str
) -> dict[str, Any]:
    """The options of one kernel for both hosts, as they would be given to ``manage --add``.

    Args:
        kernel: the options of that on the first host.
        found: its environment.
        hosts: the first, and the one that has the environment, too.
        into: the place there; empty for that of the original.
        name: of the kernel; empty for that which it has.
    """
    first, second = hosts
    place = into or found.place
    # Only what differs there is said of the spare.
    own = {"activate": found.place} if place != found.place else {}
    env = {
        **as_mapping(kernel.env),
        **as_mapping(profiles.described(second.text, {}).get("env", ())),
    }
    options = {
        **second.options,
        "name": name or kernel.name,
        "language": kernel.language or "python",
        "activate": place,
        "kernel_cmd": installation.by_name(kernel.kernel_cmd or "", found.there.environment.prefix),
        "fallback": (with_options({**first.options, **own}),),
    }
    return {**options, "env": as_words(env)} if env else options


#: The options of a kernel that :func:`tile` takes over, or that are of one host.
TAKEN = frozenset(
    {
        *("interface", "name", "language", "host", "tunnel_hosts", "launch_cmd", "launch_args"),
        *("activate", "env", "kernel_cmd", "fallback", "probe_timeout", "existing"),
    }
)


def not_taken(kernel: KernelOptions) -> dict[str, Any]:
    """The options of a kernel that the one for both hosts does not have."""
    return {name: value for name, value in given(kernel).items() if name not in TAKEN}
