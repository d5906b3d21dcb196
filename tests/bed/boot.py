"""What a machine does first: process 1 in its namespaces lays out files, users and sshd.

Started by ``machines`` with standard input as the lifeline: when that closes, because the root
process has ended, process 1 ends too, and with it the kernel ends every process of the machine.
Whatever is written here lies on file systems in memory; the host's own are read-only.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bed import plan

# Directories in which machines must share nothing, with each other or with the host.
OWN_DIRECTORIES = {
    "/dev/shm": "1777",
    "/etc/ssh": "0755",
    "/home": "0755",
    "/root": "0700",
    "/srv": "0755",
    "/tmp": "1777",
    "/var/log": "0755",
    "/var/tmp": "1777",
}
# The same for what the schedulers of a cluster write.
CLUSTER_DIRECTORIES = {
    "/etc/profile.d": "0755",
    "/etc/slurm": "0755",
    "/var/spool": "0755",
}
# The same for OAR and its database.
OAR_DIRECTORIES = {
    "/etc/oar": "0755",
    "/var/lib/oar": "0755",
    "/var/lib/postgresql": "0755",
}


@dataclass(frozen=True)
class Layout:
    """Where things lie on the host: the checkout is hidden, the Python environment shown."""

    checkout: str
    environment: str


def main() -> None:
    """Boot, say so, and stay for as long as the lifeline is open."""
    machine = plan.machine(sys.argv[1])
    layout = Layout(**json.loads(sys.argv[2]))
    socket.sethostname(machine.name)
    ssh_config = Path("/etc/ssh/ssh_config").read_bytes()
    own_file_systems(machine, layout)
    Path("/etc/ssh/ssh_config").write_bytes(ssh_config)
    own_names(machine)
    make_homes(machine)
    own_run_directory(machine)
    run("mount", "-o", "remount,bind,ro", "/")
    if machine.ports:
        start_sshd(machine)
    print("ready", flush=True)
    # The kernel reaps orphans of a process 1 that ignores SIGCHLD: a program of 1 MB will do.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.execvp("cat", ["cat"])


def run(*argv: str) -> None:
    """Run a command that must work."""
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)


def mount_tmpfs(where: str, mode: str) -> None:
    """An empty file system in memory, over whatever lies there."""
    run("mount", "-t", "tmpfs", "-o", f"mode={mode}", "bed", where)


def show_read_only(what: str, where: str) -> None:
    """Make a directory of the host, or of the bed's base, visible under a path."""
    os.makedirs(where, exist_ok=True)
    run("mount", "-o", "bind,ro", what, where)


def own_file_systems(machine: plan.Plan, layout: Layout) -> None:
    """Hide what is not this machine's, then show the Python environment at its own path.

    Over there nothing of the program is installed: far machines see only the environment
    ``far`` inside the tests' own, which has kernels and no more.
    """
    for where, mode in OWN_DIRECTORIES.items():
        mount_tmpfs(where, mode)
    if machine.name in plan.CLUSTER.members:
        own_cluster_directories()
    if machine.name == "oar":
        own_directories(OAR_DIRECTORIES)
    for where in (layout.checkout, unreadable_ancestor(layout.environment)):
        if where and os.path.isdir(where):
            mount_tmpfs(where, "0755")
    visible = "environment" if machine.has_source else "environment/far"
    visible_at = layout.environment if machine.has_source else f"{layout.environment}/far"
    if os.path.isdir(layout.environment):
        mount_tmpfs(layout.environment, "0755")
    show_read_only(f"{plan.BASE}/{visible}", visible_at)
    if machine.has_source:
        show_read_only(f"{plan.BASE}/source", plan.SOURCE)
    # A pty table of its own, so that no terminal is shared with the host.
    run(
        "mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620,gid=5", "bed", "/dev/pts"
    )


def own_cluster_directories() -> None:
    """What members of a cluster have beside: the schedulers' places, and what all of them share."""
    own_directories(CLUSTER_DIRECTORIES)
    for name, text in plan.CLUSTER_PROFILE.items():
        Path("/etc/profile.d", name).write_text(text)
    for where in plan.CLUSTER.shared:
        os.makedirs(where)
        run("mount", "--bind", f"{plan.BASE}/shared{where}", where)


def own_directories(directories: dict[str, str]) -> None:
    """Empty directories of a machine's own, where a scheduler's packages are not absent."""
    for where, mode in directories.items():
        if os.path.isdir(where):
            mount_tmpfs(where, mode)


def unreadable_ancestor(path: str) -> str:
    """The topmost directory above ``path`` that ordinary users may not pass, or ``""``."""
    for directory in reversed(Path(path).parents):
        if directory.is_dir() and not directory.stat().st_mode & 0o001:
            return str(directory)
    return ""


def own_names(machine: plan.Plan) -> None:
    """Users and host names of this machine only; an unknown name fails at once."""
    files = {
        "hostname": f"{machine.name}\n",
        "hosts": hosts(machine),
        "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
        "resolv.conf": "# this machine asks nobody\n",
        "passwd": kept_accounts("/etc/passwd")
        + "".join(f"{p.name}:x:{p.uid}:{p.uid}::{p.home}:{p.shell}\n" for p in machine.people),
        "group": kept_accounts("/etc/group")
        + "".join(f"{p.name}:x:{p.uid}:\n" for p in machine.people),
        # "*": no password fits; "!" would mean locked, and sshd without PAM refuses that
        "shadow": "root:*:1::::::\n" + "".join(f"{p.name}:*:1::::::\n" for p in machine.people),
        "krb5.conf": plan.KRB5_CONF,
        "pam.d/sshd": "# nobody is asked here, until a test says what\n",
    }
    own = Path(plan.BASE, "etc", machine.name)
    own.mkdir(parents=True)
    (own / "pam.d").mkdir()
    for name, text in files.items():
        (own / name).write_text(text)
        (own / name).chmod(0o600 if name == "shadow" else 0o644)
        if os.path.exists(f"/etc/{name}"):
            run("mount", "--bind", str(own / name), f"/etc/{name}")


def hosts(machine: plan.Plan) -> str:
    """This machine and its neighbours: nobody knows the address of a machine further away."""
    own = "127.0.1.1"
    if machine.name in plan.CLUSTER.members:
        own = plan.CLUSTER.address(machine.name)  # schedulers tell it to the other members
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost", f"{own} {machine.name}"]
    for other in plan.neighbours(machine.name):
        for address, version in zip(other.addresses, "46", strict=False):
            lines.append(f"{address} {other.name} {other.name}{version}")
    return "".join(f"{line}\n" for line in lines)


def kept_accounts(file: str) -> str:
    """The lines of the host's file that are about the system and not about people."""
    lines = Path(file).read_text().splitlines()
    return "".join(f"{line}\n" for line in lines if is_system(line))


def is_system(line: str) -> bool:
    """Whether a line of passwd or group has an id that Debian gives to the system.

    From 60000 on are those that Debian gives to packages for good, such as 64030 to Slurm.
    """
    fields = line.split(":")
    return len(fields) > 2 and fields[2].isdigit() and not 1000 <= int(fields[2]) < 60000


def make_homes(machine: plan.Plan) -> None:
    """All homes; within a cluster everybody has a key and may go from member to member."""
    in_cluster = machine.name in plan.CLUSTER.members
    keys = ["key", "cluster-key"] if in_cluster else ["key"]
    authorized = "".join(Path(plan.BASE, f"{key}.pub").read_text() for key in keys)
    for who in machine.people:
        # the machine with the switch is the file server as well
        if in_cluster and who.home in plan.CLUSTER.shared and machine.name != plan.CLUSTER.switch:
            continue
        make_home(who, authorized)
        if in_cluster:
            hand_over_key("cluster-key", who)
    if machine.desk_of:
        hand_over_key("key", machine.desk_of)


def make_home(who: plan.Person, keys: str) -> None:
    """A home as Debian makes it, with the keys that may log in."""
    home = Path(who.home)
    shutil.copytree("/etc/skel", home, dirs_exist_ok=True)
    (home / ".ssh").mkdir(mode=0o700)
    if who.authorized:
        (home / ".ssh/authorized_keys").write_text(keys)
        (home / ".ssh/authorized_keys").chmod(0o600)
    for name, text in who.dotfiles.items():
        file = home / name
        file.write_text(text + (file.read_text() if file.exists() else ""))
    give(who, [home, *home.rglob("*")])
    home.chmod(0o750)


def hand_over_key(key: str, who: plan.Person) -> None:
    """Put a private key into its owner's home."""
    directory = Path(who.home, ".ssh")
    for suffix, mode in (("", 0o600), (".pub", 0o644)):
        name = f"id_ed25519{suffix}"
        shutil.copyfile(Path(plan.BASE, f"{key}{suffix}"), directory / name)
        (directory / name).chmod(mode)
        give(who, [directory / name])


def give(who: plan.Person, paths: Iterable[Path]) -> None:
    """Make somebody the owner of files."""
    for path in paths:
        os.chown(path, who.uid, who.uid)


def own_run_directory(machine: plan.Plan) -> None:
    """Cover /run last: the bed's base lies there and must not be seen by anybody."""
    mount_tmpfs("/run", "0755")
    os.mkdir("/run/sshd")
    os.makedirs("/run/lock")
    if machine.desk_of:
        directory = Path(f"/run/user/{machine.desk_of.uid}")
        directory.mkdir(parents=True)
        directory.chmod(0o700)
        give(machine.desk_of, [directory])


def start_sshd(machine: plan.Plan) -> None:
    """Start Debian's sshd; it writes its pid file when it listens."""
    Path("/etc/ssh/sshd_config").write_text(plan.sshd_config(machine))
    run(*plan.NEW_HOST_KEY)
    run(*plan.SSHD)
    deadline = time.monotonic() + 10
    while not os.path.exists("/run/sshd.pid"):
        if time.monotonic() > deadline:
            sys.exit(f"sshd on {machine.name} does not listen: {Path(plan.SSHD_LOG).read_text()}")
        time.sleep(0.005)


if __name__ == "__main__":
    main()
