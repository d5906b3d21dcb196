"""The sh program that asks for a job on the login host, and gives it back however all ends.

It runs in the session's terminal, in the environment of the login shell, where sites make their
scheduler's commands known. The scheduler's command has the terminal; beside it runs what looks at
the job while it waits, and what cancels it when the terminal goes away: some commands take no
notice of that, and none can when it is killed.

What it says, in this order:

================ ================================================================================
``LOGIN host``   the login worked and our program runs
``ASKED``        the login shell's start-up files let us through; the command is run
``LOOK text``    what the scheduler says of the job that waits
``DONE status``  the command ended
``LOOK text``    what the scheduler says of why
``GONE``         there is no job any more
================ ================================================================================

The words that the person gave reach the command as they are. Only sh, cat, env, sed, tr, sleep and
the scheduler's own commands are needed.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from remote_kernels.shell_text import LOGIN_SHELL, PROLOGUE, as_bytes

# For the login shell; bash, csh and fish read it alike.
_RUN = 'exec /bin/sh -c \'eval "$(printf %b "$RK_PROGRAM")"\''

#: Seconds between two looks at a job that waits: the first comes early, then ever more seldom.
FIRST_LOOK, NEXT_LOOKS = 2, (10, 20, 30, 60)


class QueueScript(NamedTuple):
    """What the program does.

    Attributes:
        mark: begins each line that the program itself says.
        command: argv of the scheduler's command.
        environment: set for it.
        unset: patterns of sh's case of the variables that must not reach it.
        kept: of these, the ones that may.
        end_signal: ends the command; empty where cancelling the job does so.
        own_session: whether the command runs in a session of its own, out of the reach of the
            signal of a terminal that goes away.
        look: sh command that prints what the scheduler knows of the job; empty for none.
        settled: pattern of sh's case for what it prints when the job does not wait any more.
        look_back: sh command that prints why the job has ended; empty for none.
        cancel: sh command that cancels the job.
    """

    mark: str
    command: Sequence[str]
    environment: Mapping[str, str]
    unset: Sequence[str]
    kept: Sequence[str]
    end_signal: str
    own_session: bool
    look: str
    settled: str
    look_back: str
    cancel: str

    def text(self) -> str:
        """The whole program."""
        # Only the first process of a session is told that its terminal went away; when it ends of
        # that, all others are.
        head = f"rk_mark={shlex.quote(self.mark)}\n{PROLOGUE}"
        inner = "\n".join([head, self._unset(), self._functions(), self._exports(), self._body()])
        return "\n".join(
            [
                head,
                'rk_tell LOGIN "$(uname -n)"',
                # A shell that is given the whole program would have to understand its quotes.
                f"RK_PROGRAM={shlex.quote(_for_printf(inner))}",
                "export RK_PROGRAM",
                LOGIN_SHELL,
                # A csh that is given a command cannot be a login shell.
                "rk_first='if ( -r ~/.login ) source ~/.login'",
                "case ${1##*/} in csh|tcsh) ;; *) rk_first= ;; esac",
                f'exec "$@" -c "$rk_first\n"{shlex.quote(_RUN)}',
            ]
        )

    def beside(self, command: Sequence[str]) -> str:
        """A program that runs another command in the login shell, where no job's variables are.

        Args:
            command: argv; its words are read by any shell.
        """
        lines = [PROLOGUE, self._unset(), self._exports(), "set --", LOGIN_SHELL]
        return "\n".join([*lines, f'exec "$@" -c {shlex.quote(f"exec {shlex.join(command)}")}'])

    def _unset(self) -> str:
        lines = ["unset RK_PROGRAM"]
        if self.unset:
            kept = f"{'|'.join(self.kept)}) ;; " if self.kept else ""
            lines += [
                "for rk_name in $(env | sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p'); do",
                f'  case $rk_name in {kept}{"|".join(self.unset)}) unset "$rk_name" ;; esac',
                "done",
            ]
        return "\n".join(lines)

    def _functions(self) -> str:
        return "\n".join(
            [
                f"rk_look() {{ {self.look or ':'}; }}",
                f"rk_look_back() {{ {self.look_back or ':'}; }}",
                f"rk_cancel() {{ {self.cancel}; }}",
                f"rk_settled() {{ case $1 in {self.settled}) ;; *) return 1 ;; esac; }}",
                f"rk_signal={self.end_signal}",
                f"rk_setsid={'$(command -v setsid)' if self.own_session else ''}",
                f"rk_pause={FIRST_LOOK} rk_pauses='{' '.join(map(str, NEXT_LOOKS))}'",
            ]
        )

    def _exports(self) -> str:
        return "\n".join(
            f"{name}={shlex.quote(value)}; export {name}"
            for name, value in self.environment.items()
        )

    def _body(self) -> str:
        return f"set -- {shlex.join(self.command)}\n{_BODY}"


def _for_printf(text: str) -> str:
    """The text in ASCII for printf's %b: without a locale fish writes other letters anew."""
    return "".join(
        chr(byte) if byte < 0x80 and byte != ord("\\") else f"\\0{byte:03o}"
        for byte in as_bytes(text)
    )


_BODY = r"""
# Start-up files may have changed the terminal.
stty raw -echo 2>/dev/null
rk_tell ASKED
rk_line() { tr '\n' ' ' | tr -d '\r'; }

# Scheduler's messages that there is no such job (any more) are no news.
# The signal of a terminal that goes away must not end what cancels.
rk_cancel_quietly() { (trap '' HUP INT TERM; rk_cancel) >/dev/null 2>&1; }

rk_client_runs() { kill -0 "$rk_client" 2>/dev/null; }
rk_wait() {
  for rk_try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    rk_client_runs || return
    sleep 0.2
  done
}
rk_give_up() {
  # Not ":": a trap that runs within another's gives it a status of before (dash 0.5.12, busybox),
  # and an "if" goes wrong by that.
  trap '' HUP TERM
  if [ -n "$rk_signal" ]; then
    kill "-$rk_signal" "$rk_client" 2>/dev/null
    rk_wait
  fi
  # The scheduler's own way lets what runs in the job clean up. A client that takes no signal may be
  # of another user (OAR's is), and then we cannot see whether it runs.
  if [ -z "$rk_signal" ] || rk_client_runs; then rk_cancel_quietly; rk_wait; fi
  kill -KILL "$rk_client" 2>/dev/null
}

# salloc gives the terminal to the shell of a job only after it has started it; a shell that was
# faster stands stopped, and nobody continues it. The fields are those of proc(5).
rk_continue() {
  { read -r rk_stat </proc/$$/stat; } 2>/dev/null || return
  set -- ${rk_stat##*) }
  { read -r rk_stat <"/proc/$6/stat"; } 2>/dev/null || return
  case ${rk_stat##*) } in T*) kill -CONT "-$6" ;; esac
}
rk_watch() {
  trap : HUP
  rk_is_settled=
  while sleep "$rk_pause" && [ -t 3 ]; do
    rk_continue
    [ -z "$rk_is_settled" ] || return
    rk_seen=$(rk_look 2>/dev/null | rk_line)
    [ -z "$rk_seen" ] || rk_tell LOOK "$rk_seen"
    [ -n "$rk_seen" ] && rk_settled "$rk_seen" && rk_is_settled=yes
    set -- $rk_pauses
    rk_pause=$1
    [ $# -eq 1 ] || { shift; rk_pauses=$*; }
  done
  # What sleeps may be the only one that has heard of it.
  kill -HUP "$rk_guard"
}

exec 3<&0 5>&1
(
# Nobody but the first process, which waits for this one, ends when the terminal goes away.
trap '' HUP TERM
{
  trap : HUP INT TERM
  # In the foreground of the pipe, since what is put into the background ignores SIGINT.
  $rk_setsid /bin/sh -c 'echo $$ >&4; exec 4>&-; exec "$@"' sh "$@" <&3 >&5 2>&1 3<&- 5>&-
  rk_status=$?
  rk_tell DONE $rk_status >&5
  # A command that was killed leaves its job in the queue.
  rk_cancel_quietly
  # Where somebody is there to be told.
  rk_seen=$([ -t 3 ] && rk_look_back 2>/dev/null | rk_line)
  [ -z "$rk_seen" ] || rk_tell LOOK "$rk_seen" >&5
  rk_tell GONE >&5
} 4>&1 | {
  exec >&5
  rk_over=
  trap rk_over=yes HUP TERM
  rk_guard=$(exec /bin/sh -c 'echo $PPID')
  rk_watch &
  rk_watcher=$!
  # The signal ends a read.
  for rk_try in 1 2 3 4 5; do read -r rk_client && break; done
  # A shell hears a signal while it waits, but may miss one as it begins to read.
  exec 6<&0
  cat <&6 >/dev/null &
  rk_end=$!
  trap rk_give_up HUP TERM
  [ -z "$rk_over" ] && [ -t 3 ] || rk_give_up
  while kill -0 "$rk_end" 2>/dev/null; do wait "$rk_end"; done
  # One that has just begun may lose any other signal.
  kill -KILL "$rk_watcher" 2>/dev/null
}
)
exit
"""
