"""``lab`` on this machine: what is made of what the far side says, ports, and command lines."""

from __future__ import annotations

import json
import shlex
import socket
from pathlib import Path
from typing import Any, cast

import click
import pytest

from remote_kernels import errors
from remote_kernels.cli.lab import _wanted, _words_back, lab
from remote_kernels.cli.params import changes, server_changes
from remote_kernels.connection_file import ConnectionFile
from remote_kernels.errand import Errand
from remote_kernels.errors import ForwardError, OptionsError, RemoteKernelsError, ServerError
from remote_kernels.keeper_order import server_order
from remote_kernels.lab import Server, ServerLife, Wanted, in_job, servers
from remote_kernels.options import KernelOptions
from remote_kernels.profiles import config_file

FACTS: dict[str, Any] = {
    **dict.fromkeys(("directory", "job", "says", "keeper", "interface", "version", "job_name"), ""),
    **{"id": "1", "name": "jupyter lab", "node": "far", "state": "running", "base_url": "/"},
    **{"token": "t", "here": True, "ours": True, "told": True, "secure": False, "password": False},
    **{"pid": 1, "since": 1.0, "address": ["127.0.0.1", 8888]},
}


def says(*answers: Any) -> Errand:
    """A host that answers so."""

    class Host:
        node = "far"

        def ask(self, name: str, *arguments: Any) -> Any:
            return answers[0]

    return cast(Errand, Host())


@pytest.mark.parametrize(
    "answer",
    [
        *(None, {}, [None], [[]], [{}], "x"),
        *([{**FACTS, name: None}] for name in FACTS if name != "address"),
        *([{**FACTS, "address": x}] for x in (7, [1, 2], ["x"], ["x", True], ["x", "y"])),
        [{**FACTS, "pid": "1"}],
        [{**FACTS, "token": ["x"]}],
    ],
)
def test_a_host_that_talks_nonsense(answer: Any) -> None:
    with pytest.raises(RemoteKernelsError, match="in no way that we know"):
        servers(says(answer), "")


def test_of_two_keepers_that_tell_of_one_job_the_one_on_the_login_host_is_asked() -> None:
    on_node = {**FACTS, "state": "starting"}
    on_login = {**FACTS, "job": "3", "job_name": "x", "interface": "slurm"}
    other = {**FACTS, "id": "2"}
    found = servers(says([on_node, on_login, other]), "")
    assert [server.facts for server in found] == [on_login, other]


@pytest.mark.parametrize("facts", [{"says": "job 3 PENDING", "job": "3"}, {"job": ""}])
def test_a_job_that_waits_is_no_server_yet(facts: dict[str, str]) -> None:
    wanted = Wanted(KernelOptions(interface="ssh", host="far"), "jupyter lab", 0)
    with pytest.raises(ServerError, match="waits for its job: ") as caught:
        in_job(wanted, Server({**FACTS, "job_name": "jupyter-rk1", **facts}), print)
    assert "--stop gives the job back" in caught.value.advice


@pytest.mark.parametrize(
    ("facts", "url"),
    [
        ({}, "http://127.0.0.1:9/?token=t"),
        ({"token": "", "secure": True}, "https://127.0.0.1:9/"),
        ({"token": "a&b=#c d/é"}, "http://127.0.0.1:9/?token=a%26b%3D%23c%20d%2F%C3%A9"),
        ({"base_url": "/user/me/"}, "http://127.0.0.1:9/user/me/?token=t"),
        # It leads nowhere else, nor can anything be slipped in.
        ({"base_url": "@evil.example/"}, "http://127.0.0.1:9/@evil.example/?token=t"),
        ({"base_url": "//evil.example/"}, "http://127.0.0.1:9/evil.example/?token=t"),
        ({"base_url": "0/x"}, "http://127.0.0.1:9/0/x?token=t"),
        ({"base_url": '/"><script>\n#?'}, "http://127.0.0.1:9/%22%3E%3Cscript%3E%0A%23%3F?token=t"),
    ],
)
def test_where_the_browser_goes(facts: dict[str, Any], url: str) -> None:
    assert Server({**FACTS, **facts}).url(9) == url


def test_what_lets_somebody_in_is_not_for_programs() -> None:
    data = Server({**FACTS, "token": "secret"}).data()
    assert "secret" not in json.dumps(data)
    assert (data["id"], data["state"], data["base_url"]) == ("1", "running", "/")


def test_a_port_is_the_same_each_time_if_it_is_free() -> None:
    wanted = Wanted(KernelOptions(interface="ssh", host="far", workdir="x"), "jupyter lab", 0)
    port = wanted.near_port()
    assert wanted.near_port() == port
    other = wanted._replace(options=wanted.options._replace(workdir="y"))
    assert other.near_port() != port
    with socket.create_server(("127.0.0.1", port)):
        assert wanted.near_port() != port
        with pytest.raises(ForwardError, match=f"port {port} of this machine cannot be used: "):
            wanted._replace(port=port).near_port()


# --- what starts it -------------------------------------------------------------------------------


def life(app: str = "jupyter lab", **options: Any) -> ServerLife:
    info = {"transport": "tcp", "ip": "127.0.0.1", "port": 1, "key": "secret"}
    file = ConnectionFile(Path("/nowhere"), info, "0123abcd-1")
    usual: dict[str, Any] = {"interface": "ssh", "host": "far", "kernel_cmd": app, "keep": True}
    return ServerLife(KernelOptions(**{**usual, **options}), file)


def command(dialect: str, app: str = "jupyter lab", **options: Any) -> str:
    """The last lines of what a login shell is given; what is known over there stands as <name>."""
    order = server_order(life(app, **options))
    assert order.file == ["secret"]
    parts = (x if isinstance(x, str) else f"<{x[0]}>" for x in order.texts[dialect])
    text = "".join(parts)
    assert "secret" not in text
    return "\n".join(text.splitlines()[-2:])


def test_what_starts_a_server() -> None:
    rest = "--no-browser --ip=127.0.0.1 --ServerApp.port_retries=0 --port=<port>"
    assert command("sh") == f"export JUPYTER_TOKEN_FILE=<path>\njupyter lab {rest}"
    assert command("fish") == f"set -gx JUPYTER_TOKEN_FILE <path>\njupyter lab {rest}"
    assert command("csh") == f"setenv JUPYTER_TOKEN_FILE <path>\njupyter lab {rest}"
    on_socket = command("sh", transport="ipc")
    assert on_socket.endswith("jupyter lab --no-browser --port=8888 --sock=<ip>-<port>")
    own = command("sh", "serve {port} --at=:{port}/")
    assert own.endswith("\nserve <port> --at=:<port>/")


def test_an_end_in_words(tmp_path: Path) -> None:
    server = life("jupyter lab")
    server.stage, server.far_status = "starting", 1
    server.said.append("Jupyter command `jupyter-lab` not found.")
    error = server.end_error(tmp_path)
    assert isinstance(error, ServerError)
    assert error.sentence == "the server could not be started: jupyter lab"
    assert "pip install jupyterlab" in error.advice
    server.said.clear()
    server.said.append("error: no such option")
    assert server.end_error(tmp_path).advice == "run the command by hand over there"
    server.stage = "up"
    assert server.end_error(tmp_path).sentence == "the server ended with status 1"
    server.event("STOPPED")
    error = server.end_error(tmp_path)
    assert isinstance(error, errors.KernelStoppedError)
    assert error.sentence == "the server was stopped with 'remote-kernels lab --stop'"


# --- the command line -----------------------------------------------------------------------------

HOSTS = """
[hosts.gpu]
host = "me@gpu"
tunnel_hosts = ["me@gw1", "me@gw2"]
workdir = "~/my project"
port = 8889
app = "jupyter notebook"

[hosts.cluster]
host = "me@login"
interface = "slurm"
"""


@pytest.fixture
def hosts(kernels: Path) -> None:
    """Two hosts with names of their own."""
    config_file().parent.mkdir(parents=True)
    config_file().write_text(HOSTS, encoding="utf-8")


def read(text: str) -> tuple[str, Wanted]:
    """A command line of ``lab``: the host, and what is wanted."""
    ctx = lab.make_context("lab", shlex.split(text))
    (host,) = ctx.params["hosts"]
    return host, _wanted(host, changes(ctx.params), server_changes(ctx.params))


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("me@far", "me@far"),
        ("me@far:2222 --workdir ~/x --port 9", "me@far:2222 '--workdir=~/x'"),
        ("far --tunnel-hosts a b --workdir 'my x'", "far --tunnel-hosts a b --workdir 'my x'"),
        ("login --interface slurm --cpus 4 --tunnel-hosts a", "login --tunnel-hosts a"),
        ("far --remote-launch-args '-p 2'", "far '--remote-launch-args=-p 2'"),
        ("gpu", "gpu"),
        ("gpu --workdir other", "gpu --workdir other"),
        ("gpu --workdir ''", "gpu '--workdir=~'"),
        ("gpu --tunnel-hosts a", "me@gpu --tunnel-hosts a '--workdir=~/my project'"),
        ("cluster --cpus 4", "cluster"),
    ],
)
def test_what_leads_back(hosts: None, text: str, back: str) -> None:
    host, wanted = read(text)
    assert shlex.join(_words_back(host, wanted)) == back
    again = read(back)[1]
    assert again.way == wanted.way
    assert (again.options.workdir or "~") == (wanted.options.workdir or "~")


def test_what_a_profile_says_of_its_server(hosts: None) -> None:
    wanted = read("gpu")[1]
    assert (wanted.app, wanted.port) == ("jupyter notebook", 8889)
    assert str(wanted.way) == "me@gpu (via me@gw1, me@gw2)"
    wanted = read("gpu --app 'jupyter lab' --port 9")[1]
    assert (wanted.app, wanted.port) == ("jupyter lab", 9)
    wanted = read("cluster --tunnel-hosts me@gw")[1]
    assert wanted.options.tunnel_hosts == ("me@gw", "me@login")
    assert wanted.app == "jupyter lab"


def test_names_of_hosts_are_completed(hosts: None) -> None:
    def completed(start: str) -> list[str]:
        ctx = click.Context(lab)
        return [item.value for item in lab.params[0].shell_complete(ctx, start)]

    assert completed("") == ["gpu", "cluster"]
    assert completed("g") == ["gpu"]
    assert completed("me@") == []
    config_file().write_text("[hosts", encoding="utf-8")
    assert completed("") == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("far --interface local", "goes to no host"),
        ("far --cpus 4", "cannot use --cpus"),
        ("far --lease x", "--lease"),
    ],
)
def test_what_cannot_be_wanted(kernels: Path, text: str, error: str) -> None:
    with pytest.raises((click.UsageError, OptionsError), match=error):
        read(text)
