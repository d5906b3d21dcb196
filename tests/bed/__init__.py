"""The bed: real machines to test against, made of namespaces on one Linux host.

::

               +-- far <-- box              far: sshd on 22 and 2222, elsewhere on 22; box is
               |                            behind NAT, so it reaches far, and nobody reaches it
    laptop ----+-- oar                      a cluster of one machine, with OAR
    (pytest)   +-- gw1 --+-- gw2 -- inner
                         |
                         +-- login --+-- n1      a cluster on a switch of its own,
                                     +-- n2      with Slurm and Grid Engine

Each machine has a network, host name, process table and file system of its own; only
neighbours know and reach each other. ``tests/run`` starts ``python -m bed run -- pytest`` as
root; pytest itself runs on the laptop as the ordinary user ``mia`` and asks the root process
for what needs root's hand (``client``). When the root process ends, in whatever way, the kernel
ends everything that ran on the machines, and with the last process the files are gone too.

``plan`` says what exists, ``boot`` is what each machine does first, ``machines`` and
``requests`` are root's side, ``client`` and ``remains`` are for the tests, and so are the
schedulers, which no machine starts by itself: ``slurm``, ``gridengine`` and ``oar``.
"""

from bed.client import Bed, CommandFailedError, Finished, Machine
from bed.gridengine import GridEngine
from bed.oar import Oar
from bed.remains import SomethingRemainsError, Watch
from bed.scheduler import Job, Scheduler
from bed.slurm import Slurm
from bed.waiting import wait_until

__all__ = [
    "Bed",
    "CommandFailedError",
    "Finished",
    "GridEngine",
    "Job",
    "Machine",
    "Oar",
    "Scheduler",
    "Slurm",
    "SomethingRemainsError",
    "Watch",
    "wait_until",
]
