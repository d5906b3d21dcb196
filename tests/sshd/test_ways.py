"""The ways to a host: ports, addresses, aliases, gateways, shells, shared connections."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bed import Bed, wait_until
from frontend import Kernel, Site, add_kernel, remote_kernels

SSH_CONFIG = Path.home() / ".ssh/config"


def node(site: Site, directory: Path, *options: str) -> str:
    """The name of the machine that a kernel finds itself on."""
    with Kernel(add_kernel(site, *options), directory) as kernel:
        return str(kernel.value("__import__('platform').node()"))


@pytest.mark.parametrize(
    "host", ["ada@far:2222", "ada@fd66:1::2", "ada@[fd66:1::2]:2222", "ada@10.66.1.2"]
)
def test_a_port_and_an_address(bed: Bed, tmp_path: Path, host: str) -> None:
    site = Site(bed.far, "ada", bed.far_python, ["-i", "ssh", "-x", host])
    assert node(site, tmp_path) == "far"
    assert bed.far.logins() == ["ada"]


def test_an_alias_of_the_users_configuration(bed: Bed, tmp_path: Path) -> None:
    SSH_CONFIG.write_text(
        "Host gpu\n  HostName inner\n  User ada\n  ProxyJump gina@gw1,hop\n"
        "  RemoteCommand tmux\n  RequestTTY force\n  LocalForward 9999 localhost:9999\n"
        "  ExitOnForwardFailure yes\n"
        "Host hop\n  HostName gw2\n  User gina\n"
    )
    site = Site(bed.inner, "ada", bed.far_python, ["-i", "ssh", "-x", "gpu"])
    with Kernel(add_kernel(site), tmp_path), Kernel(add_kernel(site), tmp_path) as second:
        # A forward that the person has configured for logins of their own is not ours to hold.
        assert 9999 not in bed.laptop.listening_ports()
        assert second.value("__import__('platform').node()") == "inner"


def test_aliases_as_gateways(bed: Bed, tmp_path: Path) -> None:
    SSH_CONFIG.write_text("Host a\n  HostName gw1\n  User gina\nHost b\n  HostName gw2\n")
    options = ["-i", "ssh", "-x", "ada@inner", "-t", "a", "-t", "gina@b:22"]
    assert node(Site(bed.inner, "ada", bed.far_python, options), tmp_path) == "inner"
    assert [m.logins() for m in (bed.gw1, bed.gw2, bed.inner)] == [["gina"], ["gina"], ["ada"]]


def test_one_login_for_one_kernel(bed: Bed, tmp_path: Path) -> None:
    site = Site(bed.far, "ada", bed.far_python, ["-i", "ssh", "-x", "ada@far"])
    with Kernel(add_kernel(site), tmp_path) as kernel:
        kernel.value("1")
        assert bed.far.logins() == ["ada"]


@pytest.mark.needs("tcsh", "fish", "zsh")
@pytest.mark.parametrize(
    ("user", "precmd"),
    [
        ("ada", "export WHERE=here; alias x=y"),
        ("cora", "setenv WHERE here"),
        ("fred", "set -x WHERE here"),
        ("zoe", "export WHERE=here"),
        ("dora", "WHERE=here; export WHERE"),
        ("nora", "export WHERE=here"),
    ],
)
def test_login_shells(bed: Bed, tmp_path: Path, user: str, precmd: str) -> None:
    site = Site(bed.far, user, bed.far_python, ["-i", "ssh", "-x", f"{user}@far"])
    with Kernel(add_kernel(site, f"--remote-precmd={precmd}"), tmp_path) as kernel:
        assert kernel.value("__import__('os').environ['WHERE']") == "here"
        cell = kernel.begin("import time\nwhile True: time.sleep(0.1)")
        kernel.signal_launcher(2)
        assert kernel.reply_to(cell)["ename"] == "KeyboardInterrupt"
        cell = kernel.begin("import time\nwhile True: time.sleep(0.1)")
        kernel.signal_launcher(2)
        assert kernel.reply_to(cell)["ename"] == "KeyboardInterrupt"
        assert kernel.shut_down() == 0


def test_the_environment_is_that_of_a_login(bed: Bed, tmp_path: Path) -> None:
    bed.far.write("/home/bela/.bash_profile", "export A=profile\n. ~/.bashrc\n", user="bela")
    bashrc = bed.far.read("/home/bela/.bashrc")
    # Behind the guard that Debian's .bashrc begins with: conda's set-up stands there.
    bed.far.write("/home/bela/.bashrc", bashrc + "\nPATH=/conda/bin:$PATH\n", user="bela")
    site = Site(bed.far, "bela", bed.far_python, ["-i", "ssh", "-x", "bela@far"])
    try:
        with Kernel(add_kernel(site), tmp_path) as kernel:
            environ = kernel.value("dict(__import__('os').environ)")
    finally:
        bed.far.write("/home/bela/.bashrc", bashrc, user="bela")
        bed.far.run(["rm", ".bash_profile"], user="bela")
    assert environ["A"] == "profile"
    assert environ["PATH"].startswith("/conda/bin:")


@pytest.mark.parametrize("options", [[], ["--channel=forward"]])
@pytest.mark.parametrize("persist", ["no", "60"])
def test_a_connection_that_the_user_shares(
    bed: Bed, tmp_path: Path, persist: str, options: list[str]
) -> None:
    SSH_CONFIG.write_text(
        f"Host far\n  ControlMaster auto\n  ControlPath ~/.ssh/cm-%C\n  ControlPersist {persist}\n"
    )
    site = Site(bed.far, "ada", bed.far_python, ["-i", "ssh", "-x", "ada@far"])
    try:
        with Kernel(add_kernel(site, *options), tmp_path) as first:
            with Kernel(add_kernel(site, *options), tmp_path) as second:
                assert second.value("1") == 1
                ports = {second.manager.shell_port, second.manager.hb_port}
                assert ports <= bed.laptop.listening_ports()
            wait_until(lambda: not ports & bed.laptop.listening_ports(), 20, "closed ports")
            assert first.value("2") == 2
        assert bed.far.logins() == ["ada"]
    finally:
        subprocess.run(["ssh", "-O", "exit", "ada@far"], capture_output=True, check=False)


def test_the_users_ssh_arguments_and_program(bed: Bed, tmp_path: Path) -> None:
    wrapper = tmp_path / "my ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} "$@"\n')
    wrapper.chmod(0o755)
    config = tmp_path / "my config"
    config.write_text("Host faraway\n  HostName far\n  Port 2222\n")
    site = Site(bed.far, "ada", bed.far_python, ["-i", "ssh", "-x", "ada@faraway"])
    options = [f"--launch-cmd='{wrapper}'", f"--remote-launch-args=-F '{config}' -4 -v"]
    assert node(site, tmp_path, *options) == "far"


def test_a_host_that_looks_like_an_option_runs_nothing(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for host in (f"-oProxyCommand=touch {canary}", "$(touch canary)", "x;y", "a b", ""):
        with pytest.raises(AssertionError):
            remote_kernels("manage", "-a", "-i", "ssh", "-n", "x", "-k", "x", f"--host={host}")
    assert not canary.exists()


def test_a_directory_and_a_name_with_everything_in_them(bed: Bed, tmp_path: Path) -> None:
    # No $HOME: ipykernel itself expands variables in the path of its connection file.
    name = "a b'c\"d$x`id`\\ü☂(e)"
    bed.far.run(["mkdir", name], user="ada")
    site = Site(bed.far, "ada", bed.far_python, ["-i", "ssh", "-x", "ada@far"])
    spec = add_kernel(site, f"--workdir=~/{name}", name="weird " + name)
    with Kernel(spec, tmp_path) as kernel:
        assert kernel.value("__import__('os').getcwd()") == f"/home/ada/{name}"
        assert any(name in path for path in site.connection_files())
    bed.far.run(["rmdir", name], user="ada")


def test_long_lines_and_control_characters_arrive(bed: Bed, tmp_path: Path) -> None:
    # A terminal that is not raw takes 4096 bytes for a line, ^D for its end and ^C for a signal.
    text = "x" * 10_000 + "\x03\x04\t\r\x7f"
    site = Site(bed.far, "ada", bed.far_python, ["-i", "ssh", "-x", "ada@far"])
    with Kernel(add_kernel(site, f"--remote-precmd=export TEXT='{text}'"), tmp_path) as kernel:
        assert kernel.value("__import__('os').environ['TEXT']") == text


FORBIDDEN = (
    "PermitTTY no",
    "MaxSessions 1",
    "AllowTcpForwarding no",
    "AllowStreamLocalForwarding no",
)


@pytest.mark.parametrize("settings", [*((one,) for one in FORBIDDEN), FORBIDDEN])
def test_what_an_sshd_may_refuse(bed: Bed, tmp_path: Path, settings: tuple[str, ...]) -> None:
    site = Site(bed.far, "ada", bed.far_python, ["-i", "ssh", "-x", "ada@far"])
    with bed.far.sshd(*settings):
        assert node(site, tmp_path) == "far"


def test_ssh_askpass_answers_for_the_person(
    bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, asked = tmp_path / "key", tmp_path / "asked"
    shutil.copy(Path.home() / ".ssh/id_ed25519", key)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "open sesame", "-f", key], check=True)
    askpass = tmp_path / "askpass"
    askpass.write_text(f'#!/bin/sh\necho "$1" >> {asked}\necho open sesame\n')
    askpass.chmod(0o700)
    site = Site(bed.far, "ada", bed.far_python, ["-i", "ssh", "-x", "ada@far"])
    spec = add_kernel(site, f"--remote-launch-args=-F none -i {key}")
    kernel = Kernel(spec, tmp_path)
    kernel.start()
    assert kernel.launcher_status(timeout=30) == 17
    assert "in a terminal: remote-kernels login ada@far" in kernel.stderr()
    kernel.__exit__(None, None, None)
    monkeypatch.setenv("SSH_ASKPASS", str(askpass))
    with Kernel(spec, tmp_path):
        assert asked.read_text().startswith("Enter passphrase for key")
        assert asked.read_text().count("\n") == 1


# --- what the user's configuration says -----------------------------------------------------------

KDC_CONF = """\
[realms]
BED = {
  database_name = /run/kdc/principal
  key_stash_file = /run/kdc/stash
}
"""


@contextmanager
def kerberos(bed: Bed) -> Iterator[None]:
    """``far`` is a realm's key server, and takes ada's tickets for a login."""
    env = {"KRB5_KDC_PROFILE": "/run/kdc/kdc.conf"}
    run = bed.far.run
    run(["mkdir", "-m", "700", "/run/kdc"])
    run(["tee", "/run/kdc/kdc.conf"], input=KDC_CONF)
    run(["kdb5_util", "create", "-s", "-P", "master"], env=env)
    for query in ("addprinc -pw secret ada", "addprinc -randkey host/far", "ktadd host/far"):
        run(["kadmin.local", "-q", query], env=env)
    run(["krb5kdc", "-P", "/run/kdc/pid"], env=env)
    gssapi = ("GSSAPIAuthentication yes", "GSSAPIStrictAcceptorCheck no")
    try:
        with bed.far.sshd(*gssapi, "PubkeyAuthentication no"):
            yield
    finally:
        run(["pkill", "-F", "/run/kdc/pid"])
        run(["rm", "-r", "/run/kdc", "/run/krb5.keytab"])


@pytest.mark.needs("kerberos")
def test_a_ticket_of_kerberos(bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SSH_CONFIG.write_text("Host far\n  GSSAPIAuthentication yes\n")
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/tickets")
    site = Site(bed.far, "ada", bed.far_python, ["-i", "ssh", "-x", "ada@far"])
    with kerberos(bed):
        subprocess.run(["kinit", "ada"], input="secret\n", text=True, check=True)
        assert node(site, tmp_path) == "far"
        assert "Accepted gssapi-with-mic for ada" in bed.far.sshd_log()


def test_match_blocks_and_included_files(bed: Bed, tmp_path: Path) -> None:
    included = tmp_path / "included"
    included.write_text("Match originalhost gpu user ada\n  HostName far\n  Port 2222\n")
    SSH_CONFIG.write_text(f"Include {included}\n")
    site = Site(bed.far, "ada", bed.far_python, ["-i", "ssh", "-x", "ada@gpu"])
    assert node(site, tmp_path) == "far"
    assert "port 2222" in bed.far.sshd_log()


def test_a_proxy_command(bed: Bed, tmp_path: Path) -> None:
    SSH_CONFIG.write_text(
        "Host inner\n  ProxyCommand ssh -J gina@gw1 -W %h:%p gina@gw2\n"
        "Host *\n  StrictHostKeyChecking accept-new\n"
    )
    site = Site(bed.inner, "ada", bed.far_python, ["-i", "ssh", "-x", "ada@inner"])
    assert node(site, tmp_path) == "inner"


def test_the_agent_that_is_forwarded(
    bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SSH_CONFIG.write_text("Host far\n  ForwardAgent yes\n")
    agent = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    for name in ("SSH_AUTH_SOCK", "SSH_AGENT_PID"):
        monkeypatch.setenv(name, agent.partition(f"{name}=")[2].partition(";")[0])
    try:
        subprocess.run(["ssh-add", "-q"], check=True)
        site = Site(bed.far, "ada", bed.far_python, ["-i", "ssh", "-x", "ada@far"])
        with Kernel(add_kernel(site), tmp_path) as kernel:
            listed = kernel.value("__import__('subprocess').getoutput('ssh-add -l')")
            assert "mia@laptop" in listed
    finally:
        subprocess.run(["ssh-agent", "-k"], capture_output=True, check=True)
