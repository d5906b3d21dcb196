"""The kernels that could run on a host, and the kernelspecs that follow from them.

What the host says is not trusted: its words become kernel commands that run over there, names,
pictures and JSON for front ends, and nothing that would run here.
"""

from __future__ import annotations

import base64
import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from remote_kernels import kernelspecs, profiles
from remote_kernels.errand import Errand
from remote_kernels.errors import KernelSpecError, OptionsError, RemoteKernelsError
from remote_kernels.hosts import Host
from remote_kernels.interfaces import interface_named
from remote_kernels.interfaces.scheduler import Scheduler
from remote_kernels.kernel_environment import as_mapping, as_words
from remote_kernels.kernelspecs import KernelSpec, Origin
from remote_kernels.options import KernelOptions, given
from remote_kernels.remote_script import refuse_secrets

#: Of ours, that look around over there.
MODULES = ("answers", "login_shell", "login_environment", "survey")

# Of a kernelspec's metadata: one of these would have Jupyter run something else than our launcher.
_NOT_CARRIED = frozenset({"kernel_provisioner", "interpreter"})
# No SVG: it may hold a script, and Jupyter's server would show it as a page of its own.
_LOGO = re.compile(r"logo-[\w.-]{1,40}\.png", re.ASCII)
_MOST_LOGOS, _LARGEST_LOGO = 8, 1 << 20


class Found(NamedTuple):
    """A kernel that could run on a host.

    Attributes:
        name: that no other kernel of the host has.
        kind: kernelspec, conda, venv, pyenv, uv or system.
        path: of its kernelspec, of its environment or of its program.
        language: as front ends know it; empty if it is not known.
        version: of its language; empty if it is not known.
        display_name: that its kernelspec has; empty without one.
        program: by its whole path.
        argv: of its kernelspec.
        activate: directory of the environment that it needs activated; empty for none.
        env: variables of its kernelspec.
        interrupt_mode: of its kernelspec; empty if that says nothing.
        metadata: of its kernelspec.
        files: directory of its kernelspec, where its logos lie; empty for none.
        problem: why it would not start; empty if it would.
        uncertain: the problem may be over in a moment.
        install: the command of sh that helps; empty if none is known.
        installs_into: the environment that it makes for that; empty if it makes none.
        mount: mount point over there of the file system on which the path is.
    """

    name: str
    kind: str
    path: str
    language: str
    version: str
    display_name: str
    program: str
    argv: tuple[str, ...]
    activate: str
    env: dict[str, str]
    interrupt_mode: str
    metadata: dict[str, Any]
    files: str
    problem: str
    uncertain: bool
    install: str
    installs_into: str
    mount: str

    @property
    def command(self) -> str:
        """Its kernel command."""
        quoted = " ".join(map(shlex.quote, self.argv))
        # Two braces would be read as one; they stand in single quotation marks here.
        quoted = re.sub(r"([{}])(?=\1)", r"\1''", quoted)
        # It becomes a path in the quotes that it needs.
        return quoted.replace("'{connection_file}'", "{connection_file}")

    @property
    def document(self) -> dict[str, Any]:
        """What of its kernelspec stands in ours as it is."""
        found: dict[str, Any] = {}
        if self.interrupt_mode in ("message", "signal"):
            found["interrupt_mode"] = self.interrupt_mode
        kept = {name: x for name, x in self.metadata.items() if name not in _NOT_CARRIED}
        return {**found, "metadata": kept} if kept else found

    @property
    def told(self) -> dict[str, dict[str, Any]]:
        """What a kernelspec of ours has from it: options, env, document and metadata, by names."""
        document = self.document
        return {
            "options": {
                "language": self.language or None,
                "kernel_cmd": self.command,
                "activate": self.activate or None,
            },
            "env": self.env,
            "metadata": document.pop("metadata", {}),
            "document": document,
        }

    @property
    def needs(self) -> list[str]:
        """The paths without which it is not there any more."""
        return [f"{self.path}/kernel.json" if self.kind == "kernelspec" else self.path]

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        shown = self._asdict()
        return {**shown, "argv": list(self.argv), "starts": not self.problem}


class Discovery(NamedTuple):
    """What was found on a host.

    Attributes:
        kernels: in their order.
        notes: what could not be looked at: a path, and why.
        home: of the person over there.
    """

    kernels: tuple[Found, ...]
    notes: tuple[tuple[str, str], ...]
    home: str = ""

    def named(self, names: Sequence[str]) -> list[Found]:
        """The kernels of these names, or at these paths.

        Raises:
            RemoteKernelsError: there is none, or there are more than one.
        """
        return [self._named(name) for name in names]

    def _named(self, name: str) -> Found:
        path = f"{self.home}{name[1:]}" if name.startswith("~/") else name
        exact = [x for x in self.kernels if name == x.name or path.rstrip("/") == x.path]
        alike = [kernel for kernel in self.kernels if kernel.name.endswith(f"/{name}")]
        if len(exact or alike) == 1:
            return (exact or alike)[0]
        if alike:
            lines = "\n".join(kernel.name for kernel in alike)
            raise RemoteKernelsError(f"there are {len(alike)} kernels {name}", advice=lines)
        raise RemoteKernelsError(
            f"there is no kernel {name} over there",
            advice="'remote-kernels discover HOST' lists those that there are; --look-in names "
            "directories of projects",
        )


class There(NamedTuple):
    """A host, and how kernels that are found there are to be started.

    Attributes:
        host: as the person wrote it; empty for this machine.
        options: that are common to them.
        parent: the directory of kernelspecs for them.
        asked: the options that the person gave, and those of the host's profile.
    """

    host: str
    options: KernelOptions
    parent: Path
    asked: Mapping[str, Any]

    @classmethod
    def at(cls, host: str, asked: Mapping[str, Any], parent: Path) -> There:
        """What the person wants.

        Args:
            host: that is looked at, or the name of its profile; the login host where a scheduler is
                to be asked.
            asked: fields of :class:`KernelOptions` that were given.
            parent: the directory of kernelspecs for what is added.

        Raises:
            OptionsError: they do not fit together.
        """
        asked = profiles.described(host, asked) if host else dict(asked)
        host = asked.pop("host", "")
        options = KernelOptions(**{"interface": "ssh", **asked})
        interface = interface_named(options.interface)
        if not interface.carries:
            if host:
                raise OptionsError(f"the interface {interface.name} goes to no host")
        elif not host:
            raise OptionsError("a host is needed, or --interface local for this machine")
        elif issubclass(interface, Scheduler):
            options = options._replace(tunnel_hosts=(*options.tunnel_hosts, host))
        else:
            options = options._replace(host=host)
        interface.check(options)
        return cls(str(Host.parse(host)) if host else "", options, parent, asked)

    def errand(self, log: Callable[[str], None]) -> Errand:
        """A session to it.

        Args:
            log: takes when somebody is asked for what the login needs.
        """
        way = interface_named(self.options.interface).way(self.options)
        return Errand(way, MODULES, log, alone=self.options.no_share)

    @property
    def way(self) -> list[str]:
        """What tells kernels of this host from those of others."""
        return [str(self.options.interface), self.options.host or "", *self.options.tunnel_hosts]


class Change(NamedTuple):
    """What is to become of one kernelspec.

    Attributes:
        what: added, updated, removed, left or failed.
        spec: as it is to be, or as it was.
        found: over there; None if it has gone.
        why: it is removed, left or failed; empty otherwise.
        error: by which it failed; None if it did not.
    """

    what: str
    spec: KernelSpec
    found: Found | None
    why: str = ""
    error: RemoteKernelsError | None = None

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        name, path = self.spec.name, self.found.path if self.found is not None else None
        shown = {"name": name, "display_name": self.spec.display_name, "path": path}
        return {**shown, "why": self.why} if self.why else shown


def discover(errand: Errand, look_in: Sequence[str]) -> Discovery:
    """Look for all kernels of a host.

    Args:
        errand: to it.
        look_in: directories of projects over there.

    Raises:
        RemoteKernelsError: it does not answer, or not what was asked.
    """
    answer = errand.ask("kernels", list(look_in))
    try:
        home = answer["home"]
        if not isinstance(home, str):
            raise TypeError
        kernels = [found for raw in answer["kernels"] if (found := _read(raw)) is not None]
        notes = tuple((path, why) for path, why in answer["notes"])
        if not all(isinstance(text, str) for note in notes for text in note):
            raise TypeError
    except (LookupError, TypeError, ValueError):
        raise RemoteKernelsError("the far side lists its kernels in no way that we know") from None
    return Discovery(tuple(_with_names(kernels, home)), notes, home)


def _read(raw: Any) -> Found | None:
    """A kernel as that side tells of it; None if it makes no sense."""
    try:
        words = {name: raw[name] or "" for name in _WORDS}
        found = Found(
            **words,
            argv=tuple(raw["argv"]),
            env=dict(raw["env"]),
            metadata=dict(raw["metadata"]),
            uncertain=bool(raw["uncertain"]),
        )
    except (LookupError, TypeError, ValueError):
        return None
    texts = [*words.values(), *found.argv, *found.env, *found.env.values()]
    usable = all(isinstance(text, str) and "\0" not in text for text in texts)
    usable = usable and all(isinstance(name, str) for name in found.metadata)
    usable = usable and _is_plain(found.metadata)
    return found if usable and found.name and found.path else None


def _is_plain(found: Any, levels: int = 32) -> bool:
    """Whether it is JSON for all who read it: no NaN, and not nested without end."""
    if isinstance(found, float):
        return math.isfinite(found)
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    return levels > 0 and all(_is_plain(x, levels - 1) for x in inner)


_WORDS = [name for name in Found._fields if name not in ("argv", "env", "metadata", "uncertain")]


def _with_names(kernels: Sequence[Found], home: str) -> Iterator[Found]:
    """The kernels, those of one name under their paths."""
    names = Counter(kernel.name for kernel in kernels)
    for kernel in kernels:
        if names[kernel.name] == 1:
            yield kernel
        elif kernel.path.startswith(f"{home}/"):
            yield kernel._replace(name=f"~{kernel.path.removeprefix(home)}")
        else:
            yield kernel._replace(name=kernel.path)


# --- kernelspecs --------------------------------------------------------------------------------


def options_of(there: There, found: Found) -> KernelOptions:
    """The options of the kernelspec for a kernel.

    Args:
        there: its host.
        found: the kernel.

    Raises:
        OptionsError: it cannot be started by us.
    """
    refuse_secrets(found.command)
    options = there.options._replace(
        name=there.options.name or found.name,
        language=found.language or None,
        kernel_cmd=found.command,
        activate=there.options.activate or found.activate or None,
        env=(*as_words(found.env), *there.options.env),
    )
    interface_named(options.interface).check(options)
    return options


def added(there: There, found: Found, by: str) -> Change:
    """The kernelspec of a kernel that has none; nothing is written.

    Args:
        there: its host.
        found: the kernel.
        by: add or sync.

    Raises:
        KernelSpecError: one that is in the way is not this kernel's.
        OptionsError: it cannot be started by us.
    """
    spec, old = kernelspecs.planned(options_of(there, found), there.parent)
    if old is None:
        return Change("added", _told(spec, there, found, by, {}), found)
    origin = old.origin
    if origin is None or (origin.way, origin.path) != (there.way, found.path):
        raise KernelSpecError(
            f"the kernel {spec.name} is another one, so it is left as it is",
            advice="add this one with another --name, or remove that with manage --delete "
            f"{spec.name}",
        )
    return Change("updated", _brought_up_to_date(old, origin, there, found, by), found)


def _brought_up_to_date(
    spec: KernelSpec, origin: Origin, there: There, found: Found, by: str
) -> KernelSpec:
    """A kernelspec with what its host tells now, and what the person asks for now.

    What the person has changed since the host has told it stays.

    Raises:
        OptionsError: it cannot be started by us any more.
    """
    new, old, told = options_of(there, found), spec.options, found.told
    before = origin.told.get("options", {})
    mine = {name: getattr(old, name) for name in told["options"]}
    env = _merged(as_mapping(old.env), origin.told.get("env", {}), told["env"])
    asked = {name: value for name, value in given(new).items() if name in there.asked}
    asked["env"] = as_words({**env, **as_mapping(there.options.env)})
    options = old._replace(**{**_merged(mine, before, told["options"]), **asked})
    changed = spec if options == old else kernelspecs.edited(spec, options)
    return _told(changed, there, found, by, origin.told, origin.logos)


def _told(
    spec: KernelSpec,
    there: There,
    found: Found,
    by: str,
    before: Mapping[str, Mapping[str, Any]],
    logos: Mapping[str, str] = MappingProxyType({}),
) -> KernelSpec:
    """A kernelspec with what its host tells for front ends, and a note of all that it tells."""
    told = found.told
    document = _merged(spec.document, before.get("document", {}), told["document"])
    mine = document.get("metadata") or {}
    metadata = _merged(mine, before.get("metadata", {}), told["metadata"])
    origin = Origin(there.way, found.path, found.needs, found.mount, by, told, logos)
    changed = KernelSpec(spec.directory, {**document, "metadata": metadata})
    return changed.with_origin(origin)


def _merged(
    mine: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, Any]:
    """What is mine, with what is told now where that is still what was told before."""
    result = dict(mine)
    for name in (*before, *now):
        if mine.get(name) != before.get(name):
            continue
        if name in now:
            result[name] = now[name]
        else:
            result.pop(name, None)
    return result


def write(errand: Errand, changes: Sequence[Change]) -> list[Change]:
    """Write the kernelspecs of changes, and remove those that are to be removed.

    Args:
        errand: to their host, for their logos.
        changes: to be made.

    Returns:
        The changes; what could not be written has failed, and is as before.
    """
    # Those that are there have logos.
    wanted = [change.found for change in changes if change.what == "added" and change.found]
    files = dict.fromkeys(found.files for found in wanted if found.files)
    directories = list(files)
    answers: list[Any] = []

    def note(answer: Any) -> None:
        if len(answers) < len(directories):
            answers.append(answer)

    if directories:
        note(errand.ask("files", directories, told=note))
    logos = {place: _logos(answer) for place, answer in zip(directories, answers, strict=False)}
    return [_written(change, logos) for change in changes]


def _written(change: Change, logos: Mapping[str, Mapping[str, bytes]]) -> Change:
    try:
        if change.what in ("added", "updated") and change.found is not None:
            kernelspecs.write(change.spec, logos.get(change.found.files, {}))
        elif change.what == "removed":
            kernelspecs.remove(change.spec)
    except KernelSpecError as error:
        return change._replace(what="failed", why=error.sentence, error=error)
    return change


def _logos(answer: Any) -> dict[str, bytes]:
    """The pictures of a kernelspec, as far as they have names of pictures."""
    found: dict[str, bytes] = {}
    for name, text in answer.items() if isinstance(answer, dict) else ():
        fits = isinstance(text, str) and len(text) <= 2 * _LARGEST_LOGO
        if fits and _LOGO.fullmatch(name) and len(found) < _MOST_LOGOS:
            try:
                found[name] = base64.b64decode(text, validate=True)
            except ValueError:
                continue
    return found


# --- following a host ---------------------------------------------------------------------------


def sync(errand: Errand, there: There, discovery: Discovery) -> list[Change]:
    """What makes the kernelspecs here follow a host; nothing is written.

    Args:
        errand: to the host.
        there: the host.
        discovery: what was found.
    """
    specs: dict[str, list[KernelSpec]] = {}
    for spec in kernelspecs.find([there.parent]):
        if spec.origin is not None and spec.origin.way == there.way:
            specs.setdefault(spec.origin.path, []).append(spec)
    changes: list[Change] = []
    taken: set[str] = set()
    for found in discovery.kernels:
        if found.path in specs:
            for spec in specs.pop(found.path):
                changes += _followed(there, spec, found)
        elif not found.problem:
            changes.append(_tried(there, found, taken))
    return [*changes, *_vanished(errand, list(chain.from_iterable(specs.values())))]


def all_added(there: There, chosen: Sequence[Found], by: str) -> list[Change]:
    """The kernelspecs of several kernels; see :func:`added`. Those that cannot be have failed."""
    changes: dict[str, Change] = {}
    failed = []
    for found in chosen:
        try:
            change = added(there, found, by)
            other = changes.setdefault(change.spec.name, change)
            if other.found is not None and other.found.path != found.path:
                raise KernelSpecError(
                    f"{other.found.name} would be the kernel {change.spec.name}, too",
                    advice="add this one with another --name",
                )
        except RemoteKernelsError as error:
            error.sentence = f"{found.name} cannot be added: {error.sentence}"
            failed.append(Change("failed", _unwritten(there, found), found, error.sentence, error))
    return [*changes.values(), *failed]


def _unwritten(there: There, found: Found) -> KernelSpec:
    """What names the kernelspec of a kernel that cannot have one."""
    options = there.options._replace(name=there.options.name or found.name)
    return KernelSpec(there.parent / kernelspecs.kernel_name(options).lower(), {})


def _tried(there: There, found: Found, taken: set[str]) -> Change:
    try:
        change = added(there, found, "sync")
        if change.spec.name in taken:
            raise KernelSpecError(f"another one here would be the kernel {change.spec.name}, too")
    except RemoteKernelsError as error:
        return Change("left", _unwritten(there, found), found, error.sentence)
    taken.add(change.spec.name)
    return change


def _followed(there: There, spec: KernelSpec, found: Found) -> Iterator[Change]:
    """What has changed of a kernel that has a kernelspec."""
    origin = spec.origin
    assert origin is not None
    if found.problem:
        removed = origin.by == "sync" and not found.uncertain
        yield Change("removed" if removed else "left", spec, found, found.problem)
        return
    try:
        new = _brought_up_to_date(spec, origin, there, found, origin.by)
    except OptionsError as error:
        yield Change("left", spec, found, error.sentence)
        return
    if new.document != spec.document:
        yield Change("updated", new, found)


def _vanished(errand: Errand, specs: Sequence[KernelSpec]) -> Iterator[Change]:
    """What is to become of kernelspecs whose kernels were not found."""
    origins = [(spec, spec.origin) for spec in specs if spec.origin is not None]
    asked = [(path, origin.mount) for _, origin in origins for path in origin.needs]
    answer = errand.ask("missing", asked) if asked else None
    gone = {x for x in answer if isinstance(x, str)} if isinstance(answer, list) else set()
    for spec, origin in origins:
        if not gone.intersection(origin.needs):
            yield Change("left", spec, None, "it was not found, but its files are there")
        elif origin.by == "sync":
            yield Change("removed", spec, None, "it is not there any more")
        else:
            yield Change("left", spec, None, "it is not there any more, but a sync did not add it")


def install(errand: Errand, found: Found, told: Callable[[str], None]) -> None:
    """Run the command that makes a kernel one that would start.

    Args:
        errand: to its host.
        found: the kernel.
        told: takes what is printed over there, line by line.

    Raises:
        RemoteKernelsError: no such command is known, or it failed.
    """
    if not found.install:
        raise RemoteKernelsError(
            f"nothing is to be installed for {found.name}",
            advice=f"it would not start: {found.problem}" if found.problem else "it would start",
        )
    # Conda may say nothing for many minutes; a line that breaks, ssh notices.
    last = errand.ask(
        "install", found.install, told=lambda line: told(str(line)), patience=math.inf
    )
    if last is not None:
        told(str(last))
