"""The steps of a kernel's way, from the options to the last file removed.

An error names the one in which it happened, and ``remote-kernels check`` shows them one by one.
"""

from __future__ import annotations

from typing import NamedTuple


class Step(NamedTuple):
    """One step.

    Attributes:
        name: for programs.
        title: for a list of steps.
        stage: what goes on in it, as the block of an error names it.
    """

    name: str
    title: str
    stage: str


NONE = Step("", "", "")
OPTIONS = Step("options", "options", "reading the options")
CONNECTION_FILE = Step("connection-file", "connection file", "reading the connection file")
KERNELSPECS = Step("kernelspecs", "kernelspec", "managing kernelspecs")
DEMO = Step("demo", "demo", "running the demo")
SYNC = Step("sync", "sync", "making the directories alike")

CONFIGURATION = Step("configuration", "ssh configuration", "reading your ssh configuration")
REACH = Step("reach", "name and port", "logging in")
HOST_KEY = Step("host-key", "host key", "logging in")
LOGIN = Step("login", "login", "logging in")
SHARING = Step("sharing", "shared connection", "logging in")
WORKDIR = Step("workdir", "working directory", "changing to the working directory")
FILE = Step("file", "connection file over there", "copying the connection file")
SPACE = Step("space", "disk and quota", "copying the connection file")
PORTS = Step("ports", "ports over there", "choosing the ports")
PYTHON = Step("python", "Python over there", "starting the shell over there")
SHELL = Step("shell", "login shell", "starting the shell over there")
PRECMD = Step("precmd", "pre-command", "running the pre-command")
COMMAND = Step("command", "kernel command", "starting the kernel")
SCHEDULER = Step("scheduler", "scheduler and queue", "asking for the job")
QUEUE = Step("queue", "time in the queue", "waiting for the job")
NODE = Step("node", "node", "starting the shell on the node")
CHANNEL = Step("channel", "channel", "carrying the sockets")
SERVER = Step("server", "Jupyter server", "starting the Jupyter server")
ANSWER = Step("answer", "kernel answers", "starting the kernel")
CELL = Step("cell", "first cell", "running the kernel")
INTERRUPT = Step("interrupt", "interrupt", "running the kernel")
END = Step("end", "end", "ending the kernel")
REMAINS = Step("remains", "nothing left behind", "ending the kernel")

#: Those that ``remote-kernels check`` may show.
ALL = (
    *(KERNELSPECS, CONFIGURATION, REACH, HOST_KEY, LOGIN, SHARING),
    *(WORKDIR, FILE, SHELL, PRECMD, PYTHON, SPACE),
    *(PORTS, SCHEDULER, QUEUE, NODE, COMMAND, CHANNEL, ANSWER, CELL, INTERRUPT, END, REMAINS),
)
#: Those for whose time a person waits when a kernel starts.
START_UP = (REACH, LOGIN, WORKDIR, SHELL, PRECMD, QUEUE, ANSWER)

BACK = Step("back", "way back", "getting back to the kernel")
