"""What ``deps`` writes for notebooks, each of which has a trap in it.

The notebooks are in ``tests/notebooks``; ``tests/sshd/test_deps.py`` runs them where all that is
written has been installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_kernels.local_environment import Environment, environment_of
from remote_kernels.requirement_formats import as_requirements
from unit.environments import Venv, needed
from wheels import LABTOOLS, WHEELS

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"

VERSIONS = {
    "numpy": "1.26.4",
    "pandas": "2.1.0",
    "pillow": "10.2.0",
    "PyYAML": "6.0.1",
    "requests": "2.31.0",
    "six": "1.16.0",
    "tqdm": "4.66.1",
    "openpyxl": "3.1.2",
    "scikit-learn": "1.4.0",
    "python-dateutil": "2.8.2",
    "ujson": "5.9.0",
    "watermark": "2.4.3",
    "ruamel.yaml": "0.18.5",
}

# The requirements of each notebook; a name alone has its version above.
EXPECTED = {
    "01-plain": "numpy pandas tqdm",
    "02-names-that-differ": "pillow python-dateutil PyYAML scikit-learn",
    "03-one-of-several-distributions": "opencv-python-headless==4.9.0",
    "04-several-modules-of-one": "attrs==23.2.0",
    "05-namespace-packages": "google-auth==2.27.0 google-cloud-storage==2.14.0 protobuf==4.25.2 "
    "ruamel.yaml",
    "06-standard-library": "",
    "07-conditional-and-nested": "numpy openpyxl pandas pillow PyYAML requests six tqdm",
    "08-alternatives": "numpy PyYAML ruamel.yaml ujson",
    "09-optional": "six",
    "10-for-types-only": "six tqdm",
    "11-by-name": "pillow six tqdm",
    "12-text-that-is-no-code": "six",
    "13-cells-of-text": "six",
    "14-line-magics": "six tqdm watermark",
    "15-matplotlib-magic": "matplotlib==3.8.2",
    "16-cell-magics-with-python": "pillow PyYAML requests six tqdm watermark",
    "17-cell-magics-without-python": "openpyxl",
    "18-modules-that-are-written": "six",
    "19-help": "numpy tqdm",
    "20-shell-lines": "openpyxl requests six tqdm",
    "21-pip-magic": "openpyxl pandas[excel]==2.1.0 ujson",
    "22-files-of-requirements": 'nobody-has-this;~python_version~<~"3" openpyxl PyYAML '
    'requests==2.31.0;~python_version~>=~"3" six tqdm',
    "23-conda-magic": "pillow scikit-learn torch==2.1.0",
    "24-automagic": "PyYAML six tqdm",
    "25-own-module": "requests",
    "26-own-package": "PyYAML six",
    "27-src-layout": "six tqdm",
    "28-star-and-alias": "numpy pillow scikit-learn tqdm",
    "29-await": "six",
    "30-broken-cell": "openpyxl PyYAML six",
    "31-version-3": "PyYAML six tqdm",
    "32-another-language": "",
    "33-normalised-names": "Foo.Bar_baz==1.0",
    "34-local-version": "torch==2.1.0",
    "35-direct-url": f"labtools~@~{LABTOOLS}",
    "36-by-nbconvert": "openpyxl PyYAML requests six tqdm watermark",
    "37-run": "six ujson",
    "38-directory-like-a-module": "tqdm",
    "shadow/39-own-module-like-an-installed-one": "",
    "40-markers": 'nobody-has-this;~sys_platform~==~"win32" six==1.16.0;~python_version~>=~"3" '
    "tqdm",
    "41-prompts": "pillow PyYAML six tqdm",
    "42-cells-of-vs-code": "six",
    "43-old-lines": "six tqdm",
    "44-extension-of-ipython": "line_profiler==4.1.2 watermark",
}


def lines(text: str) -> list[str]:
    return [
        word.replace("~", " ") if word not in VERSIONS else f"{word}=={VERSIONS[word]}"
        for word in text.split()
    ]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A virtual environment with all that the notebooks import."""
    return environment_of(Venv(tmp_path_factory.mktemp("environment"), WHEELS).python)


def notebooks() -> Iterator[str]:
    for path in sorted(NOTEBOOKS.rglob("*.ipynb")):
        yield str(path.relative_to(NOTEBOOKS).with_suffix(""))


def test_each_notebook_is_expected() -> None:
    assert sorted(EXPECTED) == sorted(notebooks())
    assert len(EXPECTED) >= 30


@pytest.mark.parametrize("name", EXPECTED)
def test_what_a_notebook_needs(name: str, environment: Environment) -> None:
    _, found = needed(environment, str(NOTEBOOKS / f"{name}.ipynb"))
    assert as_requirements(found).splitlines() == lines(EXPECTED[name])
