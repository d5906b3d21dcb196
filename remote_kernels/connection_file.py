"""The connection file that Jupyter writes: read whole, never logged.

What the kernel over there gets is a copy with everything in it (a curve key, too), but with an
address and ports of the far side.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from remote_kernels.errors import ConnectionFileError

#: The five sockets of a kernel, by their names in a connection file.
PORT_NAMES = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")

# What is another over there, as texts that need no escapes; the ports are numbers.
_OTHER_TEXTS = ("ip", "transport")

_SECRET_NAMES = ("key", "curve_secretkey")

_KERNEL_UUID = re.compile(
    "kernel-([0-9a-f]{8})-?([0-9a-f]{4})-?(4[0-9a-f]{3})-?([89ab][0-9a-f]{3})-?([0-9a-f]{12})"
    "[.]json$"
)


class ConnectionFile(NamedTuple):
    """A connection file and what it says.

    Attributes:
        path: where Jupyter wrote it.
        info: its whole content.
        kernel_id: the UUID in its name, or a new one (VS Code and consoles put none there).
    """

    path: Path
    info: dict[str, Any]
    kernel_id: str

    @classmethod
    def read(cls, path: str) -> ConnectionFile:
        """Read it.

        Raises:
            ConnectionFileError: it cannot be read, or does not describe five sockets.
        """
        try:
            info = json.loads(Path(path).read_text("utf-8"))
        except OSError as error:
            raise ConnectionFileError(f"cannot read {path}: {error.strerror}") from None
        except ValueError as error:
            raise ConnectionFileError(f"{path} is not JSON: {error}") from None
        if isinstance(info, dict) and "registration_port" in info:
            # Jupyter's JEP 66, which a kernelspec has to ask for; ours do not.
            raise ConnectionFileError(
                f"{path} is a registration file, which remote kernels do not know"
            )
        missing = [
            name
            for name in PORT_NAMES
            if not isinstance(info, dict) or not isinstance(info.get(name), int)
        ]
        if missing:
            raise ConnectionFileError(f"{path} has no {', '.join(missing)}")
        found = _KERNEL_UUID.search(path)
        return cls(Path(path), info, "-".join(found.groups()) if found else _new_id())

    @property
    def copy_name(self) -> str:
        """Name of the copy over there."""
        return f"rik_kernel-{self.kernel_id}.json"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must not be seen anywhere but in the file."""
        return tuple(
            value
            for name in _SECRET_NAMES
            if isinstance(value := self.info.get(name), str) and value
        )

    @property
    def local_endpoints(self) -> list[str]:
        """Those of all five sockets, in the order of PORT_NAMES."""
        return [self.local_endpoint(name) for name in PORT_NAMES]

    def local_endpoint(self, port_name: str) -> str:
        """Where Jupyter expects one of the sockets, as ssh's -L names its near end."""
        port = self.info[port_name]
        ip = str(self.info.get("ip") or "127.0.0.1")
        if self.info.get("transport") == "ipc":
            return f"{ip}-{port}"
        return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def copy_parts(info: Mapping[str, Any]) -> list[str | list[str]]:
    """The copy's text, in which a list of one name stands for what is chosen over there.

    Args:
        info: content of the file that Jupyter wrote, in which other texts may be anything.
    """
    parts: list[str | list[str]] = []
    for name in {**info, **dict.fromkeys((*_OTHER_TEXTS, *PORT_NAMES))}:
        parts.append(f"{',' if parts else '{'}\n  {json.dumps(name)}: ")
        if name in PORT_NAMES:
            parts.append([name])
        elif name in _OTHER_TEXTS:
            parts += ['"', [name], '"']
        else:
            parts.append(json.dumps(info[name]))
    return [*parts, "\n}"]


def _new_id() -> str:
    import uuid

    return str(uuid.uuid4())
