"""What our programs over there share: how they get there, and sh text that several need."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

#: What the receiver says when it waits for a program.
READY = "@rk-ready"

#: Reads a line of ours and runs it. No more than a line, since what follows is not for the shell,
#: and a shell reads a line byte by byte. Where a start-up file has read it before, what follows
#: must not be taken for one.
RUN_LINE = 'IFS= read -r rk_line; case $rk_line in rk_*) eval "$rk_line" ;; esac'

#: Waits for a line of sh and runs it; bash, csh and fish read it alike.
BOOTSTRAP = f"exec /bin/sh -c '{RUN_LINE}'"

#: The same for what follows a shell that may itself read what comes too early: it says when.
WAITS = f'echo @rk-"ready"; {RUN_LINE}'

# It may be typed into any login shell, hence no "!", no backslash and no single quotation mark in
# it; its echo does not look like READY. A terminal that is not raw would echo the program, change
# its line ends and cut its lines at 4095 bytes. The program is one line, since bash reads ahead
# what has arrived at a terminal, and only its own next read finds that. A scheduler that ends a job
# sends SIGTERM first, many of them to this process alone (Slurm with cgroups); a shell hears it
# only while it waits. Grid Engine (8.1.9) gives the terminal to what qrsh runs only after it has
# started that, and whoever uses a terminal before is stopped; the fields are those of proc(5).
RECEIVER = (
    "while read -r rk_stat </proc/$$/stat && set -- ${rk_stat##*) } && "
    '[ "$6" -gt 0 ] && [ "$6" -ne "$3" ]; do sleep 0.1; done; '
    "set --; trap : HUP INT; stty raw -echo; exec 3<&0; "
    'trap "trap : TERM; rk_word=QUIT; kill -TERM 0" TERM; echo @rk-"ready"; '
    'while read -r rk_word rk_line; do case $rk_word in "") continue ;; '
    # In no subshell: of a terminal that goes away the kernel tells the first process only, and all
    # others when that has ended of it.
    'LAST) trap - HUP; eval "$(printf %b "$rk_line")"; break ;; '
    'RUN) rk_text=$(printf %b "$rk_line"); (eval "$rk_text") <&3 & until wait; do :; done ;; esac; '
    'case $rk_word in QUIT) break ;; esac; echo @rk-"ready"; done'
)


def receiver_command() -> str:
    """The receiver as a command that bash, csh and fish read alike."""
    return f"exec /bin/sh -c '{RECEIVER}'"


#: Sent to a receiver that waits, it ends.
QUIT = b"QUIT\n"


def to_receiver(program: str, *, last: bool = False) -> bytes:
    """What a receiver on a terminal has to be sent so that it runs a program.

    Args:
        program: of sh.
        last: after it the receiver ends, too; otherwise it says READY again.
    """
    line = _in_one_line(program)
    word = "LAST" if last else "RUN"
    # First an end for what may stand there: zsh's own keyboard mode makes a line typed too much
    # end otherwise.
    return as_bytes(f"\n{word} {line}\n")


def as_line(program: str) -> bytes:
    """What is sent to what waits for a line, so that it runs a program."""
    return as_bytes(f"rk_line=; eval {as_word(program)}\n")


def as_word(text: str) -> str:
    """A text of several lines as a word of sh that stands in one."""
    return f'"$(printf %b {shlex.quote(_in_one_line(text))})"'


def through(argv: Sequence[str]) -> bytes:
    """A line that lets all that is sent behind it go on to where a command leads.

    Args:
        argv: of the command, which the login shell makes known; what is at its other end waits for
            a line, as :data:`BOOTSTRAP` does.
    """
    # An interactive bash closes what others have opened, so that it gets our own standard input.
    there = f"exec {shlex.join(argv)}"
    return as_line(f'set --\n{LOGIN_SHELL}\nexec "$@" -c {shlex.quote(there)}')


def _in_one_line(program: str) -> str:
    return program.replace("\\", "\\\\").replace("\n", "\\n")


def as_bytes(program: str) -> bytes:
    """A program's text as it is sent."""
    return program.encode("utf-8", "surrogateescape")


def bootstrap(program: str) -> tuple[str, bytes]:
    """How a program gets to the far side of a session that has no terminal.

    Returns:
        The command for the login shell over there, which bash, csh and fish read alike, and the
        bytes to send to its standard input.
    """
    payload = as_bytes(program)
    return bootstrap_command(str(len(payload))), payload


def bootstrap_command(length: str) -> str:
    """The command that reads a program of so many bytes from standard input, and runs it."""
    return f"exec /bin/sh -c 'eval \"$(head -c {length})\"'"


#: Says a line that nobody else can say; what is made is for nobody else.
TELL = r"""
umask 077
rk_tell() { printf '%s %s\n' "$rk_mark" "$*"; }
"""

#: The same for what starts a kernel: what Jupyter gave to us is not for it.
PROLOGUE = (
    f"exec 2>&1{TELL}"
    + r"""
unset JPY_PARENT_PID JPY_INTERRUPT_EVENT JPY_SESSION_NAME
: "${TERM:=dumb}"
export TERM
"""
)

#: Puts the login shell's argv into "$@" if that is empty.
LOGIN_SHELL = r"""
if [ $# -eq 0 ]; then
  case ${SHELL##*/} in
    bash|zsh|ksh*|mksh|dash|sh|ash|fish) set -- "$SHELL" -l -i ;;
    csh|tcsh) set -- "$SHELL" ;;
    *) set -- /bin/sh -l -i ;;
  esac
fi
"""

#: Runs a command with SIGINT as it is by default: sh ignores it in all that it puts into the
#: background, cannot undo that, and some kernels leave it so.
FRESH = r"""
rk_fresh() {
  if env --default-signal=INT true 2>/dev/null; then
    env --default-signal=INT,QUIT "$@"
  elif command -v perl >/dev/null; then
    perl -e '$SIG{INT} = $SIG{QUIT} = "DEFAULT"; exec @ARGV' "$@"
  else
    "$@"
  fi
}
"""
