import json
import uuid
from pathlib import Path

import pytest

from remote_kernels.connection_file import ConnectionFile
from remote_kernels.errors import ConnectionFileError

INFO = {
    "shell_port": 1,
    "iopub_port": 2,
    "stdin_port": 3,
    "control_port": 4,
    "hb_port": 5,
    "ip": "127.0.0.1",
    "key": "secret-key",
    "curve_secretkey": "secret-curve",
    "curve_publickey": "public",
    "transport": "tcp",
}


def written(path: Path, content: object) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_is_read_whole(tmp_path: Path) -> None:
    connection = ConnectionFile.read(written(tmp_path / "kernel-x.json", INFO))
    assert connection.info == INFO
    assert connection.secrets == ("secret-key", "secret-curve")


@pytest.mark.parametrize(
    "name",
    [
        "kernel-aa35e1a6-8f1e-4bb2-b4a4-7ed6a1b3a4a1.json",
        "kernel-aa35e1a68f1e4bb2b4a47ed6a1b3a4a1.json",
    ],
)
def test_the_copy_is_named_after_the_kernel(tmp_path: Path, name: str) -> None:
    connection = ConnectionFile.read(written(tmp_path / name, INFO))
    assert connection.copy_name == "rik_kernel-aa35e1a6-8f1e-4bb2-b4a4-7ed6a1b3a4a1.json"


def test_a_name_without_uuid_gets_a_new_one(tmp_path: Path) -> None:
    path = written(tmp_path / "kernel-4711.json", INFO)
    first, second = ConnectionFile.read(path), ConnectionFile.read(path)
    assert first.copy_name != second.copy_name
    assert uuid.UUID(first.copy_name.removeprefix("rik_kernel-").removesuffix(".json"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not JSON"),
        ("[]", "has no shell_port"),
        ({**INFO, "hb_port": "5"}, "has no hb_port"),
        ({"registration_port": 1}, "registration file"),
    ],
)
def test_what_is_no_connection_file_is_refused(
    tmp_path: Path, content: object, sentence: str
) -> None:
    with pytest.raises(ConnectionFileError, match=sentence):
        ConnectionFile.read(written(tmp_path / "kernel-x.json", content))


def test_a_missing_file_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFileError, match=r"cannot read .*: No such file"):
        ConnectionFile.read(str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("change", "endpoint"),
    [
        ({}, "127.0.0.1:5"),
        ({"ip": "::1"}, "[::1]:5"),
        ({"ip": "/run/user/1/k", "transport": "ipc"}, "/run/user/1/k-5"),
    ],
)
def test_endpoints_are_written_as_ssh_reads_them(
    tmp_path: Path, change: dict[str, str], endpoint: str
) -> None:
    connection = ConnectionFile.read(written(tmp_path / "kernel-x.json", {**INFO, **change}))
    assert connection.local_endpoint("hb_port") == endpoint
