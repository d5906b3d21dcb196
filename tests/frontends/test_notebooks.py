"""Notebooks run from end to end by the programs that people put into scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from frontend import Site, add_kernel

PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 4])\nplt.show()"


def notebook(*cells: str) -> Any:
    return new_notebook(cells=[new_code_cell(cell) for cell in cells])


def test_nbclient(site: Site) -> None:
    book = notebook(
        "print(__import__('platform').node())",
        "%matplotlib inline\n" + PLOT,
        "1 / 0",
        "input('name? ')",
        "6 * 7",
    )
    NotebookClient(book, kernel_name=add_kernel(site), allow_errors=True, timeout=60).execute()
    text, plot, error, question, value = (cell.outputs for cell in book.cells)
    assert text[0].text == "far\n"
    assert any("image/png" in output.get("data", {}) for output in plot)
    assert error[0].ename == "ZeroDivisionError"
    # nbclient cannot be asked; the kernel over there knows that as one here does.
    assert question[0].ename == "StdinNotImplementedError"
    assert value[0].data["text/plain"] == "42"


def test_papermill(site: Site, tmp_path: Path) -> None:
    book = notebook("n = 1", "print(__import__('platform').node(), n)")
    book.metadata.language_info = {"name": "python"}
    book.cells[0].metadata.tags = ["parameters"]
    nbformat.write(book, tmp_path / "in.ipynb")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb"),
            *("-k", add_kernel(site), "-p", "n", "5", "--no-progress-bar"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    assert cells[-1].outputs[0].text == "far 5\n"


def test_jupyter_run(site: Site, tmp_path: Path) -> None:
    # It puts the name of the file behind the connection file, too.
    (tmp_path / "cell.py").write_text("print(__import__('platform').node())")
    done = subprocess.run(
        [sys.executable, "-m", "jupyter_client.runapp", "--kernel", add_kernel(site), "cell.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.stdout == "far\n", done.stderr


def test_nbclient_is_told_of_a_kernel_that_dies(site: Site) -> None:
    book = notebook("import os; os._exit(3)")
    client = NotebookClient(book, kernel_name=add_kernel(site), timeout=30)
    with pytest.raises(Exception, match=r"(?i)died"):
        client.execute()
