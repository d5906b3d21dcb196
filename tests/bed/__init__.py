"""The bed: real machines to test against, made of namespaces on one Linux host.

::

               +-- link -- far                      sshd on 22 and 2222
    laptop ----|
    (pytest)   +-- link -- gw1 -- link -- gw2 -- link -- inner
                           sshd          sshd          sshd

Each machine has a network, host name, process table and file system of its own; only
neighbours know and reach each other. ``tests/run`` starts ``python -m bed run -- pytest`` as
root; pytest itself runs on the laptop as the ordinary user ``mia`` and asks the root process
for what needs root's hand (``client``). When the root process ends, in whatever way, the kernel
ends everything that ran on the machines, and with the last process the files are gone too.

``plan`` says what exists, ``boot`` is what each machine does first, ``machines`` and
``requests`` are root's side, ``client`` and ``remains`` are for the tests.
"""

from bed.client import Bed, CommandFailedError, Finished, Machine
from bed.remains import SomethingRemainsError, Watch
from bed.waiting import wait_until

__all__ = [
    "Bed",
    "CommandFailedError",
    "Finished",
    "Machine",
    "SomethingRemainsError",
    "Watch",
    "wait_until",
]
