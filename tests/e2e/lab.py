"""JupyterLab as a person has it: its server, a browser that shows it, and what to click at."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from bed import wait_until

T = TypeVar("T")

CHROMIUM = """
    --headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars
"""
# Lab would ask the world for news, for updates and for extensions; here it asks nobody.
SERVER = """
    --no-browser --ip=127.0.0.1 --port=0 --LabApp.extension_manager=readonly
    --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate
"""
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false"}
}
# Lab draws anew at any time: what was found can be gone, or covered, a moment later.
FOR_A_MOMENT = (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)


@contextlib.contextmanager
def server(log: Path) -> Iterator[str]:
    """Run JupyterLab's server in this test's directories; the address to open."""
    write_settings()
    token = secrets.token_hex(16)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *SERVER.split()],
            env={**os.environ, "JUPYTER_TOKEN": token},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield f"{address(log)}?token={token}"
        process.terminate()  # in order: it ends the kernels that still run
        process.wait(timeout=30)
    finally:
        process.kill()
        process.wait()
        print(log.read_text())


def write_settings() -> None:
    """Let each JupyterLab of this test ask nobody for news."""
    settings = Path(os.environ["JUPYTER_CONFIG_DIR"], "labconfig/default_setting_overrides.json")
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(SETTINGS))


def address(log: Path) -> str:
    """Where a server answers, as soon as that stands in what it writes."""
    pattern = re.compile(r"http://127\.0\.0\.1:\d+/lab")
    found: list[str] = wait_until(lambda: pattern.findall(log.read_text()), 60, "JupyterLab")
    return found[0]


@contextlib.contextmanager
def browser(directory: Path) -> Iterator[Chrome]:
    """Run a Chromium that knows nothing and writes only below ``directory``."""
    directory.mkdir()
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*CHROMIUM.split(), f"--user-data-dir={directory}/profile"):
        options.add_argument(flag)
    environ = {**os.environ, "HOME": str(directory), "XDG_RUNTIME_DIR": str(directory)}
    with Chrome(options, ChromeService("/usr/bin/chromedriver", env=environ)) as chrome:
        # The size of the page: that of the window would count the browser's own bars.
        size = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        yield chrome


class Lab:
    """JupyterLab's page; what has to appear before it can be used is waited for."""

    def __init__(self, chrome: Chrome, url: str) -> None:
        self._chrome = chrome
        self._url = url

    def open(self) -> None:
        """Load the page, and with it the list of kernelspecs."""
        self._chrome.get(self._url)

    def wait_for(self, css: str, text: str = "", timeout: float = 30) -> WebElement:
        """The first visible element that matches, and that shows this very text if there is one."""
        return self._wait_until(lambda: self._seek(css, text), timeout, f"{css} {text}")

    def click(self, css: str, text: str = "") -> None:
        """Click at an element, as soon as nothing covers it."""

        def clicked() -> bool:
            element = self._seek(css, text)
            if element:
                element.click()
            return element is not None

        self._wait_until(clicked, 30, f"{css} {text} to be clicked at")

    def menu(self, menu: str, item: str) -> None:
        """Choose an item of the main menu."""
        self.click(".lm-MenuBar-itemLabel", menu)
        self.click(".lm-Menu-itemLabel", item)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        ActionChains(self._chrome).send_keys(*keys).perform()

    def open_terminal(self) -> None:
        """Click at the launcher's tile of a terminal, in a tab of its own, and wait for it."""
        self.menu("File", "New Launcher")
        self.click('.jp-LauncherCard[data-category="Other"]', "Terminal")
        self.click(".jp-Terminal .xterm-screen")

    def upload(self, file: Path) -> None:
        """Click at the file browser's button, choose a file of this machine, and wait for it."""
        # What the button opens is the browser's own, and no part of the page.
        self._script(
            "HTMLInputElement.prototype.click = function () { document.body.append(this); }"
        )
        self.click('.jp-FileBrowser [data-jp-item-name="uploader"] jp-button')
        self._chrome.find_element(By.CSS_SELECTOR, "body > input[type=file]").send_keys(str(file))
        self.wait_for(".jp-DirListing-itemText", file.name)

    def open_notebook(self, display_name: str) -> None:
        """Click at the launcher's tile of a kernel and wait for the kernel."""
        self.click(tile(display_name))
        self.wait_for_kernel(display_name, "Idle")

    def wait_for_kernel(self, display_name: str, status: str, timeout: float = 30) -> None:
        """Wait until the status bar shows this kernel with this status."""
        said = f"{display_name} | {status}"
        self.wait_for("#jp-main-statusbar .jp-StatusBar-TextItem", said, timeout)

    def select_kernel(self, display_name: str, runs: bool = False) -> None:
        """Give the notebook another kernel, from the drop-down list behind the present one's name.

        Args:
            display_name: of the kernel.
            runs: it runs already; such kernels stand there with the beginning of an id.

        Raises:
            NoSuchElementException: it is not in the list.
        """
        self.click(".jp-Toolbar-kernelName")
        choice = Select(self.wait_for(".jp-Dialog select"))
        names = [option.text for option in choice.options] if runs else []
        name = next((x for x in names if x.startswith(f"{display_name} (")), display_name)
        choice.select_by_visible_text(name)
        self.click(".jp-Dialog .jp-mod-accept")
        self.wait_for_kernel(display_name, "Idle")

    def begin(self, code: str) -> str:
        """Run code in the notebook's last cell; the cell, as a selector."""
        self.click(".jp-Notebook-cell:last-child .cm-content")
        number = len(self._chrome.find_elements(By.CSS_SELECTOR, ".jp-Notebook-cell"))
        # As if pasted: the editor would indent what is typed.
        self._chrome.execute_cdp_cmd("Input.insertText", {"text": code})
        run = ActionChains(self._chrome).key_down(Keys.SHIFT).send_keys(Keys.ENTER)
        run.key_up(Keys.SHIFT).perform()
        return f".jp-Notebook-cell:nth-child({number})"

    def run(self, code: str) -> str:
        """Run code in the notebook's last cell until it has ended; the cell, as a selector."""
        cell = self.begin(code)
        self._wait_until(lambda: self._has_number(cell), 30, "the cell's end")
        return cell

    def wait_until_cells_run(self) -> None:
        """Wait until the moment after an error is over in which a kernel drops what it is sent."""

        def one_has_run() -> bool:
            cell = self.begin("0")
            with contextlib.suppress(TimeoutError):
                return bool(wait_until(lambda: self._has_number(cell), 1, "the cell's end"))
            return False

        self._wait_until(one_has_run, 30, "a cell that is run")

    def _has_number(self, cell: str) -> bool:
        """Whether a cell has been run."""
        prompt = self._chrome.find_element(By.CSS_SELECTOR, f"{cell} .jp-InputPrompt")
        return re.fullmatch(r"\[\d+\]:", prompt.text.strip()) is not None

    def output(self, cell: str) -> str:
        """The text below a cell."""
        text: str = self._script(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent).join('')",
            f"{cell} .jp-OutputArea-output",
        )
        return text.strip()

    def value(self, expression: str) -> str:
        """What a cell with this expression shows."""
        return self.output(self.run(expression))

    def width(self, css: str) -> int:
        """The width that an image has by itself; 0 if it could not be loaded."""
        image = self.wait_for(css)
        self._wait_until(lambda: image.get_property("complete"), 10, f"{css} to be loaded")
        width: int = self._script("return arguments[0].naturalWidth", image)
        return width

    def picture(self) -> bytes:
        """The page as a PNG."""
        return self._chrome.get_screenshot_as_png()

    def _script(self, script: str, *arguments: Any) -> Any:
        return self._chrome.execute_script(script, *arguments)

    def _seek(self, css: str, text: str) -> WebElement | None:
        for element in self._chrome.find_elements(By.CSS_SELECTOR, css):
            if element.is_displayed() and text in ("", element.text.strip()):
                return element
        return None

    def _wait_until(self, condition: Callable[[], T | None], timeout: float, what: str) -> T:
        def patient() -> T | None:
            with contextlib.suppress(*FOR_A_MOMENT):
                return condition()
            return None

        try:
            found = wait_until(patient, timeout, what)
        except TimeoutError:
            print(self._chrome.find_element(By.TAG_NAME, "body").text)
            raise
        assert found is not None
        return found


def tile(display_name: str) -> str:
    """The launcher's tile of a kernel, of those that open a notebook; a selector."""
    return f'.jp-LauncherCard[data-category="Notebook"][title="{display_name}"]'
