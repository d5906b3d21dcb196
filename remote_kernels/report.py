"""The logs of a kernel, and a report of what there is to know of it, without secrets."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from remote_kernels import __version__
from remote_kernels.errors import OptionsError
from remote_kernels.interfaces import interface_named
from remote_kernels.kernel_log import KERNEL_LINE, identity, log_directory, printable
from remote_kernels.kernelspecs import KernelSpec
from remote_kernels.options import KernelOptions
from remote_kernels.ssh_connection import ssh_settings

_PACKAGES = ("jupyter_client", "jupyter_core", "pexpect", "ptyprocess", "click", "platformdirs")
# What stands behind names like these is nobody's business.
_SECRET = re.compile(
    r"(?i)((?:[\w-]*(?:passw(?:or)?d|passphrase|token|secret|credential|api_?key|access_?key)[\w-]*)"
    r"['\"]?\s*[=:]\s*)(?:'[^']*'|\"[^\"]*\"|[^\s'\",;&]+)"
)
_IN_ADDRESS = re.compile(r"(\w://[^\s/:@]*:)[^\s/@]+@")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|$)", re.S)
# Of ssh_config(5): what may matter to a kernel, and is no path of a key.
_SSH_SETTINGS = (
    *("batchmode", "connecttimeout", "controlmaster", "controlpath", "controlpersist"),
    *("forwardagent", "gssapiauthentication", "hostname", "kbdinteractiveauthentication"),
    *("passwordauthentication", "permitlocalcommand", "port", "preferredauthentications"),
    *("proxycommand", "proxyjump", "pubkeyauthentication", "remotecommand", "requesttty"),
    *("serveralivecountmax", "serveraliveinterval", "stricthostkeychecking", "user"),
)


def redacted(text: str) -> str:
    """The text without what looks like a password, a token or a private key.

    Args:
        text: of one or more lines.
    """
    text = _PRIVATE_KEY.sub("[redacted]", text)
    text = _IN_ADDRESS.sub(r"\1[redacted]@", text)
    return _SECRET.sub(r"\1[redacted]", text)


def logs_of(options: KernelOptions) -> list[Path]:
    """The logs of a kernel, the newest first.

    Args:
        options: of the kernel.
    """
    wanted = identity(options)
    paths = sorted(log_directory().glob("*.log"), key=lambda path: path.name, reverse=True)
    return [path for path in paths if _identity_in(path) == wanted]


def _identity_in(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            # It is among the first lines.
            for line, _ in zip(file, range(10), strict=False):
                _, found, text = line.partition(KERNEL_LINE)
                if found:
                    return text.rstrip("\n")
    except OSError:
        # It was the oldest, and has just been removed.
        pass
    return ""


def report(spec: KernelSpec) -> Iterator[str]:
    """All that a bug report needs, in lines.

    Args:
        spec: the kernelspec.
    """
    yield f"remote-kernels {__version__}: report on the kernel {spec.name}"
    yield "It has no passwords and no keys in it, as far as these can be told from other texts,"
    yield "but it names hosts, users and paths: look through it before you send it."
    yield from ("", "== versions", *_versions())
    yield from ("", f"== kernelspec, in {spec.directory}", *_document(spec))
    options: KernelOptions | None = None
    try:
        options = spec.options
    except OptionsError as error:
        yield f"its options cannot be read: {error.sentence}"
    if options is not None:
        yield from ("", "== ssh configuration of the host", *_ssh_settings(options))
        yield from ("", "== newest log", *_newest_log(options))


def _versions() -> Iterator[str]:
    yield f"Python {platform.python_version()} ({sys.executable})"
    yield platform.platform()
    for name in _PACKAGES:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{name}: not there"
    try:
        done = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False)
        yield done.stderr.strip()
    except FileNotFoundError:
        yield "ssh: not there"


def _document(spec: KernelSpec) -> list[str]:
    document = dict(spec.document)
    if isinstance(document.get("env"), dict):
        document["env"] = dict.fromkeys(document["env"], "[redacted]")
    return redacted(json.dumps(document, indent=2, ensure_ascii=False)).splitlines()


def _ssh_settings(options: KernelOptions) -> Iterator[str]:
    way = interface_named(options.interface).way(options)
    if way is None:
        yield "none: it begins on this machine"
        return
    users = [] if way.users_config is None else ["-F", way.users_config]
    try:
        done = ssh_settings([*way.program, *users, *way.args, *way.destination])
    except (OSError, subprocess.TimeoutExpired) as error:
        yield f"cannot be asked for: {error}"
        return
    for line in (done.stdout + done.stderr).splitlines():
        if line.partition(" ")[0] in _SSH_SETTINGS or done.returncode:
            yield redacted(printable(line))


def _newest_log(options: KernelOptions) -> Iterator[str]:
    for path in logs_of(options)[:1]:
        yield str(path)
        yield from redacted(path.read_text("utf-8", "replace")).splitlines()
        return
    yield "none"
