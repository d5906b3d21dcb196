"""What exists in the bed: machines, networks between them, people. Data only."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

BASE = "/run/bed"  # below a private /run: invisible to the rest of the host
SOURCE = "/srv/remote-kernels"  # the checkout, as the laptop sees it
# Of cgroup v1, where Linux has them.
FREEZER = "/sys/fs/cgroup/freezer"
MEMORY = "/sys/fs/cgroup/memory"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Person:
    """Somebody with an account and a home directory."""

    name: str
    uid: int
    shell: str = "/bin/bash"
    authorized: bool = True  # mia's key opens the account
    dotfiles: dict[str, str] = field(default_factory=dict)  # put before what /etc/skel has

    @property
    def home(self) -> str:
        """The home directory."""
        return f"/home/{self.name}"


@dataclass(frozen=True)
class Plan:
    """One machine."""

    name: str
    people: tuple[Person, ...]
    ports: tuple[int, ...] = ()  # where sshd listens; none: no sshd
    has_source: bool = False  # the checkout and the Python that has the program installed
    desk_of: Person | None = None  # who sits there, with the key and a runtime directory
    settings: tuple[str, ...] = ()  # of sshd, before the others


@dataclass(frozen=True)
class Link:
    """A cable between two machines; the first has .1, the second .2."""

    left: str
    right: str
    number: int

    def address(self, machine: str) -> str:
        """The IPv4 address of one end."""
        return f"10.66.{self.number}.{1 if machine == self.left else 2}"

    def address6(self, machine: str) -> str:
        """The IPv6 address of one end."""
        return f"fd66:{self.number}::{1 if machine == self.left else 2}"

    def other(self, machine: str) -> str:
        """The machine at the other end."""
        return self.right if machine == self.left else self.left


@dataclass(frozen=True)
class Lan:
    """A cluster: machines on one switch, which is in the first of them, and a file server.

    IPv4 only: Grid Engine knows no other.
    """

    members: tuple[str, ...]
    number: int
    shared: tuple[str, ...]  # directories that are one and the same on all members
    interface: str = "lan"

    @property
    def switch(self) -> str:
        """The machine that has the switch."""
        return self.members[0]

    @property
    def others(self) -> tuple[str, ...]:
        """The machines that are plugged into it."""
        return self.members[1:]

    def address(self, machine: str) -> str:
        """The IPv4 address of a member."""
        return f"10.77.{self.number}.{1 + self.members.index(machine)}"


@dataclass(frozen=True)
class Neighbour:
    """What a machine knows of another that it reaches without anybody in between."""

    name: str
    interface: str  # our own, which leads there
    addresses: tuple[str, ...]  # IPv4, then IPv6


NOISE = 'echo "*** {file}: quota 93% ***"\necho "{file}: no such module: gcc/4" >&2\n'

MIA = Person("mia", 5001, authorized=False)
ADA = Person("ada", 5101)
BELA = Person("bela", 5102)
GINA = Person("gina", 5120)

FAR_PEOPLE = (
    ADA,
    BELA,
    Person("cora", 5103, "/bin/tcsh"),
    Person("fred", 5104, "/usr/bin/fish"),
    # without a .zshrc zsh asks its first-time questions, which nobody keeps for long
    Person("zoe", 5105, "/bin/zsh", dotfiles={".zshrc": "# zoe's\n"}),
    Person("dora", 5106, "/bin/sh"),
    Person(
        "nora",
        5107,
        dotfiles={
            ".bashrc": NOISE.format(file=".bashrc"),
            ".profile": NOISE.format(file=".profile"),
        },
    ),
    Person("nolan", 5108, "/usr/sbin/nologin"),
    Person("rex", 5109, dotfiles={".bashrc": "exit 3\n"}),
    Person("stranger", 5110, authorized=False),
)

# Slurm's imitation of Torque's commands; a login machine has the tests' whole Python environment.
TORQUE = f"{Path(sys.prefix).resolve()}/far/torque/usr/bin"
# Schedulers that cannot be had: their commands' stubs lie in the checkout. Only a login shell finds
# them, as on many clusters.
FIRST_IN_PATH = "PATH={directory}:$PATH\n"
PBS = FIRST_IN_PATH.format(directory=f"{SOURCE}/tests/stubs/pbs")
LSF = FIRST_IN_PATH.format(directory=f"{SOURCE}/tests/stubs/lsf")

CLUSTER_PEOPLE = (
    ADA,
    BELA,
    Person("pia", 5121, dotfiles={".profile": PBS}),
    Person("lars", 5122, dotfiles={".profile": LSF}),
    Person("tora", 5123, dotfiles={".profile": FIRST_IN_PATH.format(directory=TORQUE)}),
)

MACHINES = (
    Plan("laptop", (MIA,), has_source=True, desk_of=MIA),
    Plan("far", FAR_PEOPLE, ports=(22, 2222)),
    Plan("gw1", (GINA,), ports=(22,)),
    Plan("gw2", (GINA,), ports=(22,)),
    Plan("inner", (ADA,), ports=(22,)),
    # kernels are started from here, too
    Plan("login", CLUSTER_PEOPLE, ports=(22,), has_source=True),
    Plan("n1", CLUSTER_PEOPLE, ports=(22,)),
    Plan("n2", CLUSTER_PEOPLE, ports=(22,)),
    # behind NAT: it can dial out, and its sshd is reached from itself only
    Plan(
        *("box", (ADA,)),
        ports=(22,),
        has_source=True,
        desk_of=ADA,
        settings=("ListenAddress 127.0.0.1",),
    ),
    # a cluster of one machine
    Plan("oar", (ADA, BELA), ports=(22,)),
)

LINKS = (
    Link("laptop", "far", 1),
    Link("laptop", "gw1", 2),
    Link("gw1", "gw2", 3),
    Link("gw2", "inner", 4),
    Link("gw1", "login", 5),
    Link("laptop", "oar", 6),
    Link("far", "box", 7),
)

SGE_ROOT = "/srv/sge"
SGE_ENVIRONMENT = {
    "SGE_ROOT": SGE_ROOT,
    "SGE_CELL": "default",
    "SGE_QMASTER_PORT": "6444",
    "SGE_EXECD_PORT": "6445",
}
CLUSTER = Lan(
    ("login", "n1", "n2"),
    number=0,
    # bela has a home of her own on each machine
    shared=(*(who.home for who in CLUSTER_PEOPLE if who is not BELA), SGE_ROOT),
)
# For login shells only: a command that ssh is given finds nothing of this, as on many clusters.
CLUSTER_PROFILE = {
    "gridengine.sh": (
        "".join(f"export {name}={value}\n" for name, value in SGE_ENVIRONMENT.items())
        + "PATH=$SGE_ROOT/bin/lx-amd64:$PATH\n"
    ),
}


def machine(name: str) -> Plan:
    """The plan of the machine with this name."""
    return next(plan for plan in MACHINES if plan.name == name)


def links_of(name: str) -> list[Link]:
    """The cables that end in this machine."""
    return [link for link in LINKS if name in (link.left, link.right)]


def neighbours(name: str) -> list[Neighbour]:
    """The machines that this one reaches, the one towards the laptop first."""
    found = []
    for link in links_of(name):
        other = link.other(name)
        addresses = (link.address(other), link.address6(other))
        found.append(Neighbour(other, f"to-{other}", addresses))
    if name in CLUSTER.members:
        for other in CLUSTER.members:
            if other != name:
                found.append(Neighbour(other, CLUSTER.interface, (CLUSTER.address(other),)))
    return found


def person(machine_name: str, user: str) -> Person:
    """The account of that name on a machine; root has one everywhere."""
    if user == "root":
        return Person("root", 0)
    for candidate in machine(machine_name).people:
        if candidate.name == user:
            return candidate
    raise LookupError(f"nobody on {machine_name} is called {user}")


def environment(who: Person) -> dict[str, str]:
    """What a login sets, and nothing of the environment that the bed was started in."""
    system = f"{SYSTEM_PATH}:/usr/sbin:/sbin" if who.uid == 0 else SYSTEM_PATH
    return {
        "HOME": "/root" if who.uid == 0 else who.home,
        "USER": who.name,
        "LOGNAME": who.name,
        "SHELL": who.shell,
        "PATH": system,
        "LANG": "C.UTF-8",
    }


def sshd_config(machine: Plan, extra: tuple[str, ...] = ()) -> str:
    """Debian's settings without PAM; ``extra`` stands first because sshd takes the first value."""
    return "".join(
        f"{line}\n"
        for line in (
            *extra,
            *machine.settings,
            *(f"Port {port}" for port in machine.ports),
            "HostKey /etc/ssh/ssh_host_ed25519_key",
            "PidFile /run/sshd.pid",
            "LogLevel VERBOSE",  # logins can be counted
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "X11Forwarding yes",
            "PrintMotd no",
            "AcceptEnv LANG LC_*",
            "Subsystem sftp /usr/lib/openssh/sftp-server",
        )
    )


# A realm whose key server is ``far``, while a test lets it run there.
KRB5_CONF = """\
[libdefaults]
default_realm = BED
default_keytab_name = FILE:/run/krb5.keytab
dns_lookup_kdc = false
dns_lookup_realm = false
rdns = false
[realms]
BED = {
  kdc = far
}
"""

# A stack of PAM that wants a password, and does not make who has a wrong one wait.
BY_PASSWORD = ("auth required pam_unix.so nodelay", "account required pam_unix.so")

SSHD_LOG = "/var/log/sshd.log"
SSHD = ("/usr/sbin/sshd", "-f", "/etc/ssh/sshd_config", "-E", SSHD_LOG)
NEW_HOST_KEY = (
    *("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "host"),
    *("-f", "/etc/ssh/ssh_host_ed25519_key"),
)
