"""The distributions that a Python has installed, as it tells of them itself.

The Python that is asked runs this file, here and on the far side: from 3.6 on, the standard library
alone.
"""

import glob
import json
import os
import re
import sys
from email.parser import HeaderParser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: Begins the line in which :func:`main` tells.
MARK = "@rk-distributions "

# A module by its file: "x.py", "x.cpython-311-x86_64-linux-gnu.so", "x.abi3.so", "x.pyd".
_MODULE_FILE = re.compile(
    r"([A-Za-z_]\w*)(?:\.(?:cpython|pypy|cp|abi|none)[\w.-]*)?\.(?:py|so|pyd)$"
)
# Below a package that several distributions share, so deep a module's name tells which it is.
_DEEPEST = 4


class OldDistribution:
    """What importlib.metadata, which Python has from 3.8 on, knows of one distribution."""

    def __init__(self, path: str) -> None:
        self._path = path
        text = self.read_text("METADATA") or self.read_text("PKG-INFO") or ""
        self.metadata = HeaderParser().parsestr(text)
        self.version = self.metadata["Version"] or ""
        self.requires = self.metadata.get_all("Requires-Dist") or []
        # Only a comma in quotes could be in the way, and no module has one.
        self.files = [x.split(",")[0] for x in (self.read_text("RECORD") or "").splitlines()]

    def read_text(self, name: str) -> "str | None":
        """The text of a file of the metadata; None if there is none."""
        path = os.path.join(self._path, name)
        if name == "PKG-INFO" and os.path.isfile(self._path):
            # Distutils has written one file, and no directory.
            path = self._path
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return None


def _all() -> "Iterator[Any]":
    """The distributions on the path, in its order; of one name the first counts."""
    try:
        from importlib.metadata import distributions
    except ImportError:
        for place in filter(os.path.isdir, sys.path):
            for kind in ("dist-info", "egg-info"):
                for path in sorted(glob.glob(os.path.join(glob.escape(place), "*." + kind))):
                    yield OldDistribution(path)
    else:
        yield from distributions()


def tell(names: "list[str]") -> "dict[str, Any]":
    """All that is asked of a Python.

    Args:
        names: of modules; of each it is told where it lies.
    """
    found: dict[str, Any] = {}
    for distribution in _all():
        try:
            name = distribution.metadata.get("Name")
            key = re.sub(r"[-_.]+", "-", name or "").lower()
            if key and key not in found:
                found[key] = _facts(name, distribution)
        except Exception:
            # A directory that somebody has left half removed has no metadata.
            continue
    _tell_deeper(found)
    return {
        "executable": sys.executable,
        "prefix": sys.prefix,
        "version": "{}.{}.{}".format(*sys.version_info[:3]),
        "is_environment": sys.prefix != getattr(sys, "base_prefix", sys.prefix),
        "is_closed": _is_closed(),
        "may_write": _may_write(),
        "standard": sorted(getattr(sys, "stdlib_module_names", ())),
        "markers": _markers(),
        "distributions": list(found.values()),
        "conda": _of_conda(),
        "places": {name: place for name in names for place in [_place(name)] if place},
    }


def _facts(name: str, distribution: "Any") -> "dict[str, Any]":
    url = None
    text = distribution.read_text("direct_url.json")
    if text:
        url = json.loads(text)
    files = [str(path).replace(os.sep, "/") for path in distribution.files or ()]
    directory = _directory(distribution, url)
    own, others = _top_modules(files)
    if directory or not own | others:
        # The list of files has not those of a project that lies elsewhere; Debian has no list.
        top_level = distribution.read_text("top_level.txt") or ""
        own |= set(filter(str.isidentifier, top_level.split()))
    return {
        "name": name,
        "version": distribution.version,
        "requires": list(distribution.requires or ()),
        "url": url,
        "directory": directory,
        "installer": (distribution.read_text("INSTALLER") or "").strip(),
        "metadata": os.path.basename(str(getattr(distribution, "_path", ""))),
        "is_own": _is_own(str(getattr(distribution, "_path", ""))),
        "modules": own,
        "others": others,
        "files": files,
    }


def _directory(distribution: "Any", url: "Any") -> str:
    """The directory of a project that is used as it lies there; empty for what is installed."""
    if isinstance(url, dict) and url.get("dir_info", {}).get("editable"):
        from urllib.parse import unquote, urlsplit

        return unquote(urlsplit(url["url"]).path)
    path = str(getattr(distribution, "_path", ""))
    parent = os.path.dirname(path)
    # "setup.py develop" leaves its metadata beside the modules.
    is_project = path.endswith(".egg-info") and bool(distribution.read_text("SOURCES.txt"))
    installed = os.path.basename(parent) in ("site-packages", "dist-packages")
    return parent if is_project and not installed else ""


def _is_own(path: str) -> bool:
    """Whether a distribution is in the environment itself, by the path of its metadata."""
    return os.path.realpath(path).startswith(os.path.join(os.path.realpath(sys.prefix), ""))


def _top_modules(files: "list[str]") -> "tuple[set[str], set[str]]":
    """What a distribution puts at the top: modules and packages, and parts of shared packages."""
    own, others = set(), set()
    for path in files:
        first, slash, rest = path.partition("/")
        module = _MODULE_FILE.match(path.rpartition("/")[2])
        if not module or not (slash == "" or first.isidentifier()):
            continue
        is_init = module.group(1) == "__init__" and module.group() == rest
        if not slash or is_init:
            own.add(first if slash else module.group(1))
        else:
            others.add(first)
    return own, others - own


def _tell_deeper(found: "dict[str, Any]") -> None:
    """Tell of packages that several distributions share what each has of them.

    One that has no file of its own is shared even where nobody else is.
    """
    owners: dict[str, int] = {}
    for facts in found.values():
        for top in facts["modules"] | facts["others"]:
            owners[top] = owners.get(top, 0) + 1
    for facts in found.values():
        files, others = facts.pop("files"), facts.pop("others")
        shared = {top for top in facts["modules"] if owners[top] > 1} | others
        for path in files if shared else ():
            parts = path.split("/")
            module = _MODULE_FILE.match(parts[-1])
            if parts[0] in shared and module and 1 < len(parts) <= _DEEPEST + 1:
                last = [] if module.group(1) == "__init__" else [module.group(1)]
                facts["modules"].add(".".join([*parts[:-1], *last]))
        facts["modules"] = sorted(facts["modules"])


def _is_closed() -> bool:
    """Whether the system forbids others to install something here; see PEP 668."""
    import sysconfig

    mark = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
    return sys.prefix == getattr(sys, "base_prefix", sys.prefix) and os.path.exists(mark)


def _may_write() -> bool:
    import sysconfig

    return os.access(sysconfig.get_path("purelib"), os.W_OK)


def _markers() -> "dict[str, str]":
    """What the markers of requirements know of this Python; see PEP 508."""
    import platform

    implementation = sys.implementation
    return {
        "implementation_name": implementation.name,
        "implementation_version": "{}.{}.{}".format(*implementation.version[:3]),
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": "{}.{}".format(*sys.version_info[:2]),
        "sys_platform": sys.platform,
    }


def _of_conda() -> "dict[str, dict[str, str]]":
    """The packages of conda's that distributions here are of, by the names of their metadata."""
    found = {}
    for path in glob.glob(os.path.join(glob.escape(sys.prefix), "conda-meta", "*.json")):
        try:
            with open(path, encoding="utf-8") as file:
                package = json.load(file)
            words = {name: str(package.get(name) or "") for name in ("name", "version", "channel")}
            for name in package["files"]:
                metadata = re.search(
                    r"/([^/]+\.(?:dist|egg)-info)(?:/(?:METADATA|PKG-INFO))?$", name
                )
                if metadata:
                    found[metadata.group(1)] = words
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
    return found


def _place(name: str) -> str:
    """Where a module lies; empty if there is none. Nothing of it is run."""
    from importlib.util import find_spec

    try:
        spec = find_spec(name)
    except Exception:
        return ""
    if spec is None:
        return ""
    if spec.origin and os.path.exists(spec.origin):
        return spec.origin
    return next(iter(spec.submodule_search_locations or ()), "") or str(spec.origin or "")


def main(names: "list[str]") -> None:
    """Print it in one line."""
    print("\n" + MARK + json.dumps(tell(names)))
