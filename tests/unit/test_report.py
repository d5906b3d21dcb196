"""What is left out of logs and reports."""

from __future__ import annotations

import pytest

from remote_kernels.report import redacted

SECRETS = [
    "export HF_TOKEN=hunter2",
    "PASSWORD='hunter2 and more'; true",
    'my_passwd="hunter2"',
    '"WANDB_API_KEY": "hunter2"',
    "--token=hunter2 --port 1",
    "aws_secret_access_key = hunter2",
    "git clone https://me:hunter2@git.example.org/x",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_left_out(text: str) -> None:
    assert "hunter2" not in redacted(text)
    assert "[redacted]" in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "ssh -i /home/me/.ssh/id_ed25519 me@far",
        "12:00:01.000 far side: HELLO far",
        "the host key of ada@far has changed: it is SHA256:abc now",
        "python -m ipykernel_launcher -f {connection_file}",
        "remote-kernels: ada@far asks: Password: ",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert redacted(text) == text
