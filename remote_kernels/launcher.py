"""What kernel.json runs: the life of one kernel, from the way in to the last file removed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from remote_kernels import __version__
from remote_kernels.connection_file import ConnectionFile
from remote_kernels.errors import KernelStoppedError, RemoteKernelsError, ShellError
from remote_kernels.kernel_environment import VARIABLE, from_json
from remote_kernels.life import Life
from remote_kernels.options import from_argv
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.refusals import LastRefusal
from remote_kernels.session import Session
from remote_kernels.wakeups import Wakeups

if TYPE_CHECKING:
    from remote_kernels.holding import Held
    from remote_kernels.kept_life import KeptLife
    from remote_kernels.options import KernelOptions
    from remote_kernels.whereabouts import Place


def launch(argv: Sequence[str]) -> int:
    """Start the kernel that kernel.json describes, and hold on until it has ended.

    Args:
        argv: kernel.json's argv after the module name.

    Returns:
        The exit code: 0 after a kernel that ended in order, 128 + n after signal n, or that of
        the error, which is then on standard error.
    """
    life: Life | None = None
    try:
        options, path = from_argv(argv)
        # What we start is not to have it.
        options = options._replace(env=from_json(os.environ.pop(VARIABLE, "{}")))
        life = _life(options, ConnectionFile.read(path))
        if (standing := _standing_refusal(life)) is not None:
            code, text = standing
            print(text, file=sys.stderr)
            return code
        return live(life)
    except RemoteKernelsError as error:
        block = life.error_block(error) if life else error.block()
        print(block, file=sys.stderr)
        if life is not None and error.refused:
            LastRefusal(life.connection.path).note(error.exit_code, block)
        return error.exit_code


def _life(options: KernelOptions, connection: ConnectionFile) -> Life:
    """The life of a kernel, on the first of its machines that answers."""
    if not options.fallback or LastRefusal(connection.path).standing() is not None:
        return Life(options._replace(fallback=(), probe_timeout=None), connection)
    from remote_kernels.spare import choice

    chosen = choice(options)
    life = Life(chosen.options, connection)
    life.instead_of, life.spares = chosen.instead_of, chosen.others
    if chosen.instead_of:
        where = life.way or "this machine"
        life.warn(f"remote-kernels: starting on {where}, since {chosen.instead_of}")
    else:
        life.log(f"starting on {life.way}, which answers first; spare: {', '.join(life.spares)}")
    return life


def _standing_refusal(life: Life) -> tuple[int, str] | None:
    """What the launcher before us met, unless there is a way in by now."""
    standing = LastRefusal(life.connection.path).standing()
    if standing is None or standing[0] == KernelStoppedError.exit_code or life.way is None:
        return standing
    from remote_kernels.shared_login import place_for_sockets
    from remote_kernels.way_in import kept_login

    kept = kept_login(life.way, place_for_sockets())
    return None if kept is not None and kept.is_open else standing


def live(life: Life) -> int:
    """The life of a kernel.

    Args:
        life: what is wanted; what came of it when this returns.

    Returns:
        0, or 128 + n after signal n.

    Raises:
        RemoteKernelsError: it failed, or the kernel ended otherwise than in order.
    """
    with ExitStack() as stack:
        wakeups = stack.enter_context(Wakeups())
        place = PrivateDirectory()
        stack.callback(place.remove)
        life.log(f"remote-kernels {__version__}, interface {life.interface.name}")
        if life.options.synced is not None and life.way is not None:
            _bring_files(life, wakeups, stack)
        if life.terminated_by:
            return 128 + life.terminated_by
        if life.interface.keeps(life.options):
            _live_kept(life, place, wakeups, stack)
        else:
            _live_plainly(life, place, None, wakeups, stack)
        if life.terminated_by:
            return 128 + life.terminated_by
        if life.ended_well:
            return 0
        raise life.end_error(place.path)


def _bring_files(life: Life, wakeups: Wakeups, stack: ExitStack) -> None:
    """Bring the files to the kernel's host that are to follow it, and start it where they are."""
    from remote_kernels.following import Following

    following = Following(life, stack)
    following.wait(wakeups)
    life.workdir = following.there or life.workdir


def _live_kept(life: Life, place: PrivateDirectory, wakeups: Wakeups, stack: ExitStack) -> None:
    from remote_kernels.way_in import log_in

    taken = there = None
    if life.interface.terminal:
        from remote_kernels.holding import take_over

        taken = take_over("kept", life.connection.path, life.connection.local_endpoints)
        there = _place_in_a_job(life) if taken is None else None
    login = log_in(life, place.path) if taken is None else None
    # The session is on its way; from here on there is time.
    if there is not None or life.options.existing is not None or life.options.keep:
        kept = _staying(life, place, taken, there)
    elif life.interface.terminal:
        from remote_kernels.kept_job import KeptJob

        kept = KeptJob(life, place, taken)
    else:
        from remote_kernels.kept_life import KeptLife

        kept = KeptLife(life, place)
    kept.begin(login, stack)
    open_log(life, stack)
    kept.carry_until_the_end(wakeups)
    needs_keeper = life.options.existing is not None or life.options.keep
    if kept.channel.has_no_python and needs_keeper:
        raise ShellError(
            "there is no Python 3.6 or newer over there, which carries the kernel's sockets"
        )
    if kept.channel.has_no_python:
        life.log(
            "there is no Python 3.6 or newer over there: the sockets are carried by forwards, "
            "and a line that breaks ends the kernel"
        )
        _live_plainly(life, place, kept.give_up(), wakeups, stack)


def _place_in_a_job(life: Life) -> Place | None:
    """Where the kernel is that runs already; None where a new one is wanted."""
    if life.options.existing is None and not life.options.keep:
        return None
    from remote_kernels.interfaces.scheduler import Scheduler
    from remote_kernels.keeper_order import kept_as
    from remote_kernels.whereabouts import place_of, place_of_kept

    scheduler, options = life.interface, life.options
    assert issubclass(scheduler, Scheduler)
    if options.existing is not None:
        return place_of(life.way, [scheduler], options.existing, life.log, alone=options.no_share)
    return place_of_kept(life.way, scheduler, kept_as(life), life.log, alone=options.no_share)


def _staying(
    life: Life,
    place: PrivateDirectory,
    taken: tuple[Held, list[int]] | None,
    there: Place | None,
) -> KeptLife:
    """The life of a kernel that does not end with its launcher."""
    from remote_kernels.interfaces.base import spool_of
    from remote_kernels.visit import KernelVisit, StayingKernel
    from remote_kernels.visiting_keeper import VisitOrder

    selector, hop = there if there is not None else (life.options.existing or "", b"")
    spool = spool_of(life.options)
    if life.options.existing is not None:
        return KernelVisit(life, place, VisitOrder(selector, spool), hop)
    if there is not None:
        return StayingKernel(life, place, VisitOrder(selector, spool, returns=True), hop)
    if life.interface.terminal:
        from remote_kernels.staying_job import StayingJob

        return StayingJob(life, place, taken)
    from remote_kernels.keeper_order import kept_as, kernel_order
    from remote_kernels.kept_kernels import KeptOrder

    return StayingKernel(life, place, KeptOrder(kept_as(life), vars(kernel_order(life))))


def _live_plainly(
    life: Life,
    place: PrivateDirectory,
    session: Session | None,
    wakeups: Wakeups,
    stack: ExitStack,
) -> None:
    from remote_kernels.plain_kernel import PlainKernel

    plain = PlainKernel(life, place)
    plain.begin(stack, session)
    if life.log_path is None:
        open_log(life, stack)
    plain.carry_until_the_end(wakeups, stack)


def open_log(life: Life, stack: ExitStack) -> None:
    """Let the log of a life go into a file.

    Args:
        life: of the kernel.
        stack: takes what is to be done at the end.
    """
    from remote_kernels.kernel_log import KernelLog, identity, printable

    LastRefusal(life.connection.path).remove_stale()
    if life.trace is not None:
        # Somebody looks on, and the kernel's own logs are to stay.
        life.log_into(lambda text: None, printable, None)
        return
    log = KernelLog(life.connection.kernel_id, life.connection.secrets, life.options.verbose)
    stack.callback(log.close)
    log.write(f"kernel: {identity(life.options)}")
    life.log_into(log.write, log.clean, log.path)
