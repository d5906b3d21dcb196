"""Forwards to a node, which only the login host knows, through an ssh of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

from remote_kernels.errors import NodeForwardError
from remote_kernels.questions import Questions
from remote_kernels.session import Session
from remote_kernels.shell_text import bootstrap
from remote_kernels.ssh_connection import SshForwards
from remote_kernels.way import Way

_LOGGED_IN = "@rk-logged-in"

# Some schedulers (Grid Engine) kill a job's processes the moment that its session ends, so that
# none of them can clean up, and then miss those that have a session of their own. This one is none
# of the job's. It is told "KERNEL group path", and waits for its input to end.
_GUARD = r"""
trap '' HUP INT TERM
rk_group= rk_file=
while read -r rk_word rk_number rk_path; do
  [ "$rk_word" != KERNEL ] || rk_group=$rk_number rk_file=$rk_path
done
[ -n "$rk_group" ] || exit
for rk_try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  [ -e "$rk_file" ] || kill -0 "-$rk_group" || exit 0
  sleep 0.2
done 2>/dev/null
kill -KILL "-$rk_group" 2>/dev/null
rm -f -- "$rk_file"
"""


class NodeForwards:
    """An ssh to the node that logs in while the kernel starts, and ends with us.

    Beside the forwards it holds a guard, which sees to it that nothing of the kernel is left.

    It goes over the login host's shared connection, so that nobody logs in there once more.

    Attributes:
        logged_in: forwards can be asked for.
        said: the last lines that it printed.
        session: the ssh.
    """

    def __init__(self, way: Way, directory: Path, questions: Questions) -> None:
        """Start to log in.

        Args:
            way: to the node.
            directory: in which the ssh configuration lies, and the socket will.
            questions: that the ssh may ask.
        """
        self._program = way.program
        self._socket = directory / "node"
        options = [
            "RemoteCommand=none",
            "ClearAllForwardings=yes",
            "ControlMaster=yes",
            f"ControlPath={self._socket}",
            "LogLevel=INFO",
            # Run here once the login has worked.
            "PermitLocalCommand=yes",
            f"LocalCommand=echo {_LOGGED_IN}",
        ]
        command, payload = bootstrap(_GUARD)
        self._begin(Session(way.command(directory, command, options=options), questions), False)
        self.session.send(payload)

    @classmethod
    def adopted(cls, session: Session) -> NodeForwards:
        """What a launcher before us has opened.

        Args:
            session: the ssh.
        """
        forwards = cls.__new__(cls)
        forwards._begin(session, True)
        return forwards

    def _begin(self, session: Session, logged_in: bool) -> None:
        self.session = session
        self.logged_in = logged_in
        self.said: deque[str] = deque(maxlen=20)

    def guard(self, group: str, path: str) -> None:
        """Let what is left of a kernel be removed when we are gone.

        Args:
            group: its process group.
            path: of its connection file.
        """
        self.session.send(f"KERNEL {group} {path}\n".encode("utf-8", "surrogateescape"))

    def read(self) -> None:
        """Take what it has printed."""
        for line in self.session.read_lines():
            if _LOGGED_IN in line:
                self.logged_in = True
            elif line.strip():
                self.said.append(line)

    def open(self, near: Sequence[str], far_ports: Sequence[int]) -> None:
        """Carry each of the near endpoints to a port of the node's loopback.

        Raises:
            ForwardError: a local port is taken.
        """
        SshForwards(self._program, self._socket, shared=False).open(near, far_ports)

    def failure(self, node: str, said: Sequence[str]) -> NodeForwardError:
        """Why it has ended.

        Args:
            node: its name.
            said: what the ssh that it goes through has said of it.
        """
        what = "was closed" if self.logged_in else "is refused"
        return NodeForwardError(
            f"the ssh to the node {node}, which carries the kernel's sockets, {what}",
            said=[*said, *self.said],
        )
