"""What is read from code: cells of IPython, imports, and commands that install."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_kernels.imports import imports_of
from remote_kernels.install_commands import of_file, told_by
from remote_kernels.ipython_code import parsed, read
from remote_kernels.sources import Sources

_CHARACTERS = "%!?/,;\n\n\n\"'\\#()[]{}= \r\0\ud800"
_WORDS = ('"""', "'''", "%%time", "%%bash", "%pip ", "import x", "x", ">>> ", "In [1]: ", "    ")
PIECES = st.lists(st.sampled_from([*_CHARACTERS, *_WORDS, "pip install y", "é"]), max_size=30).map(
    "".join
)


@given(PIECES)
def test_any_text_is_read(text: str) -> None:
    code = read(text)
    whole = text.replace("\r\n", "\n").replace("\r", "\n")
    if code.python and not code.writes:
        assert whole.count("\n") <= code.python.count("\n") <= whole.count("\n") + 1
    for line in code.lines:
        assert 1 <= line.number <= whole.count("\n") + 1
        told_by(line.text)
    with suppress(SyntaxError):
        imports_of(parsed(code.python))
    of_file(text)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "pip install a 'b>=1' \"c[x]; python_version<'3.9'\"",
            "a|b>=1|c[x]; python_version<'3.9'",
        ),
        ("pip3.11 -q install --upgrade -t dir a --no-binary :all: -c cons.txt b", "a|b"),
        ("{sys.executable} -m pip install a", "a"),
        ("sudo CC=gcc /opt/python3 -u -m pip install a # b", "a"),
        ("yes | pip install a 2>&1 >/dev/null && pip install b; pip install c || true", "a|b|c"),
        ("uv pip install --system -p 3.11 a", "a"),
        ("uv add a>=1", "a>=1"),
        (
            "pip install -e git+https://x.example.org/y.git#egg=y z",
            "z|git+https://x.example.org/y.git#egg=y",
        ),
        ("conda install -y -n env -c conda-forge a=1.2 b", "a=1.2|b"),
        ("pip install {a} $b `c`", ""),
        ("pip install -ra.txt --requirement=b.txt", ""),
        ("pip uninstall a", None),
        ("pip download a", None),
        ("echo pip install a", None),
        ("python script.py -m pip install a", None),
        ("python -c 'import pip' install a", None),
        ("conda activate a", None),
        ("pip install 'a", None),
        ("", None),
    ],
)
def test_what_a_command_installs(line: str, told: str | None) -> None:
    found = told_by(line)
    if told is None:
        assert found == []
    else:
        assert "|".join(x for each in found for x in each.requirements) == told


def test_files_of_requirements_that_name_each_other(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a\n-r two.txt\n--index-url https://example.org/simple\n")
    (tmp_path / "two.txt").write_text(
        "b==1 --hash=sha256:00 --hash=sha256:11\n-r one.txt\n-c x.txt\n"
    )
    (tmp_path / "code.py").write_text("import os; os.system('pip install -r one.txt -r gone.txt')")
    sources = Sources(lambda name: False)
    sources.read([str(tmp_path / "code.py")])
    assert [x for each in sources.asked for x in each.told.requirements] == ["a", "b==1"]
    assert [note.what for note in sources.unread] == [
        f"{tmp_path}/gone.txt: No such file or directory"
    ]


@pytest.mark.parametrize(
    ("code", "paths"),
    [
        ("sys.path.append('a')", ["a"]),
        ("sys.path.insert(0, os.path.abspath('../a'))", ["../a"]),
        ("sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'a'))", ["./../a"]),
        ("sys.path.append(str(Path(__file__).resolve().parent.parent / 'a'))", ["../a"]),
        ("sys.path += ['a', 'b']", ["a", "b"]),
        ("sys.path = ['a'] + sys.path", ["a"]),
        ("sys.path.extend(['a', name])", ["a"]),
        ("os.chdir('a'); site.addsitedir('b')", ["a", "b"]),
        ("sys.path.append(find())", []),
    ],
)
def test_where_code_looks_for_modules(code: str, paths: list[str]) -> None:
    assert imports_of(parsed(code), "code.py").paths == paths


def test_a_chain_of_branches_may_be_long() -> None:
    text = "if a: pass\n" + "".join(f"elif b: import m{n}\n" for n in range(900))
    assert len(imports_of(parsed(text)).imports) == 900
