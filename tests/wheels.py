"""Small distributions in place of large ones: their names and modules, and nothing in these."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple


class Wheel(NamedTuple):
    """A distribution.

    Attributes:
        name: as it calls itself.
        version: of it.
        files: its modules, by their paths; what a package needs besides is made.
        requires: what it needs.
        extras: that it offers.
        url: where it is said to have been installed from; None for an index.
        installer: that is said to have done it.
    """

    name: str
    version: str
    files: dict[str, str]
    requires: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    url: dict[str, Any] | None = None
    installer: str = "pip"

    @property
    def stem(self) -> str:
        """How the names of its file and of its metadata begin."""
        return f"{self.name.replace('-', '_').replace('.', '_')}-{self.version}"

    @property
    def file_name(self) -> str:
        """Of the wheel."""
        return f"{self.stem}-py3-none-any.whl"

    @property
    def info(self) -> str:
        """The directory of its metadata."""
        return f"{self.stem}.dist-info"

    def contents(self) -> dict[str, str]:
        """All its files but the list of them."""
        head = [f"Name: {self.name}", f"Version: {self.version}"]
        head += [f"Requires-Dist: {each}" for each in self.requires]
        head += [f"Provides-Extra: {each}" for each in self.extras]
        return {
            **self.files,
            f"{self.info}/METADATA": "\n".join(["Metadata-Version: 2.1", *head, ""]),
            f"{self.info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }

    def record(self, contents: dict[str, str]) -> str:
        """The list of its files."""
        lines = []
        for path, text in contents.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            lines.append(f"{path},sha256={digest.decode().rstrip('=')},{len(text.encode())}")
        return "".join(f"{line}\n" for line in [*lines, f"{self.info}/RECORD,,"])

    def data(self) -> bytes:
        """The wheel."""
        contents = self.contents()
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            for path, text in {**contents, f"{self.info}/RECORD": self.record(contents)}.items():
                # The same bytes each time.
                archive.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), text)
        return data.getvalue()

    def install(self, site_packages: Path) -> None:
        """Put it where an installer would, without one."""
        contents = {**self.contents(), f"{self.info}/INSTALLER": f"{self.installer}\n"}
        if self.url is not None:
            contents[f"{self.info}/direct_url.json"] = json.dumps(self.url)
        contents[f"{self.info}/RECORD"] = self.record(contents)
        for path, text in contents.items():
            file = site_packages / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)


def wheel(name: str, version: str, modules: str, *requires: str, **more: Any) -> Wheel:
    """A distribution with some modules.

    Args:
        name: of it.
        version: of it.
        modules: with dots; each is a package if another is in it, or if a slash is in it:
            "google/auth" is one in a package that others share.
        requires: what it needs.
        more: other attributes.
    """
    files: dict[str, str] = {}
    words = modules.split()
    for word in words:
        path = word.replace(".", "/")
        is_package = "/" in word or any(other.startswith(f"{word}.") for other in words)
        files[f"{path}/__init__.py" if is_package else f"{path}.py"] = _TEXT
    return Wheel(name, version, {**files, **more.pop("files", {})}, requires, **more)


# A module that has whatever is imported from it.
_TEXT = """\
def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return object
"""
_EXTENSION = "def load_ipython_extension(ipython):\n    pass\n"
#: That labtools is installed from, in notebooks and on machines.
LABTOOLS = "http://127.0.0.1:8099/labtools-0.3-py3-none-any.whl"

#: What the notebooks import.
WHEELS = (
    wheel("PyYAML", "6.0.1", "yaml _yaml"),
    wheel("pillow", "10.2.0", "PIL PIL.Image"),
    wheel("numpy", "1.26.4", "numpy numpy.linalg"),
    wheel("scikit-learn", "1.4.0", "sklearn sklearn.linear_model", "numpy>=1.19"),
    wheel("openpyxl", "3.1.2", "openpyxl"),
    wheel("pandas", "2.1.0", "pandas", "numpy", "openpyxl; extra == 'excel'", extras=("excel",)),
    wheel("opencv-python-headless", "4.9.0", "cv2", "numpy"),
    wheel("python-dateutil", "2.8.2", "dateutil dateutil.parser", "six>=1.5"),
    wheel("attrs", "23.2.0", "attr attrs"),
    wheel("matplotlib", "3.8.2", "matplotlib matplotlib.pyplot pylab"),
    wheel("google-cloud-storage", "2.14.0", "google.cloud/storage", "google-auth"),
    wheel("google-auth", "2.27.0", "google/auth google/oauth2 google/oauth2.credentials"),
    wheel("protobuf", "4.25.2", "google/protobuf google/protobuf.message"),
    wheel("ruamel.yaml", "0.18.5", "ruamel/yaml"),
    wheel("six", "1.16.0", "six"),
    wheel("ujson", "5.9.0", "ujson"),
    wheel("requests", "2.31.0", "requests"),
    wheel("tqdm", "4.66.1", "tqdm tqdm.auto"),
    wheel("watermark", "2.4.3", "", files={"watermark/__init__.py": _EXTENSION}),
    wheel("line_profiler", "4.1.2", "", files={"line_profiler/__init__.py": _EXTENSION}),
    wheel("Foo.Bar_baz", "1.0", "foo_bar_baz"),
    wheel("torch", "2.1.0+cu118", "torch", "numpy"),
    wheel("labtools", "0.3", "labtools", url={"url": LABTOOLS, "archive_info": {}}),
)


def install_all(wheels: Iterable[Wheel], site_packages: Path) -> None:
    """Put distributions into an environment.

    Args:
        wheels: of them.
        site_packages: where it has them.
    """
    for each in wheels:
        each.install(site_packages)
