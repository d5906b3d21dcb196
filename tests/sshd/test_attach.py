"""``attach``: front ends here at a kernel that somebody else has started there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
from jupyter_client.blocking.client import BlockingKernelClient

from attached import HOME, RUNTIME, Attached, by_hand, client_of, printed, reply_to
from bed import Bed, wait_until
from frontend import Kernel, Person, assert_block, failing, log_text, ours, ran, remote_kernels
from remote_kernels import kernelspecs

# What ada's browser says to her server: how, to which address, and the code of a cell.
BROWSER = """
import asyncio, json, sys, urllib.request, uuid
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

how, address, code = sys.argv[1:]
key = {"Authorization": "token known"}

async def run():
    line = await websocket_connect(HTTPRequest(address.replace("http", "ws", 1), headers=key))
    names = dict.fromkeys(("msg_id", "session"), uuid.uuid4().hex)
    header = {**names, "msg_type": "execute_request", "username": "ada", "version": "5.3"}
    message = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}}
    await line.write_message(json.dumps({**message, "content": {"code": code}, "buffers": []}))
    while True:
        message = json.loads(await line.read_message())
        if message["parent_header"].get("msg_id") == names["msg_id"]:
            print(end=message["content"].get("text", ""))
            if message["content"].get("execution_state") == "idle":
                return

if how == "CELL":
    asyncio.run(run())
else:
    asked = urllib.request.Request(address, headers=key, method=how)
    print(urllib.request.urlopen(asked, timeout=20).read().decode())
"""


class JupyterServer:
    """What JupyterLab runs, on ada's machine and for her alone."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed

    @contextmanager
    def runs(self) -> Iterator[None]:
        """Run it; with it, its kernels end."""
        far = self._bed.far
        program = Path(self._bed.far_python).with_name("jupyter-server")
        command = f"{program} --no-browser --ServerApp.ip=127.0.0.1 --ServerApp.port=0"
        text = f"nohup {command} >/dev/null 2>&1 </dev/null & echo $!"
        started = far.run(["sh", "-c", text], user="ada", env={"JUPYTER_TOKEN": "known"})
        pid = started.stdout.strip()
        told = f"{RUNTIME}/jpserver-{pid}.json"
        try:
            wait_until(lambda: told in far.files(HOME), 30, "the server")
            self._address = f"{json.loads(far.read(told))['url']}api/kernels"
            yield
        finally:
            far.run(["kill", pid])
            wait_until(lambda: not far.processes("ada"), 20, "the end of the server")
            far.run(["rm", "-rf", f"{HOME}/.local/share/jupyter", f"{HOME}/.ipython"])

    def ask(self, how: str, where: str = "", code: str = "") -> str:
        """Do what a browser does there; what the server answers, or what a cell prints."""
        command = [self._bed.far_python, "-c", BROWSER, how, self._address + where, code]
        return self._bed.far.run(command, user="ada").stdout


def interrupt_a_cell(person: Person) -> None:
    """Ctrl-C in a console ends the cell that runs."""
    person.types("import time\n")
    person.types("print('be' + 'gun', flush=True); time.sleep(600)")
    person.sees("begun")
    person.presses("c")
    person.sees("KeyboardInterrupt")


def interrupted(client: BlockingKernelClient, kernel: str) -> dict[str, Any]:
    """The reply to a cell that goes on until somebody interrupts the kernel."""
    code = "print('begun')\nimport threading\nthreading.Event().wait(60)"
    # What comes shortly after its error is no part of what is to be dropped with it.
    message = client.execute(code, stop_on_error=False)
    wait_until(lambda: "begun\\n" in str(client.get_iopub_msg(timeout=10)), 20, "its work")
    remote_kernels("interrupt", kernel, "--on", "ada@far")
    return reply_to(client, message)


def test_the_newest_kernel_and_two_front_ends(bed: Bed) -> None:
    with by_hand(bed):
        with Attached() as attached:
            assert "Attached to kernel hand (by hand)" in attached.told
            assert attached.file.stat().st_mode & 0o777 == 0o600
            with client_of(attached.file) as one, client_of(attached.file) as two:
                printed(one, "here = 41")
                assert printed(two, "print(here + 1)") == "42\n"
                # Messages of the one are heard by the other.
                one.execute("print('for all')")
                wait_until(lambda: "for all" in str(two.get_iopub_msg(timeout=10)), 20, "it")
        with Attached("kernel-hand") as again, client_of(again.file) as three:
            assert printed(three, "print(here)") == "41\n"


def test_unix_sockets(bed: Bed) -> None:
    place = {"transport": "ipc", "ip": f"{RUNTIME}/hand-ipc"}
    with by_hand(bed, **place), Attached("hand") as attached, client_of(attached.file) as client:
        assert printed(client, "print(6 * 7)") == "42\n"


def test_a_kernel_of_a_jupyter_server(bed: Bed) -> None:
    server = JupyterServer(bed)
    with server.runs():
        kernel = json.loads(server.ask("POST"))["id"]
        with Attached() as attached, client_of(attached.file) as client:
            assert f"Attached to kernel {kernel[:8]} (python3)" in attached.told
            printed(client, "here = 41")
            assert server.ask("CELL", f"/{kernel}/channels", "here += 1; print(here)") == "42\n"
            assert printed(client, "print(here)") == "42\n"
        person = ours("attach", "ada@far", "--console")
        person.sees(r"In.*\[")
        interrupt_a_cell(person)
        person.sees(r"In.*\[")
        person.types("exit")
        person.end()
        (told,) = json.loads(server.ask("GET"))
        assert (told["id"], told["execution_state"]) == (kernel, "idle")
        assert server.ask("CELL", f"/{kernel}/channels", "print(here)") == "42\n"


def test_a_kernel_of_vs_code(bed: Bed) -> None:
    """Its file has no name of a kernel, its ports are the first free ones from 9000 on."""
    file = "kernel-v3c0ffee0000000000000000000000000000000000.json"
    order = ("hb_port", "control_port", "shell_port", "stdin_port", "iopub_port")
    ports = {port: 9000 + number for number, port in enumerate(order)}
    with by_hand(bed, file, "--f=", kernel_name="", **ports):
        with Attached() as attached, client_of(attached.file) as client:
            assert "Attached to kernel c0ffee" in attached.told
            assert printed(client, "here = 41; print(here + 1)") == "42\n"
        with Attached("c0ffee") as again, client_of(again.file) as client:
            assert interrupted(client, "c0ffee")["ename"] == "KeyboardInterrupt"
            assert printed(client, "print(here)") == "41\n"


# What a container of ada's own is to her machine; to those inside, their ports are all there is.
CONTAINER = (
    "unshare --user --map-root-user {more} --mount --pid --fork --kill-child --mount-proc "
    "sh -c '{first} && exec \"$@\"' sh"
)
ALONE = CONTAINER.format(more="--net", first="ip link set lo up")


@pytest.mark.parametrize(
    ("inside", "info"),
    [
        (
            CONTAINER.format(more="", first="mount -t tmpfs none /mnt"),
            {"transport": "ipc", "ip": "/mnt/kernel"},
        ),
        (ALONE, {}),
        # As bubblewrap does it: inside of it there is another one, with no right to the network.
        (f"{ALONE} unshare --user --map-root-user", {"ip": "0.0.0.0"}),
    ],
    ids=["ipc", "tcp", "nested"],
)
def test_a_kernel_in_a_container(bed: Bed, inside: str, info: dict[str, str]) -> None:
    """It has files, processes, users and maybe a network of its own, which only /proc leads to."""
    with ExitStack() as stack:
        stack.enter_context(by_hand(bed, inside=inside, **info))
        assert 21001 not in bed.far.listening_ports()
        attached = stack.enter_context(Attached("hand"))
        client = stack.enter_context(client_of(attached.file))
        assert printed(client, "import os; print(os.getpid() < 10)") == "True\n"
        assert interrupted(client, "hand")["ename"] == "KeyboardInterrupt"


def test_a_container_is_started_anew_while_we_are_attached(bed: Bed) -> None:
    with ExitStack() as stack:
        with by_hand(bed, inside=ALONE):
            attached = stack.enter_context(Attached("hand"))
            client = stack.enter_context(client_of(attached.file))
            printed(client, "here = 41")
        with by_hand(bed, inside=ALONE):
            wait_until(lambda: log_text().count("far side: UP") == 2, 20, "the way to the new one")
            client = stack.enter_context(client_of(attached.file))
            assert printed(client, "print('here' in globals())") == "False\n"


@pytest.fixture
def network(bed: Bed) -> Iterator[str]:
    """A network of root's on ada's machine, which reaches that; the command that enters it."""
    setpriv = "setpriv --reuid=ada --regid=ada --init-groups"
    lines = """
        netns add roots
        -n roots link set lo up
        link add to-roots type veth peer name eth0 netns roots
        address add 10.99.0.1/24 dev to-roots
        link set to-roots up
        -n roots address add 10.99.0.2/24 dev eth0
        -n roots link set eth0 up
    """
    for line in lines.strip().splitlines():
        bed.far.run(["ip", *line.split()])
    yield f"ip netns exec roots {setpriv} env HOME={HOME}"
    bed.far.run(["ip", "netns", "delete", "roots"])


def test_a_container_of_roots_is_not_entered(bed: Bed, network: str) -> None:
    with by_hand(bed, user="root", inside=network):
        # It waits for as long as one may take to listen.
        done = ran("attach", "ada@far", "hand")
        assert done.returncode == 34
        sentence = "the kernel runs in a network namespace of its own, which we may not enter"
        assert_block(done.stderr, sentence, "starting the kernel", "ada@far", "Operation")
    # Its own address is known outside.
    with ExitStack() as stack:
        stack.enter_context(by_hand(bed, user="root", inside=network, ip="10.99.0.2"))
        attached = stack.enter_context(Attached("hand"))
        client = stack.enter_context(client_of(attached.file))
        assert printed(client, "print(6 * 7)") == "42\n"


def test_an_encrypted_kernel(bed: Bed) -> None:
    public, secret = zmq.curve_keypair()
    keys = {"curve_publickey": public.decode(), "curve_secretkey": secret.decode()}
    with by_hand(bed, **keys), Attached() as attached:
        info = json.loads(attached.file.read_text())
        assert not set(keys) & set(info)
        with client_of(attached.file) as one, client_of(attached.file) as two:
            printed(one, "here = 41")
            assert printed(two, "print(here + 1)") == "42\n"
            # What is asked for goes to whom has caused it.
            message = one.execute("print('is ' + input('what?'))", allow_stdin=True)
            assert one.get_stdin_msg(timeout=20)["content"]["prompt"] == "what?"
            one.input("this")
            assert reply_to(one, message)["status"] == "ok"
            assert len(printed(two, "print('x' * 3_000_000)")) == 3_000_001


def test_a_kernel_of_ours_with_a_front_end_of_its_own(kernel: Kernel) -> None:
    kernel.run("here = 41")
    with Attached() as attached, client_of(attached.file) as client:
        assert printed(client, "here += 1; print(here)") == "42\n"
    assert kernel.value("here") == 42


def test_a_console_interrupts_and_leaves(bed: Bed) -> None:
    with by_hand(bed):
        for attempt in range(2):
            person = ours("attach", "ada@far", "--console")
            person.sees(r"In.*\[")
            if attempt == 0:
                person.types("here = 41")
                person.sees(r"In.*\[")
                interrupt_a_cell(person)
            person.types("print(here + 1)")
            person.sees("42")
            person.types("exit")
            person.end()


def test_a_file_is_run(bed: Bed, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("print(6 * 7)\n")
    with by_hand(bed):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "remote_kernels", "attach", "ada@far"),
                *("--run", str(script)),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr


def test_the_kernel_ends_while_we_are_attached(bed: Bed) -> None:
    with by_hand(bed), Attached() as attached:
        with client_of(attached.file) as client:
            client.execute("import os; os._exit(0)")
        wait_until(lambda: attached.process.poll() is not None, 40, "the end of the command")
        assert attached.process.returncode == 0


@pytest.mark.parametrize("words", [[], ["nothing"]])
def test_there_is_no_such_kernel(bed: Bed, words: list[str]) -> None:
    done = ran("attach", "ada@far", *words)
    assert done.returncode == 33
    assert "there is no such kernel" in done.stderr
    assert "host:  ada@far" in done.stderr
    assert "try:   see what runs there" in done.stderr


# --- as a kernelspec ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["disabled", "required"])
def test_a_kernelspec_that_attaches(bed: Bed, tmp_path: Path, mode: str) -> None:
    """Jupyter has a key of its own, and maybe wants what is said to be encrypted."""
    added = remote_kernels(
        *("manage", "--add", "-i", "ssh", "-x", "ada@far", "--name", "Hers"),
        *("--language", "python", "--existing", "hand"),
    )
    spec = added.partition("['")[2].partition("']")[0]
    if mode == "required":
        path = kernelspecs.user_directory() / spec / "kernel.json"
        document = json.loads(path.read_text())
        document["metadata"] = {"supported_encryption": ["curve"]}
        path.write_text(json.dumps(document))
    with by_hand(bed) as hers:
        with Kernel(spec, tmp_path, transport_encryption=mode) as kernel:
            assert (
                json.loads(bed.far.read(hers.file))["key"]
                not in kernel.manager.session.key.decode()
            )
            kernel.run("here = 41")
            assert kernel.interrupts_a_cell()
            # What runs is not disturbed by our leave.
            kernel.begin("import time\ntime.sleep(3)\nhere += 1")
        assert kernel.launcher.wait(10) == 0
        with Kernel(spec, tmp_path, transport_encryption=mode) as again:
            assert again.value("here") == 42
            (there,) = json.loads(remote_kernels("ps", "--json", "ada@far"))
            assert [found["pid"] for found in there["kernels"]] == [hers.pid]
            again.manager.restart_kernel()
            again.find_launcher()
            again.wait_for_ready()
            assert again.value("here") == 42


def test_a_kernelspec_without_a_kernel(bed: Bed, tmp_path: Path) -> None:
    added = remote_kernels(
        *("manage", "--add", "-i", "ssh", "-x", "ada@far", "--name", "Hers", "--existing", "latest")
    )
    status, stderr = failing(added.partition("['")[2].partition("']")[0], tmp_path)
    assert status == 33
    assert "no kernel runs there" in stderr
