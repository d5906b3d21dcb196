"""The person's keys for logins: which there are, whether ssh can use them, and a new one."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import pwd
import re
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from remote_kernels.errors import LoginError, OptionsError, SshNotFoundError

# Of ssh-keygen and ssh-add, where they ask nobody.
_PATIENCE = 30.0
# A line of authorized_keys: the kind, the key, and a comment.
_PUBLIC = re.compile(r"((?:ssh|ecdsa|sk)-[A-Za-z0-9@.-]+) ([A-Za-z0-9+/]+={0,2})(?: (.*))?")
_CERTIFICATE = "-cert-v01@openssh.com"
_LOCKED = "incorrect passphrase"


class Key(NamedTuple):
    """A key.

    Attributes:
        line: its public half, as a line of authorized_keys.
        file: of its private half; None if only an agent has it.
        in_agent: an agent has it.
    """

    line: str
    file: Path | None = None
    in_agent: bool = False

    @property
    def fingerprint(self) -> str:
        """As ssh shows it."""
        digest = hashlib.sha256(base64.b64decode(self.line.split()[1])).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    def __str__(self) -> str:
        """For a person."""
        if self.file is not None:
            return str(self.file)
        return f"{' '.join(self.line.split(' ')[2:]) or self.fingerprint} of your agent"

    def is_locked(self) -> bool:
        """Whether ssh has to ask for its passphrase.

        Raises:
            LoginError: ssh cannot use it.
        """
        if self.in_agent or self.file is None or not self.file.exists():
            return False
        done = _run(["ssh-keygen", "-y", "-P", "", "-f", str(self.file)])
        if done.returncode == 0:
            return False
        if _LOCKED in done.stderr:
            return True
        raise LoginError(
            f"the key {self.file} cannot be used",
            said=done.stderr.splitlines()[-10:],
            advice=f"let nobody but you read it (chmod 600 {self.file}), or name another with "
            "--identity",
        )


class Agent(NamedTuple):
    """What holds keys whose passphrases were typed.

    Attributes:
        keys: that it has.
        environ: lets ssh-add find it.
    """

    keys: tuple[Key, ...]
    environ: Mapping[str, str]

    def add(self, key: Key) -> bool:
        """Let it have a key; its passphrase is asked for at the terminal.

        Returns:
            Whether it has it now.
        """
        assert key.file is not None
        return (
            subprocess.run(["ssh-add", str(key.file)], env=self.environ, check=False).returncode
            == 0
        )


def agent_of(settings: Mapping[str, Sequence[str]]) -> Agent | None:
    """The agent that ssh asks; None if there is none.

    Args:
        settings: ssh's, for a host; see :func:`~remote_kernels.ssh_connection.settings_of`.
    """
    environ = dict(os.environ)
    (where,) = settings.get("identityagent", ["SSH_AUTH_SOCK"])[:1]
    if where.startswith("$"):
        where = environ.get(where[1:], "none")
    elif where == "SSH_AUTH_SOCK":
        where = environ.get("SSH_AUTH_SOCK", "none")
    if where == "none":
        return None
    environ["SSH_AUTH_SOCK"] = os.path.expanduser(where)
    done = _run(["ssh-add", "-L"], environ)
    # 1: it has none (ssh-add(1)).
    if done.returncode not in (0, 1):
        return None
    keys = [Key(line, in_agent=True) for line in done.stdout.splitlines() if _is_public(line)]
    return Agent(tuple(keys), environ)


def key_of(path: Path, agent: Agent | None = None) -> Key:
    """A key that lies in a file.

    Args:
        path: of its private or its public half.
        agent: that may have it.

    Raises:
        OptionsError: there is none.
    """
    private, public = _halves(path)
    if public.exists():
        line = public.read_text("utf-8", "replace").partition("\n")[0].strip()
    elif private.exists():
        # Its passphrase may have to be typed.
        ask = ["ssh-keygen", "-y", "-f", str(private)]
        done = subprocess.run(ask, stdout=subprocess.PIPE, text=True, check=False)
        line = done.stdout.strip()
    else:
        raise OptionsError(f"there is no key {private}")
    if not _is_public(line):
        raise OptionsError(f"{public if public.exists() else private} holds no key for logins")
    known = {key.line.split()[1] for key in agent.keys} if agent is not None else set()
    return Key(line, private, line.split()[1] in known)


def own_key(settings: Mapping[str, Sequence[str]], agent: Agent | None) -> Key | None:
    """The key that ssh would use for a host: one that is unlocked, if there is one.

    Args:
        settings: ssh's, for that host.
        agent: that ssh asks.
    """
    found = []
    for path in files_of(settings):
        # What is no key is none for ssh either.
        with suppress(OptionsError):
            if path.exists():
                found.append(key_of(path, agent))
    unlocked = [key for key in found if key.in_agent]
    others = agent.keys if agent is not None else ()
    return next(iter([*unlocked, *found, *others]), None)


def files_of(settings: Mapping[str, Sequence[str]]) -> list[Path]:
    """Where the keys of a host lie, as ssh has it; not each of them is there.

    Args:
        settings: ssh's, for that host.
    """
    me = pwd.getpwuid(os.getuid())

    def first(keyword: str) -> str:
        return next(iter(settings.get(keyword, [""])))

    # Some of the tokens of ssh_config(5).
    tokens = {"%": "%", "d": me.pw_dir, "u": me.pw_name, "h": first("hostname")}
    tokens.update(r=first("user"), p=first("port"), n=first("host"))
    found = []
    for text in settings.get("identityfile", ()):
        path = re.sub(r"%(.)", lambda token: tokens.get(token[1], token[0]), text)
        if path.startswith("~/"):
            path = me.pw_dir + path[1:]
        found.append(Path(path))
    return found


def make_key(path: Path, *, passphrase: bool) -> None:
    """Make a new key.

    Args:
        path: of its private half.
        passphrase: ssh-keygen asks for one at the terminal; else it has none.

    Raises:
        LoginError: it was not made.
    """
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-f", str(path)]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    done = subprocess.run([*words, *([] if passphrase else ["-N", ""])], check=False)
    if done.returncode or not path.exists():
        raise LoginError(f"ssh-keygen has made no key {path}")


def is_there(path: Path) -> bool:
    """Whether there is a key, or its public half.

    Args:
        path: see :func:`key_of`.
    """
    return any(half.exists() for half in _halves(path))


def _halves(path: Path) -> tuple[Path, Path]:
    private = path.with_suffix("") if path.suffix == ".pub" else path
    return private, private.with_name(f"{private.name}.pub")


def _is_public(line: str) -> bool:
    found = _PUBLIC.fullmatch(line)
    if found is None or found[1].endswith(_CERTIFICATE) or not line.isprintable():
        return False
    try:
        data = base64.b64decode(found[2], validate=True)
    except binascii.Error:
        return False
    # It begins with its kind (RFC 4253, 6.6).
    kind = found[1].encode()
    return data.startswith(len(kind).to_bytes(4, "big") + kind)


def _run(
    command: Sequence[str], environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program that is to ask nobody.

    Raises:
        SshNotFoundError: there is none of that name.
    """
    try:
        return subprocess.run(
            list(command),
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            start_new_session=True,
            check=False,
        )
    except FileNotFoundError:
        raise SshNotFoundError(f"there is no program {command[0]} on this machine") from None
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(list(command), 255, "", "it did not end")
