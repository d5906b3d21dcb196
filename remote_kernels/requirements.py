"""The distributions that code needs.

What is installed tells its own name and version; where nothing tells, a table of names that are
known to differ does, and then the name of the import. All of that is said.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from remote_kernels.import_names import (
    DISTRIBUTIONS,
    FROM_CONDA,
    NAMESPACES,
    NOWHERE_ELSE,
    STANDARD_OF_OTHER_VERSIONS,
)
from remote_kernels.imports import Guard
from remote_kernels.local_environment import Distribution, Environment
from remote_kernels.sources import Asked, Imported, Place, Sources


@dataclass(frozen=True)
class Wanted:
    """One distribution that is needed.

    Attributes:
        name: as it calls itself.
        version: that is installed here; empty if it is not.
        specifier: the versions that a notebook asks for; empty for any.
        extras: of it, that a notebook asks for.
        marker: where it is needed only; empty for everywhere.
        url: where it is to be had, if that is no index.
        modules: that are imported of it.
        places: where it is imported, or asked for.
        known_by: what has told its name: metadata, notebook, table or name.
        conda: its package of conda's, if conda has installed it here: name, version and channel.
    """

    name: str
    version: str = ""
    specifier: str = ""
    extras: frozenset[str] = frozenset()
    marker: str = ""
    url: str = ""
    modules: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    known_by: str = "metadata"
    conda: Mapping[str, str] | None = None

    @property
    def key(self) -> str:
        """Its name in the one spelling of PEP 503."""
        return canonicalize_name(self.name)

    @property
    def versions(self) -> str:
        """The versions that are to be installed: the one that is here, or what is asked for."""
        if self.version and _fits(self.version, self.specifier):
            public = _public(self.version)
            return f"=={public}" if public else ""
        return self.specifier

    @property
    def line(self) -> str:
        """The requirement as pip reads it."""
        extras = f"[{','.join(sorted(self.extras))}]" if self.extras else ""
        what = f" @ {self.url}" if self.url else self.versions
        end = (" ; " if self.url else "; ") + self.marker if self.marker else ""
        return f"{self.name}{extras}{what}{end}"

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "name": self.name,
            "line": self.line,
            "version": self.version or None,
            "specifier": self.specifier,
            "extras": sorted(self.extras),
            "marker": self.marker,
            "url": self.url or None,
            "imports": list(self.modules),
            "known_by": self.known_by,
            "places": [place._asdict() for place in self.places],
        }


@dataclass
class Requirements:
    """All that code needs.

    Attributes:
        wanted: the distributions, by name.
        urls: addresses of distributions whose names are not known.
        indexes: options that say where distributions are found, each with its value.
        channels: of conda's.
        notes: what is to be said, each a line.
    """

    wanted: list[Wanted] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    indexes: list[tuple[str, str]] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def unknown_modules(imports: Iterable[Imported], environment: Environment) -> list[str]:
    """The modules of which no distribution tells that it has them; their places tell more."""
    modules = Modules(environment)
    tops = dict.fromkeys(each.name.partition(".")[0] for each in imports)
    return [top for top in tops if not modules.is_known(top)]


def requirements_of(sources: Sources, environment: Environment) -> Requirements:
    """What is needed for all that was read.

    Args:
        sources: that were read.
        environment: whose distributions give names and versions; its places are those of
            :func:`unknown_modules`.
    """
    return _Resolution(sources, environment).requirements()


# --- what has a module --------------------------------------------------------------------------


class Modules:
    """The modules of an environment, and what has them."""

    def __init__(self, environment: Environment) -> None:
        """Look at what its distributions tell."""
        self._standard = environment.standard or sys.stdlib_module_names
        self._owners: dict[str, list[str]] = {}
        self._below: dict[str, set[str]] = {}
        for key, distribution in environment.distributions.items():
            for module in distribution.modules:
                self._owners.setdefault(module, []).append(key)
                parts = module.split(".")
                for number in range(1, len(parts)):
                    self._below.setdefault(".".join(parts[:number]), set()).add(key)

    def is_known(self, top: str) -> bool:
        """Whether a module is Python's own, or a distribution has it."""
        return self.is_standard(top) or self.is_installed(top)

    def is_standard(self, top: str) -> bool:
        """Whether a module is of the standard library."""
        return top in self._standard

    def is_installed(self, top: str) -> bool:
        """Whether a distribution has a module, or something in a package of that name."""
        return top in self._owners or top in self._below

    def owners(self, name: str) -> list[str]:
        """The distributions that have a module, or what it is imported from."""
        prefixes = _prefixes(name)
        for prefix in prefixes:
            # What is missing below it is no attribute of it.
            if prefix in self._owners and (prefix == name or prefix not in NAMESPACES):
                return sorted(self._owners[prefix])
        for prefix in prefixes:
            if prefix in self._below and (prefix == name or prefix not in NAMESPACES):
                return sorted(self._below[prefix])
        return []


def _prefixes(name: str) -> list[str]:
    """The name, and those of the packages that it is in, the longest first."""
    parts = name.split(".")
    return [".".join(parts[:number]) for number in range(len(parts), 0, -1)]


class _Source(NamedTuple):
    """Where an import comes from.

    Attributes:
        is_here: it can be imported here.
        names: of the distributions that have it; empty if none has to be written.
        known_by: see :class:`Wanted`.
        note: what is to be said.
    """

    is_here: bool
    names: Sequence[str] = ()
    known_by: str = "metadata"
    note: str = ""


class _Resolution:
    def __init__(self, sources: Sources, environment: Environment) -> None:
        self._sources = sources
        self._environment = environment
        self._modules = Modules(environment)
        self._found: dict[str, Wanted] = {}
        self._result = Requirements()
        self._noted: set[str] = set()

    def requirements(self) -> Requirements:
        of_conda: list[tuple[Requirement, Asked]] = []
        for asked in self._sources.asked:
            self._result.channels += asked.told.channels
            for text in asked.told.requirements:
                if asked.told.is_conda:
                    if (told := _of_conda(text)) is not None:
                        of_conda.append((told, asked))
                else:
                    self._ask(text, asked)
            self._read_rest(asked)
        told_by_conda = {canonicalize_name(each.name) for each, _ in of_conda}
        self._told = {*self._found, *told_by_conda}
        self._read_imports()
        for requirement, asked in of_conda:
            self._ask_of_conda(requirement, asked)
        self._result.wanted = [self._whole(each) for _, each in sorted(self._found.items())]
        self._result.channels = list(dict.fromkeys(self._result.channels))
        self._result.indexes = list(dict.fromkeys(self._result.indexes))
        self._result.urls = list(dict.fromkeys(self._result.urls))
        self._result.wanted = [each for each in self._result.wanted if not self._is_own(each)]
        return self._result

    def _note(self, place: Place | None, text: str) -> None:
        """Say something once, at the first place."""
        if text not in self._noted:
            self._noted.add(text)
            self._result.notes.append(f"{place}: {text}" if place else text)

    # --- what notebooks ask for -----------------------------------------------------------------

    def _read_rest(self, asked: Asked) -> None:
        for word in asked.told.unclear:
            self._note(asked.place, f"what {word} installs is known only when it runs")
        for option, value in asked.told.indexes:
            parts = urlsplit(value)
            if parts.password or (parts.username and parts.hostname):
                self._note(asked.place, f"the {option[2:]} has a password in it, and is left out")
            elif parts.scheme in ("http", "https"):
                self._result.indexes.append((option, value))
            else:
                self._note(asked.place, f"{option} {value} is of this machine, and is left out")

    def _ask(self, text: str, asked: Asked) -> None:
        if _is_of_this_machine(text):
            self._note(asked.place, f"{text} is on this machine only, and is left out")
            return
        if requirement := self._parsed(text, asked.place):
            self._want(
                Wanted(
                    requirement.name,
                    specifier=str(requirement.specifier),
                    extras=frozenset(requirement.extras),
                    marker=str(requirement.marker or ""),
                    url=requirement.url or "",
                    places=(asked.place,),
                    known_by="notebook",
                )
            )

    def _parsed(self, text: str, place: Place) -> Requirement | None:
        """A requirement as pip reads it; None if that has no name, which then is noted."""
        address, _, marker = text.partition(" ;")
        if re.match(r"(?:git|hg|svn|bzr)\+|https?://", address):
            name = re.search(r"#(?:.*&)?egg=([A-Za-z0-9][\w.-]*)", address)
            known = name[1] if name else self._installed_from(address)
            if not known:
                self._result.urls.append(address.strip())
                return None
            text = f"{known} @ {re.sub('#egg=[^&]*$', '', address)} ;{marker}".rstrip(" ;")
        try:
            return Requirement(text)
        except InvalidRequirement:
            self._note(place, f"{text!r} is no requirement that pip would take")
            return None

    def _installed_from(self, address: str) -> str:
        """The name of what is installed here from an address; empty for nothing."""
        for distribution in self._environment.distributions.values():
            url = str((distribution.url or {}).get("url") or "")
            if url and re.sub(r"^\w+\+", "", address).startswith(url):
                return distribution.name
        return ""

    def _ask_of_conda(self, requirement: Requirement, asked: Asked) -> None:
        """Want what is known to be a distribution; conda has other things, too."""
        key = canonicalize_name(requirement.name)
        known = {canonicalize_name(x) for names in DISTRIBUTIONS.values() for x in names}
        if key in self._found or key in self._environment.distributions or key in known:
            self._want(
                Wanted(
                    requirement.name,
                    specifier=str(requirement.specifier),
                    places=(asked.place,),
                    known_by="notebook",
                )
            )
        else:
            text = (
                f"{requirement.name} is a package of conda's, and not known to be one of Python's"
            )
            self._note(asked.place, text)

    def _want(self, new: Wanted) -> None:
        old = self._found.get(new.key)
        self._found[new.key] = new if old is None else _both(old, new)

    # --- imports --------------------------------------------------------------------------------

    def _read_imports(self) -> None:
        guarded: dict[Guard, list[tuple[Imported, _Source]]] = {}
        for each in self._sources.imports:
            source = self._source_of(each.name)
            if each.guard is None:
                self._take(each, source)
            else:
                guarded.setdefault(each.guard, []).append((each, source))
        for group in guarded.values():
            any_here = any(source.is_here for _, source in group)
            for each, source in group:
                if source.is_here or (each.is_last and not any_here):
                    self._take(each, source)
                elif source.names:
                    # Nobody misses it here.
                    self._note(
                        each.place,
                        f"{each.name.partition('.')[0]} is not installed here, and the code goes "
                        "on without it: left out",
                    )

    def _take(self, each: Imported, source: _Source) -> None:
        if source.note:
            self._note(each.place, source.note)
        for name in source.names:
            module = each.name
            self._want(
                Wanted(name, modules=(module,), places=(each.place,), known_by=source.known_by)
            )

    def _source_of(self, name: str) -> _Source:
        top = name.partition(".")[0]
        if self._modules.is_standard(top):
            return _Source(True)
        if owners := self._modules.owners(name):
            return self._of_owners(name, owners)
        if self._modules.is_installed(top) and name in NAMESPACES:
            return _Source(True)
        if place := self._environment.places.get(top, ""):
            return self._of_place(name, place)
        if top in STANDARD_OF_OTHER_VERSIONS:
            return _Source(
                False, note=f"{top} is in the standard library of other Pythons only: left out"
            )
        for prefix in _prefixes(name):
            if service := NOWHERE_ELSE.get(prefix):
                return _Source(False, note=f"{prefix} is nowhere but in {service}: left out")
        return self._by_table(name)

    def _of_owners(self, name: str, owners: list[str]) -> _Source:
        told = [key for key in owners if key in self._told]
        same = [key for key in owners if key == canonicalize_name(name.partition(".")[0])]
        chosen = told or same or owners
        note = ""
        if len(chosen) > 1:
            if name not in NAMESPACES:
                note = f"{name.partition('.')[0]} is in {' and in '.join(chosen)}: all are written"
            elif not told:
                # A package that many share says nothing; what is imported of it does.
                return _Source(True)
        return _Source(
            True, [self._environment.distributions[key].name for key in chosen], note=note
        )

    def _of_place(self, name: str, place: str) -> _Source:
        """What is here, but in no list of files."""
        for distribution in self._environment.distributions.values():
            if distribution.directory and Path(place).is_relative_to(distribution.directory):
                return _Source(True, [distribution.name])
        candidates = [canonicalize_name(x) for x in _candidates(name)]
        for key in candidates:
            if key in self._environment.distributions:
                return _Source(True, [self._environment.distributions[key].name])
        top = name.partition(".")[0]
        return _Source(True, note=f"{top} is in {place}, and in no distribution: left out")

    def _by_table(self, name: str) -> _Source:
        candidates = _candidates(name)
        told = [x for x in candidates if canonicalize_name(x) in self._told]
        if told:
            return _Source(False, told[:1], "table")
        is_known = any(prefix in DISTRIBUTIONS for prefix in _prefixes(name))
        top, chosen = name.partition(".")[0], candidates[0]
        if is_known:
            text = f"{top} is not installed here: {chosen} has it, in a version that is not known"
            return _Source(False, [chosen], "table", text)
        text = f"{top} is not installed here: written by the name of its import, {chosen}"
        return _Source(False, [chosen], "name", text)

    # --- names and versions ---------------------------------------------------------------------

    def _whole(self, wanted: Wanted) -> Wanted:
        """The same with what is known of it here."""
        here = self._environment.distributions.get(wanted.key)
        if here is None:
            return wanted
        place = wanted.places[0] if wanted.places else None
        package = self._environment.conda.get(here.metadata)
        whole = replace(wanted, name=here.name, version=here.version, conda=package)
        if not wanted.url and package is None:
            whole = replace(whole, url=self._url_of(here, place))
        if whole.url:
            return whole
        if not _fits(here.version, wanted.specifier):
            text = f"{wanted.line} is asked for, and {here.version} is installed here"
            self._note(place, text)
        elif _public(here.version) != here.version:
            text = f"{here.name} is {here.version} here, which no index has: written as "
            self._note(None, text + whole.line)
        return whole

    def _url_of(self, here: Distribution, place: Place | None) -> str:
        """Where it was installed from, if others can have it from there."""
        address = (here.url or {}).get("url")
        if "archive_info" in (here.url or {}) and str(address).startswith("file:"):
            self._note(None, f"{here.name} was installed from a file of this machine, {address}")
        return address_of(here)

    def _is_own(self, wanted: Wanted) -> bool:
        """Whether it is a project of this machine, which nobody else has; then that is said."""
        here = self._environment.distributions.get(wanted.key)
        if here is None or wanted.url or wanted.conda is not None or here.installer == "conda":
            return False
        if here.directory:
            text = f"{here.name} is a project in {here.directory} on this machine: left out"
            self._note(None, text)
        elif "dir_info" in (here.url or {}):
            address = (here.url or {}).get("url")
            self._note(None, f"{here.name} was installed from {address}, of this machine: left out")
        else:
            return False
        return True


def _candidates(name: str) -> Sequence[str]:
    """What may have a module that is not installed here, the likeliest first."""
    for prefix in _prefixes(name):
        if prefix in DISTRIBUTIONS:
            return DISTRIBUTIONS[prefix]
    shared = next((prefix for prefix in _prefixes(name) if prefix in NAMESPACES), "")
    parts = name.split(".")[: shared.count(".") + 2 if shared else 1]
    return ["-".join(parts).replace("_", "-") if shared else parts[0]]


def _both(old: Wanted, new: Wanted) -> Wanted:
    """Two wishes for one distribution as one."""
    # Metadata knows the name best, and a notebook the version.
    order = ("metadata", "notebook", "table", "name")
    best = min(old, new, key=lambda each: order.index(each.known_by))
    specifiers = [each.specifier for each in (old, new) if each.specifier]
    markers = sorted({each.marker for each in (old, new)})
    marker = "" if "" in markers else " or ".join(f"({x})" for x in markers)
    return replace(
        best,
        specifier=",".join(dict.fromkeys(",".join(specifiers).split(","))) if specifiers else "",
        extras=old.extras | new.extras,
        marker=markers[0] if len(markers) == 1 else marker,
        url=new.url or old.url,
        modules=tuple(dict.fromkeys((*old.modules, *new.modules))),
        places=tuple(dict.fromkeys((*old.places, *new.places))),
    )


def _fits(version: str, specifier: str) -> bool:
    try:
        return SpecifierSet(specifier).contains(Version(version), prereleases=True)
    except (InvalidVersion, InvalidSpecifier):
        return not specifier


def _public(version: str) -> str:
    """The version as an index has it; empty if it is none that pip would take."""
    try:
        return Version(version).public
    except InvalidVersion:
        return ""


def _is_of_this_machine(text: str) -> bool:
    """Whether a requirement is a path."""
    if "://" in text:
        return text.startswith("file:") or "@ file:" in text
    # A marker may have a slash in it.
    path = text.partition(";")[0].strip()
    return (
        path.startswith((".", "/", "~"))
        or "/" in path
        or path.endswith((".whl", ".tar.gz", ".zip"))
    )


def _of_conda(text: str) -> Requirement | None:
    """A spec of conda's as a requirement; see conda's "package match specification"."""
    spec = text.rpartition("::")[2].partition("[")[0]
    found = re.fullmatch(r"([A-Za-z0-9_.-]+)\s*(.*)", spec.strip())
    if found is None:
        return None
    name, versions = FROM_CONDA.get(found[1].lower(), found[1]), found[2].strip()
    if exact := re.fullmatch(r"=([^=<>!~,|]+)(?:=.*)?", versions):
        # "=1.2" is any 1.2, and what follows another sign the build.
        versions = f"=={exact[1].removesuffix('*').removesuffix('.')}.*"
    try:
        return Requirement(f"{name}{'' if '|' in versions else versions}")
    except InvalidRequirement:
        try:
            return Requirement(name)
        except InvalidRequirement:
            return None


def address_of(installed: Distribution) -> str:
    """Where others can have a distribution from, if that is no index; see PEP 610.

    Args:
        installed: the distribution.

    Returns:
        The address as pip takes it; empty for an index, or what is on its machine only.
    """
    url = installed.url or {}
    address = str(url.get("url") or "")
    if address.startswith("file:"):
        return ""
    if isinstance(vcs := url.get("vcs_info"), dict):
        end = f"#subdirectory={url['subdirectory']}" if url.get("subdirectory") else ""
        return f"{vcs.get('vcs')}+{address}@{vcs.get('commit_id')}{end}"
    if isinstance(archive := url.get("archive_info"), dict):
        digest = str(archive.get("hash") or "")
        return f"{address}#{digest}" if digest else address
    return ""


def is_needed(wanted: Wanted, markers: Mapping[str, str]) -> bool:
    """Whether a distribution is needed where these markers hold.

    Args:
        wanted: the distribution.
        markers: see :class:`~remote_kernels.local_environment.Environment`.
    """
    if not wanted.marker:
        return True
    try:
        return Marker(wanted.marker).evaluate({**markers, "extra": ""})
    except InvalidMarker:
        return True
