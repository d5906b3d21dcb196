"""The way without any ssh: the commands it builds, the texts it reads, and what asks for it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from remote_kernels import errors
from remote_kernels.hosts import Host
from remote_kernels.interfaces.ssh import Ssh
from remote_kernels.options import KernelOptions
from remote_kernels.way import CONFIG_NAME, Way

HERE = Path("/private")


def options(**given: object) -> KernelOptions:
    return KernelOptions(interface="ssh", **{"host": "me@host", **given})  # type: ignore[arg-type]


def test_the_command() -> None:
    found = Ssh.session_command(
        options(
            host="me@[::1]:22", tunnel_hosts=("gw", "you@[fd::1]:2222"), launch_args="-i 'a b'"
        ),
        HERE,
        "START",
    )
    assert found[:5] == ["ssh", "-F", "/private/ssh_config", "-i", "a b"]
    assert found[-10:] == [
        *("-T", "-J", "gw,you@[fd::1]:2222", "-p", "22", "-l", "me", "--", "::1", "START"),
    ]


def test_what_holds_whatever_the_users_configuration_says() -> None:
    found = Ssh.session_command(options(launch_args="-tt -o LogLevel=QUIET"), HERE, "START")
    said = [found[n + 1] for n, word in enumerate(found) if word == "-o"]
    # ssh takes the first -o of a name, and the last of -t and -T.
    assert said == [
        *("LogLevel=QUIET", "RemoteCommand=none", "ClearAllForwardings=yes"),
        *("LogLevel=INFO", "ControlMaster=auto", "ControlPersist=no"),
    ]
    assert found.index("-T") > found.index("-tt")


def test_the_command_of_another_program() -> None:
    found = Ssh.session_command(options(launch_cmd="'/opt/my ssh' -4"), HERE, "START")
    assert found[:4] == ["/opt/my ssh", "-4", "-F", "/private/ssh_config"]


def test_a_terminal_over_there_is_asked_for_in_place_of_none() -> None:
    found = Way(Host("host"), args=("-T",)).command(HERE, "START", terminal=True)
    assert [word for word in found if word in ("-T", "-t", "-tt")] == ["-T", "-tt"]
    assert found[-3:] == ["--", "host", "START"]


def test_no_command_and_other_options() -> None:
    found = Way(Host("host")).command(HERE, options=["A=b", "C=d"])
    config = f"/private/{CONFIG_NAME}"
    assert found == ["ssh", "-F", config, "-o", "A=b", "-o", "C=d", "-T", "--", "host"]


def test_the_way_to_a_node_goes_through_the_host_as_the_same_user() -> None:
    way = Way(
        Host.parse("me@login:2222"), (Host("gw"),), ("ssh", "-4"), args=("-v",), users_config="x"
    )
    node = way.to_node("n1")
    assert (node.host, node.gateways) == (Host("n1", "me"), (Host("gw"), way.host))
    assert (node.program, node.args, node.users_config) == (way.program, way.args, "x")
    assert str(node) == "me@n1 (via gw, me@login:2222)"
    command = node.command(HERE)
    assert command[command.index("-J") + 1] == "gw,me@login:2222"
    assert "-p" not in command
    assert command[-4:] == ["-l", "me", "--", "n1"]


def test_a_way_for_a_person() -> None:
    assert str(Way(Host.parse("me@host:22"))) == "me@host:22"


@pytest.mark.parametrize(
    ("launch_args", "included", "left"),
    [
        ("", ["Include ~/.ssh/config", "Include /etc/ssh/ssh_config"], []),
        ("-4 -F none", [], ["-4"]),
        ("-F '/a b'", ['Include "/a b"'], []),
        ("-F/a/b -v", ['Include "/a/b"'], ["-v"]),
    ],
)
def test_the_users_configuration_comes_before_ours(
    launch_args: str, included: list[str], left: list[str]
) -> None:
    given = options(launch_args=launch_args)
    lines = Ssh.way(given).config(can_ask=False).splitlines()
    assert [line for line in lines if line.startswith("Include")] == included
    assert lines.index("Host *") > max([lines.index(x) for x in included], default=0)
    command = Ssh.session_command(given, HERE, "")
    assert command[3 : command.index("-o")] == left


@pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh")
def test_the_users_configuration_decides(tmp_path: Path) -> None:
    users = tmp_path / "users config"
    users.write_text("Host strict\n StrictHostKeyChecking yes\n ControlPath /mine\n")
    ours = tmp_path / "config"
    way = Way(Host("any"), users_config=str(users))
    ours.write_text(way.config(can_ask=False, socket=f"{tmp_path}/%C"))

    def settings(host: str) -> dict[str, str]:
        done = subprocess.run(
            ["ssh", "-G", "-F", str(ours), host], capture_output=True, text=True, check=True
        )
        return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)

    assert settings("strict")["stricthostkeychecking"] == "true"
    assert settings("strict")["controlpath"] == "/mine"
    other = settings("other")
    assert other["stricthostkeychecking"] == "accept-new"
    assert "controlpath" not in other
    assert settings("any")["controlpath"].startswith(str(tmp_path))
    assert other["batchmode"] == "yes"


def test_questions_are_allowed_where_somebody_answers() -> None:
    way = Way(Host("host"))
    assert "BatchMode" not in way.config(can_ask=True)
    # ssh takes the first value that it finds.
    assert way.config(can_ask=False).startswith("BatchMode yes\n")


REFUSALS = [
    # What OpenSSH 9.2 prints, without the banner that may stand before it.
    (
        ["ssh: Could not resolve hostname host: Name or service not known"],
        errors.HostUnknownError,
    ),
    (["ssh: connect to host host port 22: Connection refused"], errors.HostRefusedError),
    (["ssh: connect to host host port 22: No route to host"], errors.HostUnreachableError),
    (["ssh: connect to host host port 22: Operation timed out"], errors.HostUnreachableError),
    (["Connection timed out during banner exchange"], errors.HostUnreachableError),
    (
        [
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @",
            "Offending ED25519 key in /home/me/.ssh/known_hosts:3",
            "Host key for host has changed and you have requested strict checking.",
            "Host key verification failed.",
        ],
        errors.HostKeyChangedError,
    ),
    (
        [
            "No ED25519 host key is known for [host]:2222 and you have requested strict checking.",
            "Host key verification failed.",
        ],
        errors.HostKeyUnknownError,
    ),
    (["me@host: Permission denied (publickey,password)."], errors.PermissionDeniedError),
    (
        ["Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures"],
        errors.PermissionDeniedError,
    ),
    (
        ["kex_exchange_identification: Connection closed by remote host"],
        errors.HostClosedError,
    ),
    (["something new"], errors.LoginError),
]


@pytest.mark.parametrize(("said", "cause"), REFUSALS)
def test_what_ssh_prints_is_understood(
    said: list[str], cause: type[errors.RemoteKernelsError]
) -> None:
    error = Ssh.way(options()).login_error(["Welcome to host!", *said], str)
    assert type(error) is cause
    assert "host" in error.sentence


def test_the_gateway_is_named_by_the_users_own_name_for_it() -> None:
    given = options(tunnel_hosts=("first", "gw"))
    said = ["you@gw.example.org: Permission denied (publickey).", "Connection closed by UNKNOWN"]
    error = Ssh.way(given).login_error(said, lambda name: f"{name}.example.org")
    assert error.sentence == "the gateway gw failed: gw denied permission"


def test_a_gateway_of_the_users_configuration_is_named() -> None:
    said = ["you@gw.example.org: Permission denied (publickey).", "Connection closed by UNKNOWN"]
    error = Ssh.way(options()).login_error(said, str)
    assert type(error) is errors.GatewayError
    assert error.sentence == "the gateway gw.example.org failed: gw.example.org denied permission"


def test_a_host_and_a_gateway_of_one_name() -> None:
    given = options(host="me@localhost:19506", tunnel_hosts=("localhost",))
    error = Ssh.way(given).login_error(["me@localhost: Permission denied (publickey)."], str)
    assert type(error) is errors.PermissionDeniedError


@pytest.mark.parametrize(
    ("gateways", "named"),
    [(("first", "gw"), "first, gw"), ((), "the ProxyJump or ProxyCommand")],
)
@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "channel 0: open failed: administratively prohibited: open failed",
            "{gateway} does not forward connections to me@host",
        ),
        (
            "channel 0: open failed: connect failed: No route to host",
            "{gateway} could not reach the next host on the way to me@host",
        ),
        (
            "stdio forwarding failed",
            "{gateway} could not reach the next host on the way to me@host",
        ),
    ],
)
def test_a_gateway_that_leads_nowhere(
    gateways: tuple[str, ...], named: str, said: str, sentence: str
) -> None:
    lines = [said, "Connection closed by UNKNOWN port 65535"]
    error = Ssh.way(options(tunnel_hosts=gateways)).login_error(lines, str)
    assert type(error) is errors.GatewayError
    assert error.sentence == sentence.format(gateway=named)


def test_a_node_is_told_from_the_login_host() -> None:
    node = Way(Host.parse("me@login")).to_node("n1")
    denied = node.login_error(["me@n1: Permission denied (publickey)."], str)
    assert denied.sentence == "me@n1 denied permission"
    assert type(denied) is errors.PermissionDeniedError
    way_there = node.login_error(["me@login: Permission denied (publickey)."], str)
    assert way_there.sentence == "the gateway me@login failed: me@login denied permission"


@pytest.mark.parametrize("hosts", [{"host": "a b"}, {"tunnel_hosts": ("ok", "a,b")}])
def test_what_is_no_host_is_refused(hosts: dict[str, object]) -> None:
    with pytest.raises(errors.OptionsError, match="is no host"):
        Ssh.check(options(**hosts))


@pytest.mark.parametrize("field", ["launch_cmd", "launch_args"])
def test_unpaired_quotation_marks_are_refused(field: str) -> None:
    with pytest.raises(errors.OptionsError, match="cannot be read"):
        Ssh.check(options(**{field: "it's"}))
