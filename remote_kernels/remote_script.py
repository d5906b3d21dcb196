"""The sh program that starts a kernel on the far side and ends it again.

Everything that goes there is one text of POSIX sh, sent through the session's standard input, so
that no key stands in a command line. Afterwards the session carries words: from us ``INT``,
``TERM``, ``PING`` and ``END``, from there lines that begin with a mark nobody else can know.

What the far side says, in this order, but for START, which may come later than SHELL and PRECMD:

=================== =============================================================================
``HELLO host job``  the login worked and our program runs; the job's id if there is one
``COPY path``       where the connection file lies; no path if that has several lines
``START group p…``  the kernel's process group and its five ports, in PORT_NAMES' order
``SHELL``           the login shell's start-up files let us through
``PRECMD status``   the pre-command ended
``UP``              the kernel listens on its ports
``FAIL what``       ENVIRONMENT, WORKDIR, PORTS or FILE: the sentence on it was printed before
``EXIT status``     the kernel ended, its connection file is removed; then ``MEMORY`` if it was
                    killed, and Linux has killed something since its start for want of memory
``PONG``            the answer to PING
=================== =============================================================================

Only sh, awk, cat, grep, uname and sleep are needed over there; setsid and readlink are used where
they exist.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any, NamedTuple

from remote_kernels.connection_file import PORT_NAMES, copy_parts
from remote_kernels.errors import OptionsError
from remote_kernels.kernel_environment import KernelEnvironment
from remote_kernels.shell_text import FRESH, LOGIN_SHELL, PROLOGUE

_FIELD = re.compile(r"\{(?:(?:host_)?connection_file|ci\[(\w+)\])\}")
# What a shell takes as it is, at least in quotes. Front ends may write more than the ports into the
# file, as the notebook's path (jupyter_session).
_HARMLESS = re.compile(r"[\w@%+=:,./ -]*")
_SECRET_FIELDS = frozenset({"key", "curve_secretkey"})


class Script(NamedTuple):
    """What the program does.

    Attributes:
        mark: begins each line that the program itself says.
        info: content of the connection file.
        copy_name: name of the connection file over there.
        kernel_cmd: the person's kernel command, with its {connection_file} or {ci[…]} fields.
        precmd: the person's pre-command.
        environment: what the kernel finds over there.
        workdir: a directory that has to exist over there.
        near_directory: entered if no workdir is given and it exists over there, to be written to.
        shell: argv of the shell that runs the kernel command with -c; empty: the login shell.
        keep_ports: the kernel takes the ports of the connection file as they are.
        ports: that the kernel takes instead, in PORT_NAMES' order; empty: chosen over there.
        unset: variables that the kernel must not have.
        job_variable: the one that holds the id of the job in which this runs; empty for none.
    """

    mark: str
    info: Mapping[str, Any]
    copy_name: str
    kernel_cmd: str
    precmd: str | None = None
    environment: KernelEnvironment = KernelEnvironment()
    workdir: str | None = None
    near_directory: str | None = None
    shell: Sequence[str] = ()
    keep_ports: bool = False
    ports: Sequence[int] = ()
    unset: Sequence[str] = ()
    job_variable: str = ""

    def text(self) -> str:
        """The whole program."""
        values = {
            "mark": self.mark,
            "workdir": self.workdir or "",
            "near": self.near_directory or "",
            "name": self.copy_name,
            "ports": " ".join(map(str, self._ports())),
        }
        job = f'"${{{self.job_variable}-}}"' if self.job_variable else ""
        assignments = [f"rk_{name}={shlex.quote(value)}" for name, value in values.items()]
        return "\n".join(
            [
                *assignments,
                PROLOGUE,
                *(f"unset {name}" for name in self.unset),
                *self._handed_over(),
                f'rk_tell HELLO "$(uname -n)" {job}',
                _PLACE,
                f"rk_json={self._json()}",
                *(f"rk_text_{name}={self._shell_text(name)}" for name in DIALECTS),
                f"set -- {shlex.join(self.shell)}",
                LOGIN_SHELL,
                FRESH,
                _BODY,
            ]
        )

    def _handed_over(self) -> list[str]:
        """Assignments of what the login shell is handed for the environment."""
        handed_over = self.environment.handed_over()
        return [f"export {name}={shlex.quote(value)}" for name, value in handed_over.items()]

    def _ports(self) -> Sequence[int]:
        return [self.info[name] for name in PORT_NAMES] if self.keep_ports else self.ports

    def _json(self) -> str:
        """The connection file's text as an sh word in which the ports are variables."""
        whole = [json.dumps(self.info, indent=2)]
        parts = whole if self.keep_ports else copy_parts(self.info)
        # Quoted as a whole, since it becomes a here-document.
        return '"' + "".join(map(_in_double_quotes, parts)) + '"'

    def _shell_text(self, dialect: str) -> str:
        """What the login shell is to run, as an sh word."""
        text = shlex.quote(shell_text(dialect, self.mark, self.precmd, self.environment))
        return text + kernel_command_word(self.kernel_cmd, self.info)


def _in_double_quotes(part: str | list[str]) -> str:
    if isinstance(part, list):
        return _VARIABLES[part[0]]
    return re.sub(r'([\\`"$])', r"\\\1", part)


def kernel_command_word(kernel_cmd: str, info: Mapping[str, Any]) -> str:
    """The kernel command as an sh word in which path and ports are variables.

    Raises:
        OptionsError: as :func:`kernel_command_parts`.
    """
    return "".join(
        shlex.quote(part) if isinstance(part, str) else f'"{_VARIABLES[part[0]]}"'
        for part in kernel_command_parts(kernel_cmd, info)
    )


def kernel_command_parts(kernel_cmd: str, info: Mapping[str, Any]) -> list[str | list[str]]:
    """The kernel command, in which a list of one name stands for what is known over there only.

    Fields are ``{connection_file}``, ``{host_connection_file}`` and ``{ci[shell_port]}`` with its
    like. remote_ikernel took the command for a format string, in which ``{{`` is a brace; that is
    kept where it has our fields only. Any other command is taken as typed.

    Raises:
        OptionsError: a field would put a secret into a command line, is not in the file, or holds
            what a shell would read.
    """
    refuse_secrets(kernel_cmd)
    parts: list[str | list[str]] = []
    position = 0
    format_string = _only_our_fields(kernel_cmd)
    for match in _FIELD.finditer(kernel_cmd):
        parts.append(_literal(kernel_cmd[position : match.start()], format_string))
        position = match.end()
        parts.append(_field(match, info))
    return [*parts, _literal(kernel_cmd[position:], format_string)]


def refuse_secrets(kernel_cmd: str) -> None:
    """Refuse a kernel command that would show the key in a command line.

    Raises:
        OptionsError: it has a field for a secret.
    """
    for match in _FIELD.finditer(kernel_cmd):
        if match.group(1) in _SECRET_FIELDS:
            raise OptionsError(
                f"{match[0]} in the kernel command would show the key to everybody over there; "
                "use {connection_file}"
            )


def _literal(text: str, format_string: bool) -> str:
    if format_string:
        return text.replace("{{", "{").replace("}}", "}")
    return text


def _only_our_fields(kernel_cmd: str) -> bool:
    try:
        parsed = list(Formatter().parse(kernel_cmd))
    except ValueError:
        return False
    return all(
        name is None or (_FIELD.fullmatch("{" + name + "}") and not spec and not conversion)
        for _, name, spec, conversion in parsed
    )


def _field(match: re.Match[str], info: Mapping[str, Any]) -> str | list[str]:
    name = match.group(1)
    if name is None:
        return ["path"]
    if name in PORT_NAMES or name == "ip":
        return [name]
    if name not in info:
        raise OptionsError(f"{match[0]} in the kernel command is not in the connection file")
    value = str(info[name])
    if not _HARMLESS.fullmatch(value):
        raise OptionsError(
            f"{match[0]} in the kernel command is {value!r}, which a shell would not take as it is"
        )
    return value


_VARIABLES = {
    "path": "$rk_path",
    "ip": "127.0.0.1",
    "transport": "tcp",
    **{name: f"$rk_{name}" for name in PORT_NAMES},
}


def shell_text(dialect: str, mark: str, precmd: str | None, environment: KernelEnvironment) -> str:
    """What the login shell is to run before the kernel command.

    Args:
        dialect: sh, fish or csh.
        mark: begins each line that it says for us.
        precmd: the person's pre-command.
        environment: what the kernel finds over there.
    """
    before, after = (text.replace("MARK", mark) for text in DIALECTS[dialect])
    by_person = f"{precmd}\n{after}" if precmd else ""
    return before + environment.activation(dialect) + by_person + environment.exports(dialect)


#: For each family of shells: what it runs first, and what it runs after the pre-command.
DIALECTS = {
    # dash ends with SIGINT's status, whatever the kernel's was, unless it has a trap for it.
    "sh": (
        "trap : INT\nprintf '%s SHELL\\n' MARK\n",
        "rk_status=$?\nprintf '%s PRECMD %s\\n' MARK $rk_status\n"
        '[ "$rk_status" = 0 ] || exit "$rk_status"\n',
    ),
    "fish": (
        "printf '%s SHELL\\n' MARK\n",
        "set rk_status $status\nprintf '%s PRECMD %s\\n' MARK $rk_status\n"
        "test $rk_status = 0; or exit $rk_status\n",
    ),
    "csh": (
        # A csh that is given a command cannot be a login shell.
        "if ( -r ~/.login ) source ~/.login\nprintf '%s SHELL\\n' MARK\n",
        "set rk_status = $status\nprintf '%s PRECMD %s\\n' MARK $rk_status\n"
        "if ($rk_status != 0) exit $rk_status\n",
    ),
}

_PLACE = r"""
case ${rk_activate-} in '~/'*) rk_activate=$HOME/${rk_activate#'~/'} ;; esac

# Who reads the words notices that all is to end; "trap :" unlike "trap ''" is not inherited.
rk_over=
trap rk_over=yes HUP TERM
rk_fail() { rk_tell FAIL "$@"; exit 1; }
if [ -n "${rk_activate-}" ] && ! [ -d "$rk_activate" ]; then
  printf '%s: no such directory\n' "$rk_activate"
  rk_fail ENVIRONMENT
fi

case $rk_workdir in
  # Without write permission there the connection file could not be.
  '') cd -- "$rk_near" 2>/dev/null && [ -w . ] || cd 2>/dev/null || cd / ;;
  '~') cd || rk_fail WORKDIR ;;
  '~/'*) cd -- "$HOME/${rk_workdir#'~/'}" || rk_fail WORKDIR ;;
  /*) cd -- "$rk_workdir" || rk_fail WORKDIR ;;
  *) cd -- "./$rk_workdir" || rk_fail WORKDIR ;;
esac
# A kernel command names the file in its own quotes, so a path that needs quoting stays relative.
case $PWD/ in
  *[!A-Za-z0-9_./+,:=@%-]*) rk_path=./$rk_name ;;
  */) rk_path=${PWD%/}/$rk_name ;;
esac
rk_file=$rk_path

# Five in a row of 15000 to 31999, below those that systems give out for outgoing connections. Since
# a kernel listens some time after its ports were looked at, programs that run at once begin at
# different ones, by the shell's number and that of the space of process numbers it is in.
rk_choose_ports() {
  rk_space=$(readlink /proc/self/ns/pid 2>/dev/null)
  { cat /proc/net/tcp /proc/net/tcp6 || netstat -an -p tcp; } 2>/dev/null |
  awk -v number=$$ -v space="$rk_space" '
    BEGIN { gsub(/[^0-9]/, "", space) }
    { sub(/.*[:.]/, "", $2); sub(/.*[:.]/, "", $4); taken[$2]; taken["d" $4] }
    END {
      # 997 has no factor in common with 3400, so all are tried; neighbours are where others begin.
      for (try = 0; try < 3400 && found < 5; try++) {
        base = 15000 + (number + space + 997 * try) % 3400 * 5
        for (found = 0; found < 5; found++) {
          hex = sprintf("%04X", base + found)
          if (hex in taken || ("d" (base + found)) in taken) break
        }
      }
      if (found == 5) print base, base + 1, base + 2, base + 3, base + 4
    }'
}
[ -n "$rk_ports" ] || rk_ports=$(rk_choose_ports)
set -- $rk_ports
[ $# -eq 5 ] || rk_fail PORTS
rk_shell_port=$1 rk_iopub_port=$2 rk_stdin_port=$3 rk_control_port=$4 rk_hb_port=$5
"""

_BODY = r"""
case ${1##*/} in
  fish) rk_text=$rk_text_fish ;;
  csh|tcsh) rk_text=$rk_text_csh ;;
  *) rk_text=$rk_text_sh ;;
esac

# Whoever takes the name in between must not be written to: remove, then create or fail.
rm -f -- "$rk_file" && (set -C; cat > "$rk_file") <<RK_END || {
$rk_json
RK_END
  rm -f -- "$rk_file"
  rk_fail FILE
}
# A path of several lines cannot be told.
case $PWD in
  *'
'*) rk_tell COPY ;;
  *) rk_tell COPY "${PWD%/}/$rk_name" ;;
esac
# A kernel that was started anew under the same name has other ports, so its file is not ours.
rk_remove_file() {
  [ "$(cat -- "$rk_file" 2>/dev/null)" != "$rk_json" ] || rm -f -- "$rk_file"
}
# This form of kill, unlike "-s TERM --", is understood by dash, bash, busybox and zsh alike.
rk_running() { kill -0 "-$rk_group" 2>/dev/null; }
rk_end_kernel() {
  for rk_signal in TERM KILL; do
    kill -$rk_signal "-$rk_group" 2>/dev/null
    for rk_try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
      rk_running || return
      sleep 0.1
    done
  done
}
rk_listening() {
  [ -r /proc/net/tcp ] || return 0
  rk_pattern=$(printf ':%04X [0-9A-F:]* 0A |' $rk_ports)
  [ "$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -Ec "${rk_pattern%|}")" -ge 5 ]
}
# How often Linux has killed something of this job or session (cgroups(7), version 2 and 1).
rk_kills() {
  while IFS=: read -r rk_id rk_kind rk_group; do
    case ,$rk_kind, in
      ,,) set -- /sys/fs/cgroup memory.events ;;
      *,memory,*) set -- /sys/fs/cgroup/memory memory.oom_control ;;
      *) continue ;;
    esac
    # In a container its own branch may stand for the whole tree.
    until [ -r "$1$rk_group/$2" ] || [ -z "$rk_group" ]; do
      rk_group=${rk_group#/}
      case $rk_group in */*) rk_group=/${rk_group#*/} ;; *) rk_group= ;; esac
    done
    grep '^oom_kill ' "$1$rk_group/$2"
  done 2>/dev/null </proc/self/cgroup
}
rk_watch() {
  until rk_listening; do
    rk_running || return
    sleep 0.05
  done
  rk_tell UP
}

# With a session of its own the kernel gets no signal but ours; a foreground process, unlike one in
# the background, keeps SIGINT. What is not Linux has no setsid, but a sh that knows "set -m".
rk_setsid=$(command -v setsid) || set -m
rk_kills_before=$(rk_kills)

exec 3<&0 5>&1
{
  # Signals to all of a job are for the kernel, and to clean up after.
  trap : HUP INT TERM
  {
    rk_fresh $rk_setsid /bin/sh -c 'echo KERNEL $$ >&4; exec 4>&-; exec "$@"' \
      sh "$@" -c "$rk_text" </dev/null 2>&1 3<&- 5>&-
    rk_status=$?
    # csh, too, ends so after an interrupt that the kernel survived, and its traps are worse.
    [ "$rk_status" != 130 ] || [ "$rk_text" != "$rk_text_csh" ] || rk_status=0
    rk_remove_file
    rk_why=
    [ "$rk_status" != 137 ] || [ "$(rk_kills)" = "$rk_kills_before" ] || rk_why=MEMORY
    rk_tell EXIT $rk_status $rk_why
  } |
    # A scheduler that kills all of the job but the kernel must not find the terminal held by it.
    /bin/sh -c 'trap "" HUP INT TERM; echo RELAY $$ >&4; exec 4>&-; exec cat' >&5 3<&- 5>&-
} 4>&1 | {
  exec >&5
  trap '' INT
  trap rk_over=yes HUP TERM
  rk_group= rk_relay=
  until [ -n "$rk_group" ] && [ -n "$rk_relay" ]; do
    # A signal ends a read, and these lines are sure to come.
    read -r rk_what rk_number || read -r rk_what rk_number || break
    case $rk_what in
      KERNEL) rk_group=$rk_number ;;
      RELAY) rk_relay=$rk_number ;;
    esac
  done
  rk_tell START $rk_group $rk_ports
  rk_watch &
  while [ -z "$rk_over" ] && read -r rk_word <&3; do
    case $rk_word in
      INT) kill -INT "-$rk_group" ;;
      TERM) rk_end_kernel ;;
      PING) rk_tell PONG ;;
      END) break ;;
    esac
  done
  rk_remove_file
  rk_end_kernel
  # What the kernel has left running may hold its other end. Of what died of the first, shells say
  # nothing; it may be ignored.
  kill -PIPE "$rk_relay"
  kill -KILL "$rk_relay"
} 2>/dev/null
"""
