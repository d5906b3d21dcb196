"""Root's side: start the machines, lay the cables, run commands on them, look at them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bed import plan
from bed.boot import Layout

NAMESPACES = ("--net", "--uts", "--mount", "--pid", "--ipc")
LOOKED_AT = ("home", "tmp", "dev/shm", "run/user")
CGROUP = f"bed-{secrets.token_hex(8)}"  # one host may have several beds
NOWHERE = "02:00:00:00:00:00"  # the hardware address of nobody


class RunningMachine:
    """One machine that has been switched on."""

    def __init__(self, machine: plan.Plan, layout: Layout) -> None:
        """Start process 1; ``wait_ready`` waits for it, so that machines boot side by side."""
        self.plan = machine
        self._unshare = subprocess.Popen(
            [
                *("unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc"),
                *(sys.executable, "-m", "bed.boot", machine.name),
                json.dumps(vars(layout)),
            ],
            stdin=subprocess.PIPE,  # the lifeline: closed by our end, whatever ends us
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C at the terminal is for the tests alone
            text=True,
        )
        self.init = 0

    def wait_ready(self) -> None:
        """Wait until the machine has said that it is up."""
        assert self._unshare.stdout is not None
        if self._unshare.stdout.readline() != "ready\n":
            raise RuntimeError(f"{self.plan.name} did not boot")

    def find_init(self) -> int:
        """Learn the number that process 1 has over here."""
        while not (children := children_of(self._unshare.pid)):
            if self._unshare.poll() is not None:
                raise RuntimeError(f"no namespaces for {self.plan.name}")
        self.init = children[0]
        return self.init

    def stop(self) -> None:
        """End process 1; the kernel ends all others of the machine before it lets go."""
        if self._unshare.stdin is not None:
            self._unshare.stdin.close()
        self._unshare.wait(timeout=10)

    def command(self, argv: Sequence[str], user: str, environ: dict[str, str]) -> list[str]:
        """The argv that runs ``argv`` over there, as a login of ``user`` would, without shell."""
        who = plan.person(self.plan.name, user)
        values = {**plan.environment(who), **environ}
        return [
            *("nsenter", f"--target={self.init}", *NAMESPACES),
            *("setpriv", f"--reuid={who.uid}", f"--regid={who.uid}", "--init-groups"),
            *("env", "-i", f"--chdir={values.pop('PWD', values['HOME'])}"),
            *(f"{name}={value}" for name, value in values.items()),
            *argv,
        ]

    def run(
        self, argv: Sequence[str], user: str, standard_input: bytes, timeout: float, **environ: str
    ) -> tuple[int, bytes, bytes]:
        """Run a command to its end; status 124 with what it said so far when time is up."""
        process = subprocess.Popen(
            self.command(argv, user, environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate(standard_input, timeout)
        except subprocess.TimeoutExpired:
            # nsenter and its child are one process group: the command itself is ended as well
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            return 124, stdout, stderr + f"\ntimed out after {timeout:g} s\n".encode()
        return process.returncode, stdout, stderr

    def ip(self, *lines: str) -> None:
        """Run lines of ``ip`` in the machine's network."""
        argv = ["nsenter", f"--target={self.init}", "--net", "ip", "-batch", "-"]
        subprocess.run(argv, input="\n".join(lines) + "\n", text=True, check=True)

    def processes(self) -> list[dict[str, Any]]:
        """All processes that are no zombies, with the numbers they have over there."""
        found = []
        for directory in Path(f"/proc/{self.init}/root/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has just ended
                status = dict(
                    line.split(":\t", 1)
                    for line in (directory / "status").read_text().splitlines()
                    if ":\t" in line
                )
                if status["State"].startswith("Z"):
                    continue
                words = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
                found.append(
                    {
                        "pid": int(directory.name),
                        "uid": int(status["Uid"].split()[0]),
                        "args": " ".join(words).strip() or status["Name"],
                        "started": int(
                            (directory / "stat").read_text().rpartition(")")[2].split()[19]
                        ),
                    }
                )
        return found

    def listening_ports(self) -> list[int]:
        """The TCP ports on which somebody listens."""
        # not from /proc/net/tcp, for which Linux goes through the connections of the whole host
        argv = ["nsenter", f"--target={self.init}", "--net", "ss", "-Hntl"]
        rows = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout
        return sorted({int(row.split()[3].rpartition(":")[2]) for row in rows.splitlines()})

    def forget_hosts(self) -> None:
        """Remove ssh's known hosts from all homes, and at the desk its configuration as well."""
        names = ["known_hosts", "known_hosts.old"]
        if self.plan.desk_of:
            names.append("config")
        for directory in Path(f"/proc/{self.init}/root/home").glob("*/.ssh"):
            for name in names:
                (directory / name).unlink(missing_ok=True)

    def files(self) -> list[str]:
        """Every path in the places where people may write."""
        root = f"/proc/{self.init}/root"
        return [
            f"{directory.removeprefix(root)}/{name}"
            for place in LOOKED_AT
            for directory, directories, names in os.walk(f"{root}/{place}")
            for name in (*directories, *names)
        ]


def children_of(pid: int) -> list[int]:
    """The processes that a process of one thread has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.contextmanager
def switched_on(layout: Layout) -> Iterator[dict[str, RunningMachine]]:
    """All machines, cabled; switched off at the end."""
    machines: dict[str, RunningMachine] = {}
    try:
        for machine in plan.MACHINES:
            machines[machine.name] = RunningMachine(machine, layout)
        for running in machines.values():
            running.find_init()
        for running in machines.values():
            running.wait_ready()
        for link in plan.LINKS:
            ends = (f"to-{link.right}", f"to-{link.left}")
            lay_cable(machines[link.left], ends[0], machines[link.right], ends[1])
        lan = plan.CLUSTER
        for name in lan.others:
            lay_cable(machines[lan.switch], f"to-{name}", machines[name], lan.interface)
        for running in machines.values():
            connect(running)
        yield machines
    finally:
        for running in machines.values():
            running.stop()
        for hierarchy in (plan.FREEZER, plan.MEMORY):
            remove_cgroup(Path(hierarchy, CGROUP))


def remove_cgroup(cgroup: Path) -> None:
    """Remove a cgroup and all in it; their processes have ended with the machines."""
    for directory, _, _ in os.walk(cgroup, topdown=False):
        os.rmdir(directory)


def lay_cable(left: RunningMachine, left_end: str, right: RunningMachine, right_end: str) -> None:
    """Make a pair of interfaces, one in each machine."""
    argv = f"link add {left_end} netns {left.init} type veth"
    argv += f" peer name {right_end} netns {right.init}"
    subprocess.run(["ip", *argv.split()], check=True)


def connect(running: RunningMachine) -> None:
    """Give the machine its addresses; without a default route it reaches neighbours only."""
    name = running.plan.name
    lines = ["link set lo up"]
    for link in plan.links_of(name):
        interface = f"to-{link.other(name)}"
        lines += [
            f"address add {link.address(name)}/24 dev {interface}",
            # nodad: usable at once, without a second of looking for duplicates
            f"address add {link.address6(name)}/64 dev {interface} nodad",
            f"link set {interface} up",
        ]
    if name in plan.CLUSTER.members:
        lines += plug_in(plan.CLUSTER, name)
    running.ip(*lines)


def plug_in(lan: plan.Lan, name: str) -> list[str]:
    """The lines of ``ip`` that make a machine a member, or the switch itself."""
    lines = []
    if name == lan.switch:
        lines.append(f"link add {lan.interface} type bridge")
        lines += [f"link set to-{other} master {lan.interface} up" for other in lan.others]
    lines.append(f"address add {lan.address(name)}/24 dev {lan.interface}")
    lines.append(f"link set {lan.interface} up")
    return lines


def cut(left: str, right: str, machines: dict[str, RunningMachine]) -> None:
    """Lose every packet in silence, as when the trouble is somewhere on the way.

    Both ends send to a hardware address that nobody has. A link that is taken down would be
    noticed: the kernel says "no route to host" and forgets the IPv6 addresses.
    """
    for name, other in ((left, right), (right, left)):
        machines[name].ip(*(f"neigh replace {n} lladdr {NOWHERE}" for n in ways(name, other)))


def mend(left: str, right: str, machines: dict[str, RunningMachine]) -> None:
    """Forget the false addresses of ``cut``."""
    for name, other in ((left, right), (right, left)):
        machines[name].ip(*(f"neigh del {n}" for n in ways(name, other)))


def ways(name: str, other: str) -> list[str]:
    """All addresses of a neighbour, with the interface, as ``ip neigh`` wants them."""
    to = next(x for x in plan.neighbours(name) if x.name == other)
    return [f"{address} dev {to.interface}" for address in to.addresses]
