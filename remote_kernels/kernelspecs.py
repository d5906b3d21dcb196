"""Kernelspecs: their names, what is in them, where they lie, and how ours come and go.

It promises that a kernelspec is written whole or not at all, and that nothing which is neither ours
nor remote_ikernel's is changed or removed. It prints nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from jupyter_core.paths import SYSTEM_JUPYTER_PATH, jupyter_data_dir, jupyter_path

from remote_kernels import KERNEL_NAME_PREFIX
from remote_kernels.errors import KernelSpecError
from remote_kernels.interfaces import interface_named
from remote_kernels.kernel_environment import VARIABLE, from_json, to_json
from remote_kernels.options import (
    DEFAULT_INTERFACE,
    DEFAULT_KERNEL_CMD,
    KernelOptions,
    as_typed,
    from_argv,
    to_argv,
)

#: What --migrate keeps of the old kernel.json.
BACKUP_NAME = "kernel.json.remote_ikernel"

# In a kernelspec's metadata, where it comes from.
_ORIGIN = "remote_kernels"

_LOGOS = Path(__file__).parent / "logos"
_MODULES = {"remote_kernels": "remote-kernels", "remote_ikernel": "remote_ikernel"}


def _parts(options: KernelOptions) -> Iterator[tuple[str, str]]:
    """The parts of the kernel name and of the display name, side by side.

    The order and the oddities are remote_ikernel's; notebooks hold the names that came of them.
    """
    interface = interface_named(options.interface)
    yield interface.name_part, interface.label
    if "host" in interface.uses:
        yield options.host or "", options.host or ""
    name = options.name or ""
    yield re.sub(r"\W", "", name).lower(), name
    if options.launch_cmd is not None:
        yield re.sub(r"\W", "", options.launch_cmd).lower(), f"({options.launch_cmd})"
    if options.pe is not None:
        yield options.pe, options.pe
    if options.cpus > 1:
        yield str(options.cpus), f"{options.cpus} CPUs"
    if options.tunnel_hosts:
        yield f"via_{'_'.join(options.tunnel_hosts)}", f"(via {' '.join(options.tunnel_hosts)})"


def kernel_name(options: KernelOptions) -> str:
    """The name by which Jupyter knows the kernel, with nothing in it that Jupyter refuses.

    Raises:
        OptionsError: there is no such interface.
    """
    (first, _), *others = _parts(options)
    parts = [first] if first else []
    parts += [part for part, _ in others]
    name = re.sub(r"\W", "_", KERNEL_NAME_PREFIX + "_".join(parts))
    # Jupyter takes nothing but ASCII; remote_ikernel could not add such kernels at all.
    return re.sub(r"[^\x00-\x7f]", lambda found: f"u{ord(found[0]):x}", name)


def display_name(options: KernelOptions) -> str:
    """The name of the kernel in a front end's list of kernels.

    Raises:
        OptionsError: there is no such interface.
    """
    return " ".join(part for _, part in _parts(options))


def user_directory() -> Path:
    """Where the kernelspecs of this user lie."""
    return Path(jupyter_data_dir()) / "kernels"


def system_directory() -> Path:
    """Where the kernelspecs of all users lie."""
    return Path(SYSTEM_JUPYTER_PATH[0]) / "kernels"


def prefix_directory(prefix: str | Path) -> Path:
    """Where the kernelspecs of an environment lie."""
    return Path(prefix).absolute() / "share" / "jupyter" / "kernels"


def search_directories() -> list[Path]:
    """Where Jupyter looks for kernelspecs, in its order."""
    return [Path(directory) for directory in jupyter_path("kernels")]


class Origin(NamedTuple):
    """Where a kernelspec comes from that ``remote-kernels discover`` has written.

    Attributes:
        way: interface, host and gateways.
        path: of the kernel over there.
        needs: paths without which it is not there any more.
        mount: mount point over there of the file system on which these are.
        by: add or sync.
        told: what its host has told of it, as it stands here if nobody has changed it since:
            options, env, document and metadata, each by names.
        logos: digests of its pictures, by their names.
    """

    way: list[str]
    path: str
    needs: list[str]
    mount: str
    by: str
    told: Mapping[str, Mapping[str, Any]]
    logos: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class KernelSpec:
    """A kernelspec that we, or remote_ikernel, wrote.

    Attributes:
        directory: in which it lies; its name is the kernel's.
        document: what its kernel.json says.
    """

    directory: Path
    document: dict[str, Any]

    @property
    def name(self) -> str:
        """The kernel name, in lower case as Jupyter has it."""
        return self.directory.name.lower()

    @property
    def display_name(self) -> str:
        """The name in the list of kernels."""
        return str(self.document.get("display_name") or self.name)

    @property
    def written_by(self) -> str:
        """``remote-kernels`` or ``remote_ikernel``."""
        return _MODULES[self.document["argv"][2]]

    @property
    def ours(self) -> bool:
        """It runs our launcher."""
        return self.written_by == "remote-kernels"

    @property
    def options(self) -> KernelOptions:
        """The options that it was added with.

        Raises:
            OptionsError: somebody wrote something into it that cannot be read.
        """
        found, _ = from_argv(self.document["argv"][3:])
        if found.kernel_cmd is not None:
            found = found._replace(kernel_cmd=as_typed(found.kernel_cmd))
        if not self.ours:
            found = found._replace(
                interface=found.interface or DEFAULT_INTERFACE,
                kernel_cmd=found.kernel_cmd or DEFAULT_KERNEL_CMD,
            )
        found = found._replace(language=self.document.get("language") or None)
        if VARIABLE in (env := self.document.get("env") or {}):
            found = found._replace(env=from_json(env[VARIABLE]))
        return found._replace(name=self._given_name(found))

    @property
    def origin(self) -> Origin | None:
        """Where it comes from; None if a person has made it."""
        try:
            origin = Origin(**self.document["metadata"][_ORIGIN])
        except (LookupError, TypeError):
            return None
        told = origin.told
        is_known = isinstance(told, dict) and all(isinstance(x, dict) for x in told.values())
        return origin if is_known else None

    def with_origin(self, origin: Origin) -> KernelSpec:
        """The same with a note of where it comes from."""
        note = {**origin._asdict(), "logos": dict(origin.logos)}
        metadata = {**(self.document.get("metadata") or {}), _ORIGIN: note}
        return KernelSpec(self.directory, {**self.document, "metadata": metadata})

    def _given_name(self, options: KernelOptions) -> str:
        """What --name was; remote_ikernel kept it in the display name only."""
        if options.name is not None:
            return options.name
        before, _, after = display_name(options._replace(name="\0")).partition("\0")
        shown = self.display_name
        if shown.startswith(before) and shown.endswith(after):
            return shown[len(before) : len(shown) - len(after)]
        return shown


def _read(directory: Path) -> KernelSpec | None:
    """The kernelspec in a directory; None if it is neither ours nor remote_ikernel's."""
    try:
        document = json.loads((directory / "kernel.json").read_bytes())
        argv = document["argv"]
        known = argv[1] == "-m" and argv[2] in _MODULES
        known = known and all(isinstance(element, str) for element in argv)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return KernelSpec(directory, document) if known else None


def find(directories: Iterable[Path]) -> list[KernelSpec]:
    """Our kernelspecs and remote_ikernel's, by name.

    Of several with one name the first counts, whoever wrote it: the others are hidden in Jupyter,
    too.
    """
    first: dict[str, Path] = {}
    for parent in directories:
        with suppress(OSError):
            for directory in sorted(parent.iterdir()):
                if (directory / "kernel.json").is_file():
                    first.setdefault(directory.name.lower(), directory)
    return [spec for _, directory in sorted(first.items()) if (spec := _read(directory))]


def named(names: Sequence[str]) -> list[KernelSpec]:
    """Kernelspecs by their names, wherever Jupyter looks for them.

    Raises:
        KernelSpecError: there is no kernel of a name.
    """
    specs = {spec.name: spec for spec in find(search_directories())}
    if unknown := [name for name in names if name.lower() not in specs]:
        raise KernelSpecError(
            f"there is no kernel {', '.join(unknown)}",
            advice="'remote-kernels manage' lists those that there are",
        )
    return [specs[name.lower()] for name in names]


def _document(options: KernelOptions, shown: str, old: dict[str, Any]) -> dict[str, Any]:
    """kernel.json for these options, with what people added to the old one by hand."""
    document = dict(old)
    document["argv"] = [
        os.path.abspath(sys.executable),
        "-m",
        "remote_kernels",
        *to_argv(options),
        "{connection_file}",
    ]
    document["display_name"] = shown
    document.pop("language", None)
    if options.language is not None:
        document["language"] = options.language
    env = dict(old.get("env") or {})
    env.pop(VARIABLE, None)
    document.pop("env", None)
    if env := {**env, **environment(options)}:
        document["env"] = env
    return document


def environment(options: KernelOptions) -> dict[str, str]:
    """The variables that kernel.json has Jupyter give to the launcher.

    Args:
        options: of the kernel.
    """
    return {VARIABLE: to_json(options.env)} if options.env else {}


def planned(options: KernelOptions, parent: Path) -> tuple[KernelSpec, KernelSpec | None]:
    """The kernelspec that these options make.

    Args:
        options: of the kernel.
        parent: the directory of kernelspecs in which it is to lie.

    Returns:
        The kernelspec, and the one of ours that has to make way for it. Nothing is written.

    Raises:
        KernelSpecError: what lies there is not ours.
        OptionsError: there is no such interface.
    """
    directory = parent / kernel_name(options).lower()
    old = _read(directory)
    if old is None and os.path.lexists(directory / "kernel.json"):
        raise KernelSpecError(
            f"the kernelspec in {directory} is not ours, so it is left as it is",
            advice="choose another --name, or remove it with jupyter kernelspec remove",
        )
    if old is not None and not old.ours:
        raise KernelSpecError(
            f"the kernelspec in {directory} is remote_ikernel's, so it is left as it is",
            advice=f"move it over with --migrate {old.name}, or choose another --name",
        )
    document = _document(options, display_name(options), old.document if old else {})
    return KernelSpec(directory, document), old


def edited(spec: KernelSpec, options: KernelOptions) -> KernelSpec:
    """The kernelspec with other options; its kernel name stays. Nothing is written.

    Raises:
        OptionsError: the options that it has cannot be read.
    """
    by_hand = spec.display_name != display_name(spec.options)
    shown = spec.display_name if by_hand else display_name(options)
    return KernelSpec(spec.directory, _document(options, shown, spec.document))


def migrated(spec: KernelSpec) -> KernelSpec:
    """A kernelspec of remote_ikernel as ours, its names kept. Nothing is written.

    Raises:
        OptionsError: its options cannot be read, or cannot be used.
    """
    options = spec.options
    interface = interface_named(options.interface)
    # remote_ikernel took these for every interface, and did not heed all of them.
    options = options._replace(
        pe=options.pe if "pe" in interface.uses else None,
        cpus=options.cpus if "cpus" in interface.uses else 1,
        launch_cmd=options.launch_cmd if options.interface != "ssh" else None,
    )
    interface.check(options)
    return KernelSpec(spec.directory, _document(options, spec.display_name, spec.document))


@contextmanager
def _in_words(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KernelSpecError(
            f"{doing}: {error.strerror or error}",
            advice="check the permissions and the space there, or choose another place "
            "(--user, --sys-prefix, --prefix DIR)",
        ) from error


def write(spec: KernelSpec, logos: Mapping[str, bytes] | None = None) -> None:
    """Write a kernelspec, all or nothing. What else lies in its directory stays.

    Args:
        spec: the kernelspec.
        logos: pictures of its own, by their names; ours are taken where there are none.

    Raises:
        KernelSpecError: it cannot be written; everything is as before.
    """
    target = spec.directory
    with _in_words(f"{target} cannot be written"):
        exists = target.is_dir()
        if not exists:
            target.parent.mkdir(parents=True, exist_ok=True)
        # On the same file system, and one level down so that Jupyter does not list it half made.
        with tempfile.TemporaryDirectory(
            prefix=".remote-kernels-", dir=target if exists else target.parent
        ) as outer:
            staged = Path(outer) / "kernelspec"
            staged.mkdir()
            spec = _with_logos(spec, staged, logos or {})
            text = json.dumps(spec.document, indent=2, sort_keys=True) + "\n"
            (staged / "kernel.json").write_text(text, encoding="ascii")
            if not exists and _is_moved(staged, target):
                return
            # kernel.json comes last: it is what makes the directory a kernelspec.
            for path in sorted(staged.iterdir(), key=lambda path: path.name == "kernel.json"):
                path.replace(target / path.name)


def _is_moved(staged: Path, target: Path) -> bool:
    """Move a directory; whether it is, since another one of us may have made it meanwhile."""
    try:
        staged.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return False
    return True


def _with_logos(spec: KernelSpec, staged: Path, logos: Mapping[str, bytes]) -> KernelSpec:
    """Put pictures beside a kernel.json that is to be written, where there are none yet."""
    if any(spec.directory.glob("logo-*")):
        old = _read(spec.directory)
        before = old.origin if old is not None else None
        if spec.origin is None or before is None:
            return spec
        return spec.with_origin(spec.origin._replace(logos=before.logos))
    for name, data in logos.items():
        (staged / name).write_bytes(data)
    if not logos:
        for logo in _LOGOS.iterdir():
            shutil.copyfile(logo, staged / logo.name)
    if spec.origin is None:
        return spec
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in logos.items()}
    return spec.with_origin(spec.origin._replace(logos=digests))


def migrate(spec: KernelSpec) -> KernelSpec:
    """Rewrite a kernelspec of remote_ikernel to our launcher, the old file kept beside.

    Raises:
        KernelSpecError: it cannot be written; it works as before.
        OptionsError: its options cannot be read, or cannot be used.
    """
    new = migrated(spec)
    backup = spec.directory / BACKUP_NAME
    with _in_words(f"{backup} cannot be written"):
        shutil.copyfile(spec.directory / "kernel.json", backup)
    write(new)
    return new


def remove(spec: KernelSpec) -> None:
    """Remove our files of a kernelspec, and its directory if nothing else lies in it.

    Raises:
        KernelSpecError: it cannot be removed.
    """
    directory = spec.directory
    with _in_words(f"{directory} cannot be removed"):
        (directory / "kernel.json").unlink(missing_ok=True)
        (directory / BACKUP_NAME).unlink(missing_ok=True)
        logos = {logo.name: _digest(logo) for logo in _LOGOS.iterdir()}
        if spec.origin is not None:
            logos.update(spec.origin.logos)
        for copy in directory.glob("logo-*"):
            # A person's own logo may bear the same name.
            if copy.is_file() and logos.get(copy.name) == _digest(copy):
                copy.unlink()
    with suppress(OSError):
        directory.rmdir()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
