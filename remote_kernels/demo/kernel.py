"""The demo's kernel, driven as a front end drives it: from its kernel.json, by jupyter_client."""

from __future__ import annotations

import base64
import queue
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from remote_kernels.demo.end_signals import EndSignals
from remote_kernels.errors import DemoError

# For a start and for a cell, on a slow machine.
_PATIENCE = 60.0
_END_PATIENCE = 5.0
# For how long no look is taken at signals and at the launcher.
_GLANCE = 0.2


@dataclass
class Outputs:
    """What a cell has shown.

    Attributes:
        text: what it printed.
        png: the last picture that it drew.
        error: name of the exception that ended it, if one did.
    """

    text: str = ""
    png: bytes = field(default=b"", repr=False)
    error: str = ""

    @property
    def png_size(self) -> tuple[int, int]:
        """Width and height of the picture; (0, 0) if there is none."""
        if not self.png.startswith(b"\x89PNG\r\n\x1a\n"):
            return (0, 0)
        width, height = struct.unpack(">II", self.png[16:24])
        return (width, height)

    def collect(self, message: Mapping[str, Any]) -> None:
        """Add what a message brings."""
        content = message["content"]
        if message["msg_type"] == "stream":
            self.text += content["text"]
        elif message["msg_type"] == "error":
            self.error = content["ename"]
        elif "image/png" in content.get("data", ()):
            self.png = base64.b64decode(content["data"]["image/png"])


class DemoKernel:
    """One kernel. While it waits, it looks at the signals that end the demo."""

    def __init__(
        self, name: str, kernels: Path, near: Path, environment: Mapping[str, str], ends: EndSignals
    ) -> None:
        """Make it ready to be started.

        Args:
            name: of the kernelspec.
            kernels: the directory in which that lies.
            near: a directory for the connection file and what the launcher says.
            environment: of the launcher.
            ends: the signals that end the demo.
        """
        self._stderr_path = near / "stderr"
        self._environment = dict(environment)
        self._ends = ends
        self._manager = KernelManager(
            kernel_name=name,
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(kernels)]),
            connection_file=str(near / "kernel-demo.json"),
        )

    @property
    def launcher(self) -> subprocess.Popen[bytes]:
        """The process that kernel.json's argv is."""
        assert isinstance(self._manager.provisioner, LocalProvisioner)
        process: subprocess.Popen[bytes] | None = self._manager.provisioner.process
        assert process is not None
        return process

    def spawn(self) -> None:
        """Start the launcher; :meth:`close` has to follow.

        Raises:
            OSError: it cannot be started.
        """
        with self._stderr_path.open("wb") as stderr:
            self._manager.start_kernel(stderr=stderr, env=self._environment)
        self._client = self._manager.client()
        # Nobody looks at the heartbeat, and its thread may end in a traceback when it is stopped
        # in the moment in which it starts (jupyter_client 8.10).
        self._client.start_channels(hb=False)

    def wait_for_ready(self) -> None:
        """Wait until the kernel answers.

        Raises:
            DemoError: it does not.
            Ended: somebody ended the demo.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            self._ends.check()
            try:
                self._client.wait_for_ready(timeout=_GLANCE)
            except RuntimeError:
                self._look_after_launcher()
                if time.monotonic() > deadline:
                    raise self._error("the kernel does not answer") from None
            else:
                return

    def run(self, code: str) -> Outputs:
        """Run a cell.

        Raises:
            DemoError: it does not end.
            Ended: somebody ended the demo.
        """
        outputs = Outputs()
        cell = self._client.execute(code, allow_stdin=False)
        for message in self._messages_about(cell, self._client.get_iopub_msg):
            outputs.collect(message)
            if message["content"].get("execution_state") == "idle":
                break
        return outputs

    def run_interrupted(self, code: str) -> str:
        """Run a cell, interrupt it when it has printed something; the exception that ended it.

        Raises:
            DemoError: it does not begin, or does not end.
            Ended: somebody ended the demo.
        """
        # With stop_on_error, ipykernel drops what comes in the first 0.1 s after an error.
        cell = self._client.execute(code, allow_stdin=False, stop_on_error=False)
        for message in self._messages_about(cell, self._client.get_iopub_msg):
            if message["msg_type"] == "stream":
                break
        self._manager.interrupt_kernel()
        reply = next(self._messages_about(cell, self._client.get_shell_msg))
        return str(reply["content"].get("ename", ""))

    def restart(self) -> None:
        """Restart it, and wait until it answers again.

        Raises:
            DemoError: it does not.
            Ended: somebody ended the demo.
        """
        with self._stderr_path.open("ab") as stderr:
            self._manager.restart_kernel(stderr=stderr)
        self.wait_for_ready()

    def shut_down(self) -> int:
        """Shut it down in order; the launcher's exit code."""
        launcher = self.launcher
        self._manager.shutdown_kernel()
        assert launcher.returncode is not None
        return launcher.returncode

    def close(self) -> None:
        """End it, in whatever state it is; doing so twice does no harm."""
        self._client.stop_channels()
        if not self._manager.has_kernel:
            return
        if self.launcher.poll() is None:
            # Jupyter would first ask a kernel that may not exist yet.
            self.launcher.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.launcher.wait(_END_PATIENCE)
        self._manager.shutdown_kernel(now=True)

    def _messages_about(
        self, cell: str, get: Callable[..., dict[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """The messages of one socket about a cell, as they come."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            self._ends.check()
            try:
                message = get(timeout=_GLANCE)
            except queue.Empty:
                self._look_after_launcher()
            else:
                if message["parent_header"].get("msg_id") == cell:
                    yield message
        raise self._error("a cell did not end in time")

    def _look_after_launcher(self) -> None:
        if self.launcher.poll() is not None:
            raise self._error("the kernel's launcher has ended")

    def _error(self, sentence: str) -> DemoError:
        said = self._stderr_path.read_text("utf-8", "replace").splitlines()
        return DemoError(sentence, said=said)
