"""A kernel on a far machine in JupyterLab, used by nothing but what a person sees and clicks at.

The picture in the README is made anew with::

    RK_KEEP=docs sh tests/run tests/e2e -k shows_where_it_runs
"""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from bed import Bed, wait_until
from e2e.lab import Lab, tile
from frontend import Site, add_kernel

pytestmark = pytest.mark.needs("chromium")

DISPLAY_NAME = "SSH ada@far Python 3"
ENDLESS = """\
import time
print("begun")
while True:
    time.sleep(0.1)"""
WHERE = """\
import getpass, platform

getpass.getuser(), platform.node()"""
PLOT = """\
import matplotlib.pyplot as plt
import numpy as np

time = np.linspace(0, 30, 1000)
figure, axes = plt.subplots(figsize=(8.5, 3), layout="constrained")
for phase in (0, 0.5, 1, 1.5):
    axes.plot(time, np.exp(-time / 12) * np.cos(time - phase))
axes.set_title(f"computed and drawn on {platform.node()}")
plt.show()"""


@pytest.fixture
def spec(site: Site) -> str:
    return add_kernel(site, name="Python 3")


@pytest.fixture
def notebook(spec: str, lab: Lab) -> Lab:
    """Lab with a notebook whose kernel is ready."""
    lab.open()
    lab.open_notebook(DISPLAY_NAME)
    return lab


def kernel_pids(site: Site) -> set[int]:
    return {x.pid for x in site.machine.processes(site.user) if "ipykernel_launcher" in x.args}


def launchers(bed: Bed) -> list[str]:
    return [x.args for x in bed.laptop.processes(user="mia") if " -m remote_kernels " in x.args]


def test_the_launcher_has_a_tile_with_our_logo(spec: str, lab: Lab) -> None:
    lab.open()
    logo = f"{tile(DISPLAY_NAME)} img"
    lab.wait_for(f"{tile(DISPLAY_NAME)} .jp-LauncherCard-label", DISPLAY_NAME)
    assert f"/kernelspecs/{spec}/logo-" in str(lab.wait_for(logo).get_attribute("src"))
    assert lab.width(logo) > 0


def test_a_notebook_shows_where_it_runs(notebook: Lab, bed: Bed) -> None:
    assert notebook.value(WHERE) == "('ada', 'far')"
    plot = notebook.run(PLOT)
    assert notebook.width(f"{plot} .jp-OutputArea-output img") > 0
    notebook.click('[data-id="jp-running-sessions"]')
    notebook.wait_for(".jp-RunningSessions-itemLabel", DISPLAY_NAME)
    picture = notebook.picture()
    assert len(picture) < 200_000
    bed.keep("jupyterlab.png", picture)


def test_an_interrupt_ends_the_cell_alone(notebook: Lab) -> None:
    notebook.run("precious = 42")
    cell = notebook.begin(ENDLESS)
    wait_until(lambda: notebook.output(cell) == "begun", 30, "the cell to begin")
    notebook.click('[data-command="notebook:interrupt-kernel"]')
    wait_until(lambda: "KeyboardInterrupt" in notebook.output(cell), 10, "the interrupt")
    notebook.wait_until_cells_run()
    cell = notebook.begin(ENDLESS)
    wait_until(lambda: notebook.output(cell) == "begun", 30, "the cell to begin")
    notebook.press(Keys.ESCAPE, "i", "i")
    wait_until(lambda: "KeyboardInterrupt" in notebook.output(cell), 10, "the interrupt")
    notebook.wait_until_cells_run()
    assert notebook.value("precious") == "42"


def test_a_restart_forgets_and_answers_again(notebook: Lab, site: Site) -> None:
    notebook.run("precious = 42")
    before = kernel_pids(site)
    notebook.menu("Kernel", "Restart Kernel…")
    notebook.click(".jp-Dialog .jp-mod-accept")
    wait_until(lambda: kernel_pids(site) - before, 30, "another kernel process")
    notebook.wait_for_kernel(DISPLAY_NAME, "Idle")
    assert "NameError: name 'precious' is not defined" in notebook.value("precious")
    notebook.wait_until_cells_run()
    assert notebook.value("__import__('platform').node()") == "'far'"
    assert len(site.kernels()) == 1


def test_a_shutdown_ends_it_on_both_sides(notebook: Lab, bed: Bed, site: Site) -> None:
    assert len(site.kernels()) == 1
    assert len(site.connection_files()) == 1
    assert launchers(bed)
    notebook.menu("Kernel", "Shut Down Kernel")
    notebook.wait_for_kernel("No Kernel", "Unknown")
    wait_until(lambda: not site.kernels(), 5, "the kernel's end")
    wait_until(lambda: not site.connection_files(), 5, "the connection file's end")
    wait_until(lambda: not launchers(bed), 5, "the launcher's end")


def test_the_drop_down_list_has_it(spec: str, lab: Lab) -> None:
    lab.open()
    lab.open_notebook("Python 3 (ipykernel)")
    assert lab.value("__import__('platform').node()") == "'laptop'"
    lab.select_kernel(DISPLAY_NAME)
    assert lab.value("__import__('platform').node()") == "'far'"


def test_a_kernel_that_cannot_start_is_seen_not_to(lab: Lab, bed: Bed, server_log: Path) -> None:
    nowhere = Site(bed.far, "ada", bed.far_python, ["--interface=ssh", "--host=ada@nowhere"])
    add_kernel(nowhere, name="Python 3")
    lab.open()
    lab.click(tile("SSH ada@nowhere Python 3"))
    # Jupyter starts it six times, with a look every three seconds.
    lab.wait_for_kernel("SSH ada@nowhere Python 3", "Disconnected", timeout=60)
    block = (
        "remote-kernels: no machine named ada@nowhere is known.\n"
        "  stage: logging in\n"
        "  host:  ada@nowhere\n"
        "  said:  ssh: Could not resolve hostname nowhere"
    )
    assert block in server_log.read_text()
    assert not launchers(bed)
