"""The keeper of a visit: it carries the sockets of a kernel that somebody else has started.

It finds the kernel among those that run here, tells the launcher what its connection file says, and
passes interrupts on. It never ends the kernel. Python 3.6, the standard library alone; see
:mod:`~remote_kernels.keeper`.
"""

import json
import os
import socket
import time
from functools import partial

from remote_kernels import running
from remote_kernels.answers import CannotAnswer
from remote_kernels.keeper import BEAT, Order
from remote_kernels.namespaces import has_own_network, socket_inside
from remote_kernels.processes import lives
from remote_kernels.socket_keeper import SOCKETS, SocketKeeper, connected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from remote_kernels.socket_keeper import Address, Make

# Of what is told in a line.
_LINE = 20_000
# Seconds between two looks whether the kernel lives, and for the start of one.
_LOOK_EVERY, _NEW_START = 1.0, 15.0
# Seconds for all its sockets to listen; many imports from a file server take their time.
_LISTENS = 60.0


class VisitOrder:
    """Which kernel is to be visited.

    Attributes:
        selector: its id, process number, connection file or name; empty for the newest.
        spool: bytes of output that wait for a launcher that was lost.
        returns: it is the way back to a kernel of ours that was kept.
    """

    def __init__(self, selector: str, spool: int, returns: bool = False) -> None:
        self.selector = selector
        self.spool = spool
        self.returns = returns


class VisitKeeper(SocketKeeper):
    """The sockets of a kernel of somebody else's."""

    def __init__(self, order: Order, guard: int, parent: int) -> None:
        """Prepare; see :class:`Keeper`."""
        visit = order.held
        assert isinstance(visit, VisitOrder)
        # What a visit carries ends with its launcher.
        order.keeps = False
        super().__init__(order, guard, parent, visit.spool)
        self._selector, self._returns = visit.selector, visit.returns
        self._visitor = visitor_of(order)
        self._kernel: running.Facts = {}
        self._gone_for = 0.0
        # Why its network may not be entered.
        self._no_entry = ""
        self._told_until = 0.0

    def begin(self) -> None:
        """Find the kernel."""
        self.tell("HELLO", os.uname().nodename)
        try:
            self._kernel = self._chosen()
            info = running.connection_info(self._kernel["file"])
            if info is None:
                raise CannotAnswer("the connection file of the kernel cannot be read")
        except CannotAnswer as error:
            self._fail("KERNEL", str(error))
            return
        told = {name: self._kernel.get(name) for name in ("id", "name", "file", "pid")}
        self.tell("VISIT", json.dumps({"info": info, **told}).encode().hex())
        if self._returns:
            self._stay()
            self._tell_missed()
        self._carry(info)
        self.loop.after(_LOOK_EVERY, self._look_after_it)

    def _chosen(self) -> "running.Facts":
        """The kernel that is wanted.

        Raises:
            CannotAnswer: there is none here, or there are more than one.
        """
        found = self._others()
        # The keeper of a job's command knows of a kernel that is in the job, which may be here.
        here = [kernel["id"] for kernel in found if not kernel.get("job_name")]
        kernel = running.chosen(
            (x for x in found if not x.get("job_name") or x["id"] not in here), self._selector
        )
        if kernel.get("job_name"):
            job = " on ".join(filter(None, (kernel["job"] or kernel["job_name"], kernel["node"])))
            if kernel["state"] == "waiting":
                raise CannotAnswer(f"{kernel['id']} waits for the job {job}")
            raise CannotAnswer(
                f"{kernel['id']} is in the job {job}, and not on {os.uname().nodename}"
            )
        return kernel

    def _fail(self, what: str, why: str) -> None:
        self.output.write(why.encode("utf-8", "surrogateescape") + b"\n")
        self.tell("FAIL", what)
        self.told_end = True
        self.output.end()

    def _carry(self, info: "running.Facts") -> None:
        """Carry the sockets of the kernel, from its own network if it is in a container.

        Args:
            info: its connection file.
        """
        pid = self._kernel["pid"]
        make: Make = socket.socket
        self._no_entry = ""
        if info.get("transport") != "ipc" and has_own_network(pid):
            try:
                socket_inside(pid, socket.AF_INET).close()
                make = partial(socket_inside, pid)
            except OSError as error:
                # It may have an address that is known here, or have published its ports.
                self._no_entry = str(error)
        self.carry_to(_addresses(info, self._kernel.get("root") or ""), make)

    def _stay(self) -> None:
        """Let the kernel's own keeper know whether somebody is there, again and again."""
        if not self.told_end:
            self._tell_whether_here()
            self.loop.after(BEAT, self._stay)

    def _tell_whether_here(self) -> None:
        word = "STAY" if self._line is not None else "AWAY"
        answer = running.asked(self._kernel["keeper"], f"{word} {self._visitor} {self._path}")
        if answer != "no":
            return
        # While our launcher was away another one has come back to the kernel.
        if self._line is None:
            self.finish()
        else:
            self.tell("PARTED")
            self._tell_end()

    def on_line(self) -> None:
        """See :class:`Keeper`."""
        if self._returns and self._kernel and not self.told_end:
            self.loop.after(0, self._tell_whether_here)

    def _tell_missed(self) -> None:
        """Tell what the kernel has published while nobody was there; it is kept until it is shown.

        In lines of usual length.
        """
        self._tell_outputs("OUTPUT")

    def _tell_outputs(self, word: str) -> None:
        outputs = json.loads(running.asked(self._kernel["keeper"], word) or "[]")
        outputs = [x for x in outputs if x["at"] > self._told_until or not self._told_until]
        if outputs:
            self._told_until = outputs[-1]["at"]
        missed = json.dumps(outputs).encode()
        for at in range(0, len(missed), _LINE):
            self.tell("MISSED", missed[at : at + _LINE].hex())
        self.tell("MISSED")

    def on_words(self, words: "list[str]") -> None:
        """Take what the launcher says."""
        if words == ["SHOWN"] and self._returns:
            # What has come since it was told is shown with the next cell.
            self._tell_outputs("TAKE")
        elif words == ["RESTART"] and self._returns:
            # The launcher leaves; the next one waits until the kernel has been started anew.
            running.asked(self._kernel["keeper"], "RESTART")
            self._tell_end()
        else:
            super().on_words(words)

    def before_waiting(self) -> None:
        """See :class:`Keeper`."""

    def on_wish(self, word: str) -> bool:
        """Pass on what a person wants of the kernel; see :class:`Keeper`."""
        if word == "STOPPED":
            return super().on_wish(word)
        try:
            if self._kernel.get("ours"):
                done = next(running.wish(self._kernel["keeper"], word))
            elif word == "RESTART" or not self._kernel.get("pid"):
                return False
            else:
                done = next(running.send_signal(self._kernel["pid"], self._kernel["began"], word))
        except (CannotAnswer, OSError):
            return False
        return done

    def on_child(self) -> None:
        """See :class:`Keeper`; there is none."""

    def on_sigterm(self) -> None:
        """Leave; the kernel stays."""
        self._tell_end()

    def finish(self) -> None:
        """See :class:`Keeper`."""
        self._say_away()
        self.over = True

    def clean_up(self) -> None:
        """See :class:`Keeper`; nothing here is ours."""

    def _tell_end(self) -> None:
        if not self.told_end:
            self._say_away()
            self.told_end = True
            self.output.end()
            self.tell("EXIT", "0")

    def _say_away(self) -> None:
        if self._returns and self._kernel and not self.told_end:
            running.asked(self._kernel["keeper"], f"AWAY {self._visitor}")

    def _look_after_it(self) -> None:
        """Notice the end of the kernel, and a new start of one with the same file."""
        if self.told_end:
            return
        if not self.is_up and self._is_hopeless():
            return
        if self._lives():
            self._gone_for = 0.0
        else:
            self._gone_for += _LOOK_EVERY
            again = [
                kernel
                for kernel in self._others()
                if kernel["file"] == self._kernel["file"] and not kernel["stale"]
            ]
            if again:
                self._kernel = again[0]
                # It may be in another container now.
                info = running.connection_info(self._kernel["file"])
                if info is not None:
                    self._carry(info)
            elif self._returns or self._gone_for >= _NEW_START:
                self._tell_end()
        self.loop.after(_LOOK_EVERY, self._look_after_it)

    def _is_hopeless(self) -> bool:
        """Whether a kernel will not listen where its file says; then that was told."""
        if self._no_entry and time.time() - self._kernel["since"] > _NEW_START:
            self._fail("NETWORK", self._no_entry)
        elif time.monotonic() - self._began > _LISTENS:
            self._fail("KERNEL", "it does not listen where its connection file says")
        return self.told_end

    def _others(self) -> "list[running.Facts]":
        """The kernels that run here; we ourselves could not answer now."""
        return next(running.kernels(self._path, running.KEPT_PATIENCE))

    def status(self) -> "dict[str, object]":
        """See :class:`Keeper`; a visit is no kernel."""
        return {**super().status(), "visits": self._kernel.get("file", "")}

    def _lives(self) -> bool:
        if self._kernel["pid"]:
            return lives(self._kernel["pid"])
        heartbeat = connected(self._addresses[SOCKETS.index("hb_port")])
        if heartbeat is not None:
            heartbeat.close()
        return heartbeat is not None


def visitor_of(order: Order) -> str:
    """What a kernel's keeper knows a visitor by: the process number and machine of its launcher.

    Args:
        order: of the visitor's keeper.
    """
    about = json.loads(order.about)
    return "{} {}".format(about["launcher"], about["from"])


def _addresses(info: "running.Facts", root: str) -> "list[Address]":
    """Where the sockets of a kernel listen.

    Args:
        info: its connection file.
        root: what is put in front of paths that its process knows.
    """
    ip = str(info.get("ip") or "127.0.0.1")
    if info.get("transport") == "ipc":
        return [f"{root}{ip}-{info[port]}" for port in SOCKETS]
    near = "127.0.0.1" if ip in ("*", "0.0.0.0") else ip
    return [(near, info[port]) for port in SOCKETS]
