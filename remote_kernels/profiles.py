"""Hosts that have a name and options of their own: the profiles in ``config.toml``.

Each table ``[hosts.NAME]`` is one profile. Its keys are the long flags of the options, as in
``tunnel_hosts`` and ``remote_precmd``. The file is the person's: comments and order stay.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs
import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from remote_kernels.errors import OptionsError, ProfileError
from remote_kernels.hosts import Host
from remote_kernels.interfaces import interface_named, on_host
from remote_kernels.interfaces.base import words
from remote_kernels.options import (
    DECLARED,
    DEFAULTS,
    OF_A_HOST,
    SERVER_DECLARED,
    SERVER_DEFAULTS,
    THIS_MACHINE,
    WAY_OPTIONS,
    KernelOptions,
    ServerOptions,
    host_and_options,
    with_options,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _key(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


# What holds for a kernel on this machine, of what may be said of a host.
_HERE = ("host", *(name for name in OF_A_HOST if DECLARED[name].general and name != "interface"))

# Fields by the keys under which the file has them, and the other way round.
_FIELDS = {_key(DECLARED[name].flags[0]): name for name in OF_A_HOST}
_KEYS = {name: key for key, name in _FIELDS.items()}


class Profile(NamedTuple):
    """A host by a name of the person's own.

    Attributes:
        name: as it is used in place of a host.
        options: fields of :class:`KernelOptions` that it has; always a host.
        server: options of ``remote-kernels lab`` that it has.
    """

    name: str
    options: Mapping[str, Any]
    server: Mapping[str, Any] = {}

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            OptionsError: an option is missing, unknown or of no use.
        """
        if not _NAME.fullmatch(self.name):
            raise OptionsError(
                f"{self.name!r} cannot be the name of a host: letters, digits, '.', '_' and '-' can"
            )
        if not self.options.get("host"):
            raise OptionsError(f"the host {self.name} needs --host, which says where ssh goes")
        Host.parse(self.options["host"])
        if not 0 <= self.server.get("port", 0) < 65536:
            raise OptionsError(f"the host {self.name} has no usable --port")
        interface_named(self.kernel.interface).check(self.kernel)

    @property
    def kernel(self) -> KernelOptions:
        """The options of a kernel that is added with it.

        Raises:
            OptionsError: there is no such interface.
        """
        return KernelOptions(**on_host({"interface": "ssh", **self.options}))

    def values(self) -> dict[str, Any]:
        """What the file has of it, by its keys."""
        found = {_KEYS[name]: self.options[name] for name in OF_A_HOST if name in self.options}
        return {**found, **self.server}


def config_file() -> Path:
    """The file: ``config.toml`` in the platform's configuration directory."""
    return platformdirs.user_config_path("remote-kernels", appauthor=False) / "config.toml"


def profiles() -> dict[str, Profile]:
    """All that there are, by their names, in the order of the file.

    Raises:
        ProfileError: the file cannot be read.
    """
    hosts = _read().unwrap().get("hosts", {})
    if not isinstance(hosts, dict):
        raise _unusable("hosts is no table")
    return {name: _profile(name, table) for name, table in hosts.items()}


def write(profile: Profile) -> None:
    """Put a profile into the file, in place of one of that name.

    Raises:
        OptionsError: it cannot work.
        ProfileError: the file cannot be read or written.
    """
    profile.check()
    document = _read()
    hosts = document.get("hosts")
    if hosts is None:
        hosts = tomlkit.table(is_super_table=True)
        document["hosts"] = hosts
    old, values = hosts.get(profile.name), profile.values()
    table = old if isinstance(old, Table) else tomlkit.table()
    for key in [key for key in table if key not in values]:
        del table[key]
    for key, value in values.items():
        if table.get(key) != value:
            table[key] = list(value) if isinstance(value, tuple) else value
    if table is not old:
        hosts[profile.name] = table
    _write(tomlkit.dumps(document))


def remove(name: str) -> None:
    """Take a profile out of the file.

    Raises:
        ProfileError: there is none of that name, or the file cannot be read or written.
    """
    named(name)
    document = _read()
    del document["hosts"][name]
    _write(tomlkit.dumps(document))


def named(name: str) -> Profile:
    """The profile of a name.

    Raises:
        ProfileError: there is none, or the file cannot be read.
    """
    found = profiles()
    if name not in found:
        there = f"there are: {', '.join(found)}" if found else "there is none yet"
        raise ProfileError(f"there is no host {name} in {config_file()}", advice=there)
    return found[name]


# --- what a profile stands for --------------------------------------------------------------------


def described(host: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a host: those of its profile if it has one, and those that were given.

    Args:
        host: a profile's name, or a host as in ``--host``.
        given: fields of :class:`KernelOptions`, which outweigh the profile's.

    Returns:
        Such fields, "host" among them.

    Raises:
        ProfileError: the file cannot be read.
    """
    profile = profiles().get(host)
    own = dict(profile.options) if profile is not None else {"host": host}
    return {**own, **{name: value for name, value in given.items() if name != "host"}}


def server_options(host: str, given: Mapping[str, Any]) -> ServerOptions:
    """What is said of a server on a host, by its profile if it has one, and by the person.

    Args:
        host: as for :func:`described`.
        given: fields of :class:`ServerOptions`, which outweigh the profile's.

    Raises:
        ProfileError: the file cannot be read.
    """
    profile = profiles().get(host)
    return ServerOptions(**{**(profile.server if profile is not None else {}), **given})


def at_host(host: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of what is to run on a host, or in a job that is asked for there.

    Args:
        host: as for :func:`described`.
        given: fields of :class:`KernelOptions`, which outweigh the profile's.

    Raises:
        OptionsError: there is no such interface.
        ProfileError: the file cannot be read.
    """
    return on_host({"interface": "ssh", **described(host, given)})


def spares(words: Sequence[str], given: Mapping[str, Any]) -> tuple[str, ...]:
    """The spare machines of a kernel with all their options, as kernel.json has them.

    Args:
        words: of ``--fallback``: each a profile's name, a host, or several with commas between
            them, or a host with options behind it.
        given: fields of :class:`KernelOptions`, which hold for them as well, but for the way there.

    Raises:
        OptionsError: one cannot be used.
        ProfileError: the file cannot be read.
    """
    common = {x: given[x] for x in given if x in OF_A_HOST and x not in ("host", *WAY_OPTIONS)}
    found = []
    for text in (text for word in words for text in ([word] if " " in word else word.split(","))):
        own = host_and_options(text)
        if own["host"] == THIS_MACHINE:
            # Nothing is carried there, and no job asked for.
            given_here = {**common, **own}
            found.append(with_options({x: given_here[x] for x in given_here if x in _HERE}))
            continue
        fields = {"interface": "ssh", **described(own["host"], {**common, **own})}
        if fields.pop("env", ()) != given.get("env", ()):
            raise OptionsError(
                f"--fallback {own['host']}: variables of its own have no place in kernel.json; "
                "with --env they hold for all machines"
            )
        Host.parse(fields["host"])
        options = KernelOptions(**on_host(fields))
        interface_named(options.interface).check(options)
        if fields["interface"] == "ssh":
            del fields["interface"]
        found.append(with_options(fields))
    return tuple(found)


def for_kernel(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a kernel, with those of its host's profile if ``--host`` names one.

    A scheduler is asked on the host of a profile, which is the last of the tunnel hosts then. Its
    spare machines are written as kernel.json has them.

    Args:
        given: fields of :class:`KernelOptions`, which outweigh the profile's.

    Raises:
        OptionsError: there is no such interface, or a spare machine cannot be used.
        ProfileError: the file cannot be read.
    """
    fields = dict(given)
    if fields.get("fallback"):
        fields["fallback"] = spares(fields["fallback"], given)
    host = fields.get("host")
    return at_host(host, fields) if host is not None and host in profiles() else fields


# --- a configuration of another kind --------------------------------------------------------------

# What a file of variables for sh may name, and as which option of ours.
_NAMED = ("remote_user", "remote_host", "port_Y", "path_jupyter", "servername", "port_X")
_ASSIGNMENT = re.compile(r"^[ \t]*([A-Za-z_]\w*)=([^#\n]*)", re.MULTILINE)


def imported(path: Path, name: str) -> Profile:
    """The profile that a ``remote.conf`` describes.

    That is a file of variables for sh: remote_user, remote_host, port_Y (of this machine) and
    path_jupyter; the server chooses its own port over there, which port_X was. Nothing in it is
    run.

    Args:
        path: of the file.
        name: of the profile; empty for the file's servername, or else the name of the host.

    Raises:
        OptionsError: the file does not name a host, or what it names cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionsError(f"{path} cannot be read: {error}") from None
    found: dict[str, str] = {}
    for variable, value in _ASSIGNMENT.findall(text):
        if variable in _NAMED:
            found[variable] = "".join(words(value, f"{path}: {variable}"))
    host = found.get("remote_host")
    if not host:
        raise OptionsError(f"{path} has no line remote_host='…'")
    user, port = found.get("remote_user"), found.get("port_Y", "")
    server: dict[str, Any] = {}
    if port.isdecimal():
        server["port"] = int(port)
    if found.get("path_jupyter"):
        server["app"] = shlex.quote(found["path_jupyter"])
    name = name or found.get("servername") or host
    return Profile(name, {"host": f"{user}@{host}" if user else host}, server)


# --- the file -------------------------------------------------------------------------------------


def _unusable(why: str) -> ProfileError:
    return ProfileError(f"{config_file()} cannot be used: {why}")


def _read() -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(config_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return tomlkit.document()
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise _unusable(str(error)) from None
    except OSError as error:
        raise _unusable(str(error.strerror)) from None


def _write(text: str) -> None:
    """Write the file whole or not at all; where it is a link, what it leads to."""
    path = Path(os.path.realpath(config_file()))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Variables of a kernel may stand in it; a mode that the person has given it stays.
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=".config-")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(f"{text.rstrip()}\n" if text.strip() else "")
            os.chmod(part, mode)
            os.replace(part, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(part)
            raise
    except OSError as error:
        raise ProfileError(f"{path} cannot be written: {error.strerror}") from None


def _profile(name: str, table: Any) -> Profile:
    where = f"hosts.{name}"
    if not isinstance(table, dict):
        raise _unusable(f"{where} is no table")
    options, server = {}, {}
    for key, value in table.items():
        if key in _FIELDS:
            field = _FIELDS[key]
            options[field] = _value(f"{where}.{key}", value, DEFAULTS[field])
        elif key in SERVER_DECLARED:
            server[key] = _value(f"{where}.{key}", value, SERVER_DEFAULTS[key])
        else:
            known = ", ".join([*_FIELDS, *SERVER_DECLARED])
            raise ProfileError(
                f"{config_file()} cannot be used: {where} has {key!r}, which no host has",
                advice=f"there are {known}",
            )
    profile = Profile(name, options, server)
    try:
        profile.check()
    except OptionsError as error:
        raise _unusable(f"{where}: {error.sentence}") from None
    return profile


def _value(where: str, value: Any, default: Any) -> Any:
    """A value as :class:`KernelOptions` has it.

    Raises:
        ProfileError: it is of another kind.
    """
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise _unusable(f"{where} is true or false, and not {value!r}")
    if isinstance(default, tuple):
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            return tuple(value)
        raise _unusable(f'{where} is a list of texts, as in ["one", "two"]')
    if isinstance(default, int):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise _unusable(f"{where} is a number, and not {value!r}")
    if isinstance(value, str):
        return value
    raise _unusable(f'{where} is a text, as in "text"')
