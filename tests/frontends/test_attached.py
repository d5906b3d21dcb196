"""One kernel that somebody has started, and several front ends at it at a time."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_core.paths import jupyter_runtime_dir
from nbclient import NotebookClient

from attached import Attached, by_hand, client_of, printed
from bed import Bed, wait_until
from frontend import Person, ours
from frontends.test_console import sockets
from frontends.test_notebooks import notebook

# What qtconsole runs as its configuration: a person in front of its window, which nobody sees.
# They type the lines of a terminal, close the window with Ctrl-D, and agree to what they are asked.
HANDS = """
import os
from qtconsole.qtconsoleapp import JupyterQtConsoleApp
from qtpy.QtCore import QSocketNotifier, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

init_signal = JupyterQtConsoleApp.init_signal

def with_hands(self):
    init_signal(self)
    text = self.widget._control
    text.textChanged.connect(lambda: print(text.toPlainText(), flush=True))

    def use():
        line = os.read(0, 1000).decode().rstrip()
        if line:
            QTest.keyClicks(text, line)
            QTest.keyClick(text, Qt.Key_Return)
        else:
            self.window.close()

    def agree():
        question = QApplication.activeModalWidget()
        if question is not None:
            print("is asked:", question.text(), flush=True)
            QTest.keyClick(question, Qt.Key_Return)

    self.terminal = QSocketNotifier(0, QSocketNotifier.Read)
    self.terminal.activated.connect(use)
    self.questions = QTimer()
    self.questions.timeout.connect(agree)
    self.questions.start(100)

JupyterQtConsoleApp.init_signal = with_hands
"""


@pytest.fixture(autouse=True)
def _qtconsole(jupyter: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each qtconsole of this test be used by hands of ours."""
    directory = Path(os.environ["JUPYTER_CONFIG_DIR"])
    directory.mkdir()
    (directory / "jupyter_qtconsole_config.py").write_text(HANDS)
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")


def program(name: str) -> psutil.Process:
    """The process of one of Jupyter's programs that has a connection file of this test."""

    def found() -> psutil.Process | None:
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if any(word.endswith(f"/jupyter-{name}") for word in words) and any(
                word.startswith(jupyter_runtime_dir()) for word in words
            ):
                return process
        return None

    process = wait_until(found, 20, f"jupyter {name}")
    assert process is not None
    return process


def started(name: str, file: Path, *words: str) -> Person:
    """A person at one of Jupyter's programs, as soon as it can be used."""
    path = str(Path(sys.executable).with_name(f"jupyter-{name}"))
    person = Person(sys.executable, path, "--existing", str(file), *words)
    hears(person, name)
    return person


def hears(person: Person, name: str) -> None:
    """Wait until a program prompts and hears outputs, which may be later."""
    person.sees(r"In \[\d+\]:")
    process = program(name)
    wait_until(lambda: len(sockets(process)) == 5, 20, f"all channels of jupyter {name}")


async def execute(book: Any, file: Path) -> None:
    """Run a notebook in a kernel that runs."""
    client = NotebookClient(book, timeout=30)
    client.kc = AsyncKernelClient(connection_file=str(file))
    client.kc.load_connection_file()
    client.kc.start_channels()
    try:
        await client.kc.wait_for_ready(timeout=30)
        for number, cell in enumerate(book.cells):
            await client.async_execute_cell(cell, number)
    finally:
        client.kc.stop_channels()


def shown(text: str) -> str:
    """The pattern of a cell's value in qtconsole, with a prompt behind it; what is typed waits."""
    return rf"Out\[\d+\]: {re.escape(text)}\s+In \[\d+\]: "


def test_a_console_a_qtconsole_and_nbclient_share_a_kernel(bed: Bed) -> None:
    with by_hand(bed):
        with Attached() as attached:
            console = started("console", attached.file, "--simple-prompt")
            window = started("qtconsole", attached.file)
            console.types("of_console = 1")
            console.sees(r"In \[\d+\]:")
            window.types("of_window = of_console + 1; of_window, 'is new'")
            window.sees(shown("(2, 'is new')"))
            book = notebook("of_book = of_window + 1", "print(of_console, of_book)")
            asyncio.run(execute(book, attached.file))
            assert book.cells[1].outputs[0].text == "1 3\n"
            console.types("of_console, of_window, of_book")
            console.sees(r"\(1, 2, 3\)")
            console.sees(r"In \[\d+\]:")
            # That would end the kernel for all, if it arrived there as it is.
            console.types("exit")
            assert console.end()[0] == 0
            window.types("of_book, 'is there'")
            window.sees(shown("(3, 'is there')"))
            window.presses("d")
            window.sees(r"is asked: Close console, stop kernel, and Quit\?")
            assert window.end()[0] == 0
        with Attached("hand") as again, client_of(again.file) as client:
            assert printed(client, "print(of_console, of_window, of_book)") == "1 2 3\n"


def test_a_qtconsole_is_started_and_left(bed: Bed) -> None:
    with by_hand(bed):
        person = ours("attach", "ada@far", "--qtconsole")
        person.sees(r"Attached to kernel hand \(by hand\)")
        hears(person, "qtconsole")
        process = program("qtconsole")
        *_, flag, word = process.cmdline()
        file = Path(word)
        assert (flag, file.parent) == ("--existing", Path(jupyter_runtime_dir()))
        assert file.exists()
        person.types("here = 41; here + 1, 'is shown'")
        person.sees(shown("(42, 'is shown')"))
        person.types("exit")
        assert person.end()[0] == 0
        assert not process.is_running()
        assert not file.exists()
        with Attached() as attached, client_of(attached.file) as client:
            assert printed(client, "print(here)") == "41\n"


def test_ctrl_c_ends_a_qtconsole_and_disturbs_no_cell(bed: Bed) -> None:
    with by_hand(bed):
        person = ours("attach", "ada@far", "--qtconsole")
        hears(person, "qtconsole")
        process = program("qtconsole")
        file = Path(process.cmdline()[-1])
        person.types("import os, time; here = 'sweet'")
        person.sees(r"In \[2\]:")
        # The cell goes on when there is a file.
        waits = "[time.sleep(0.05) for _ in iter(lambda: os.path.exists('go-on'), True)]"
        person.types(f"print('be' + 'gun'); {waits}; here += ' home'")
        person.sees("begun")
        person.presses("c")
        # That is how qtconsole ends of it.
        status, said = person.end()
        assert (status, said.strip()) == (254, "^C")
        assert not process.is_running()
        assert not file.exists()
        bed.far.run(["touch", "go-on"], user="ada")
        with Attached() as attached, client_of(attached.file) as client:
            assert printed(client, "os.remove('go-on'); print(here)") == "sweet home\n"
