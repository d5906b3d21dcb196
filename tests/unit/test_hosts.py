"""Hosts: what is one, and what is refused."""

from __future__ import annotations

import pytest

from remote_kernels.errors import OptionsError
from remote_kernels.hosts import Host


@pytest.mark.parametrize(
    ("text", "name", "user", "port"),
    [
        ("gpu", "gpu", None, None),
        ("gpu.example.org:2222", "gpu.example.org", None, 2222),
        ("me@gpu", "gpu", "me", None),
        ("me@gpu:22", "gpu", "me", 22),
        ("me@corp.org@gpu", "gpu", "me@corp.org", None),
        ("CORP\\me@gpu", "gpu", "CORP\\me", None),
        ("2001:db8::1", "2001:db8::1", None, None),
        ("[2001:db8::1]:2222", "2001:db8::1", None, 2222),
        ("me@[fe80::1%eth0]", "fe80::1%eth0", "me", None),
        ("rechner-ä", "rechner-ä", None, None),
        ("host_with_underscore", "host_with_underscore", None, None),
    ],
)
def test_a_host_is_read(text: str, name: str, user: str | None, port: int | None) -> None:
    host = Host.parse(text)
    assert (host.name, host.user, host.port) == (name, user, port)
    assert Host.parse(str(host)) == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a b",
        "a\nb",
        "-oProxyCommand=touch",
        "me@-oProxyCommand=touch",
        "-me@gpu",
        "@gpu",
        "me@",
        "gpu:",
        "gpu:0",
        "gpu:65536",
        "gpu:ssh",
        "gpu:²",
        "a,b",
        "$(id)",
        "`id`",
        "a;b",
        "[::1",
        "ssh://gpu",
        "a'b",
        "a#b@gpu",
        "~me@gpu",
        "a=b",
        "a^b",
        "\udcff",
    ],
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(OptionsError, match=r"write \[user@\]name\[:port\]"):
        Host.parse(text)
