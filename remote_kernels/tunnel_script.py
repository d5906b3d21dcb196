"""The sh program beside a reverse tunnel: who holds its port, and the end of one that is dead.

sshd keeps the port of a connection that has died for as long as it does not notice, which may be
for ever. So a note beside each tunnel says whose it is, and which sshd carries it: that process is
the user's own, and may be ended. Nothing else tells: what an sshd has open is root's to see.

It looks for sockets that listen, since sshd with "GatewayPorts yes" (sshd_config(5)) lets everybody
connect, whatever address was asked for.
"""

from __future__ import annotations

import shlex

#: What it is told: look at the port; it is to be open, so look again, and note it; are you there?
LOOK, OPENED, PING = "LOOK", "OPENED", "PING"
#: What it tells of the port: nobody holds it; nobody any more, since the one that did was a dead
#: tunnel of ours, made at that time; another machine's tunnel does, since then; something does.
FREE, CLEARED, HELD, TAKEN = "FREE", "CLEARED", "HELD", "TAKEN"
#: And of the tunnel: it leads here from that machine alone; others can connect to those addresses;
#: it is not seen, where it cannot look.
OPEN, EXPOSED, UNSEEN = "OPEN", "EXPOSED", "UNSEEN"
#: It is there.
PONG = "PONG"

# Seconds, in tenths, for an sshd to end, and for its port to be free.
_PATIENCE = 30
# 127.0.0.1, ::1 and ::ffff:127.0.0.1, as proc_net(5) tells of them (in the machine's own order of
# bytes), and as netstat does.
_LOOPBACK = (
    *("0100007F", "7F000001", "127.0.0.1", "::1"),
    *("00000000000000000000000001000000", "00000000000000000000000000000001"),
    *("0000000000000000FFFF00000100007F", "00000000000000000000FFFF7F000001"),
)

_PROGRAM = r"""
set -f
rk_port={port} rk_hex={port:04X} rk_box={box} rk_name={name}
rk_note=$HOME/.rk-reverse-$(uname -n)-$rk_port
rk_mine=

# The addresses on which somebody listens at the port.
rk_listens() {{
  if [ -r /proc/net/tcp ]; then
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
      while read -r rk_n rk_local rk_remote rk_state rk_rest; do
        case $rk_state-$rk_local in 0A-*:"$rk_hex") echo "${{rk_local%:*}}" ;; esac
      done
  else
    netstat -an 2>/dev/null |
      while read -r rk_kind rk_in rk_out rk_local rk_remote rk_state rk_rest; do
        case $rk_kind-$rk_state-$rk_local in
          tcp*-LISTEN-*[.:]"$rk_port") echo "${{rk_local%[.:]*}}" ;;
        esac
      done
  fi
}}
# When a process was started, in a way that no later one of its number shares; see proc(5).
rk_began() {{
  [ -r "/proc/$1/stat" ] && read -r rk_stat <"/proc/$1/stat" || return
  case $rk_stat in *" (sshd) "* | *" (sshd-session) "*) ;; *) return 1 ;; esac
  set -- ${{rk_stat##*) }}
  echo "${{20}}"
}}
# The nearest sshd above us.
rk_sshd=$PPID
while [ "$rk_sshd" -gt 1 ] && ! rk_began "$rk_sshd" >/dev/null; do
  if [ -r "/proc/$rk_sshd/stat" ] && read -r rk_stat <"/proc/$rk_sshd/stat"; then
    set -- ${{rk_stat##*) }}
    rk_sshd=$2
  else
    rk_sshd=0
  fi
done
rk_is_free() {{
  rk_left={patience}
  while [ -n "$(rk_listens)" ]; do
    [ $rk_left -gt 0 ] || return 1
    rk_left=$((rk_left - 1))
    sleep 0.1 2>/dev/null || {{ sleep 1; rk_left=$((rk_left - 9)); }}
  done
}}
rk_look() {{
  if [ -z "$(rk_listens)" ]; then
    rk_tell FREE
  elif [ ! -r "$rk_note" ] || ! read -r rk_whose rk_pid rk_then rk_since rk_by <"$rk_note" ||
    [ -z "$rk_then" ] || [ "$(rk_began "$rk_pid")" != "$rk_then" ]; then
    rk_tell TAKEN
  elif [ "$rk_whose" != "$rk_box" ]; then
    rk_tell HELD "$rk_since" "$rk_by"
  elif kill "$rk_pid" && rk_is_free || {{ kill -9 "$rk_pid" && rk_is_free; }}; then
    rk_tell CLEARED "$rk_since"
  else
    rk_tell TAKEN
  fi
}}
rk_opened() {{
  rk_seen= rk_open=
  for rk_address in $(rk_listens); do
    rk_seen=$rk_address
    case $rk_address in {loopback}) ;; *) rk_open="$rk_open $rk_address" ;; esac
  done
  if [ -n "$rk_open" ]; then
    rk_tell EXPOSED$rk_open
    return
  fi
  # Whole or not at all, and not through a link of somebody's.
  if rk_then=$(rk_began "$rk_sshd"); then
    rk_mine="$rk_box $rk_sshd $rk_then $(date +%s) $rk_name"
    echo "$rk_mine" >"$rk_note.$$" && mv -f "$rk_note.$$" "$rk_note" || rm -f "$rk_note.$$"
  fi
  if [ -n "$rk_seen" ]; then rk_tell OPEN; else rk_tell UNSEEN; fi
}}
rk_end() {{
  if [ -n "$rk_mine" ] && [ -r "$rk_note" ] && [ "$(cat "$rk_note")" = "$rk_mine" ]; then
    rm -f "$rk_note"
  fi
  # Who goes through the tunnel would keep it.
  [ "$rk_sshd" -le 1 ] || kill "$rk_sshd"
}}
trap rk_end EXIT
trap 'exit 0' HUP INT TERM
while read -r rk_line; do
  case $rk_line in
    LOOK) rk_look ;;
    OPENED) rk_opened ;;
    PING) rk_tell PONG ;;
  esac
done
"""


def tunnel_program(port: int, box: str, name: str) -> str:
    """The program, for what has rk_tell; see :data:`~remote_kernels.shell_text.TELL`.

    Args:
        port: over there.
        box: tells this machine and its user from all others; one word.
        name: of this machine, for a person.
    """
    return _PROGRAM.format(
        port=port,
        box=shlex.quote(box),
        name=shlex.quote(name),
        patience=_PATIENCE,
        loopback=" | ".join(_LOOPBACK),
    )
