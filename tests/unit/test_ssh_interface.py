"""The interface ``ssh`` without any ssh: the commands it builds, the texts it reads."""

import shutil
import subprocess
from pathlib import Path

import pytest

from remote_kernels import errors
from remote_kernels.interfaces.ssh import Ssh, config_text
from remote_kernels.options import KernelOptions

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
    lines = Ssh.ssh_config(given, HERE).splitlines()
    assert [line for line in lines if line.startswith("Include")] == included
    assert lines.index("Host *") > max([lines.index(x) for x in included], default=0)
    command = Ssh.session_command(given, HERE, "")
    assert command[3 : command.index("-o")] == left


@pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh")
def test_the_users_configuration_decides(tmp_path: Path) -> None:
    users = tmp_path / "users config"
    users.write_text("Host strict\n StrictHostKeyChecking yes\n ControlPath /mine\n")
    ours = tmp_path / "config"
    ours.write_text(config_text(str(users), tmp_path, can_ask=False))

    def settings(host: str) -> dict[str, str]:
        done = subprocess.run(
            ["ssh", "-G", "-F", str(ours), host], capture_output=True, text=True, check=True
        )
        return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)

    assert settings("strict")["stricthostkeychecking"] == "true"
    assert settings("strict")["controlpath"] == "/mine"
    other = settings("other")
    assert other["stricthostkeychecking"] == "accept-new"
    assert other["controlpath"].startswith(str(tmp_path))
    assert other["batchmode"] == "yes"


def test_questions_are_allowed_where_somebody_answers() -> None:
    assert "BatchMode" not in config_text(None, HERE, can_ask=True)


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
        errors.HostUnreachableError,
    ),
    (["something new"], errors.LoginError),
]


@pytest.mark.parametrize(("said", "cause"), REFUSALS)
def test_what_ssh_prints_is_understood(
    said: list[str], cause: type[errors.RemoteKernelsError]
) -> None:
    error = Ssh.login_error(options(), ["Welcome to host!", *said], str)
    assert type(error) is cause
    assert "host" in error.sentence


def test_the_gateway_is_named_by_the_users_own_name_for_it() -> None:
    given = options(tunnel_hosts=("first", "gw"))
    said = ["you@gw.example.org: Permission denied (publickey).", "Connection closed by UNKNOWN"]
    error = Ssh.login_error(given, said, lambda name: f"{name}.example.org")
    assert error.sentence == "the gateway gw failed: gw denied permission"


def test_a_gateway_of_the_users_configuration_is_named() -> None:
    said = ["you@gw.example.org: Permission denied (publickey).", "Connection closed by UNKNOWN"]
    error = Ssh.login_error(options(), said, str)
    assert type(error) is errors.GatewayError
    assert error.sentence == "the gateway gw.example.org failed: gw.example.org denied permission"


def test_a_host_and_a_gateway_of_one_name() -> None:
    given = options(host="me@localhost:19506", tunnel_hosts=("localhost",))
    error = Ssh.login_error(given, ["me@localhost: Permission denied (publickey)."], str)
    assert type(error) is errors.PermissionDeniedError


@pytest.mark.parametrize("field", ["launch_cmd", "launch_args"])
def test_unpaired_quotation_marks_are_refused(field: str) -> None:
    with pytest.raises(errors.OptionsError, match="cannot be read"):
        Ssh.check(options(**{field: "it's"}))
