"""The sh program that puts a public key where sshd looks for it, as ssh-copy-id does.

The key becomes a line of its own in ~/.ssh/authorized_keys, once; nothing else in there changes.
What may keep sshd from using it is told, too: nobody can ask again without another login.
"""

from __future__ import annotations

import shlex

#: What it tells: it cannot, and why; where the key is now, or has been before; a file or directory
#: that others can "write", or "own"; a line of sshd's configuration; that this was all.
FAILED, ADDED, THERE, LOOSE, SETTING, END = (
    *("FAILED", "ADDED", "THERE", "LOOSE", "SETTING", "END"),
)

# Files that are too open are those of sshd(8), "StrictModes": it looks at the file and at each
# directory above it, up to the home.
_PROGRAM = r"""
rk_key={key}
rk_blob={blob}
rk_fail() {{ rk_tell FAILED "$1"; exit 1; }}
cd || rk_fail "there is no home"
rk_home=$(pwd -P)
rk_dir=$HOME/.ssh
rk_file=$rk_dir/authorized_keys

rk_has() {{ grep -v '^[[:space:]]*#' "$rk_file" 2>/dev/null | grep -qF -e "$rk_blob"; }}
rk_add() {{
  rk_size=$(cat "$rk_file" 2>/dev/null | wc -c)
  rk_size=$((rk_size))
  if [ -e "$rk_file" ] || [ -L "$rk_file" ]; then rk_new=; else rk_new=new; fi
  rk_start=
  # The last line may have no end.
  if [ -s "$rk_file" ] && [ -n "$(tail -c 1 "$rk_file")" ]; then
    rk_start='
'
  fi
  if rk_why=$({{ printf '%s%s\n' "$rk_start" "$rk_key" | cat >>"$rk_file"; }} 2>&1) && rk_has; then
    return
  fi
  # A part of it may have found room.
  if [ -n "$rk_new" ]; then
    rm -f "$rk_file"
  elif [ "$(wc -c <"$rk_file")" -gt "$rk_size" ]; then
    dd if=/dev/null of="$rk_file" bs=1 seek="$rk_size"
  fi 2>/dev/null
  rk_fail "${{rk_why:-$rk_file does not take it}}"
}}
rk_look() {{
  rk_path=$(readlink -f "$rk_file" 2>/dev/null) || rk_path=$rk_file
  while :; do
    if [ -n "$(find "$rk_path" -prune \( -perm -020 -o -perm -002 \) 2>/dev/null)" ]; then
      rk_tell LOOSE write "$rk_path"
    elif [ -n "$(find "$rk_path" -prune ! -user "$(id -u)" ! -user 0 2>/dev/null)" ]; then
      rk_tell LOOSE own "$rk_path"
    fi
    case $rk_path in "$rk_home" | /) break ;; esac
    rk_path=${{rk_path%/*}}
    rk_path=${{rk_path:-/}}
  done
  grep -hiE '^[[:space:]]*(AuthorizedKeysFile|PubkeyAuthentication)[[:space:]]' \
      /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf 2>/dev/null |
    while read -r rk_line; do rk_tell SETTING "$rk_line"; done
}}

rk_why=$(mkdir -p "$rk_dir" 2>&1) || rk_fail "$rk_why"
if rk_has; then
  rk_tell THERE "$rk_file"
else
  rk_add
  if command -v restorecon; then restorecon -F "$rk_dir" "$rk_file"; fi >/dev/null 2>&1
  rk_tell ADDED "$rk_file"
fi
rk_look
rk_tell END
"""


def key_program(line: str) -> str:
    """The program, for what has rk_tell; see :data:`~remote_kernels.shell_text.TELL`.

    Args:
        line: of authorized_keys: the kind of the key, the key, and a comment.
    """
    return _PROGRAM.format(key=shlex.quote(line), blob=shlex.quote(line.split()[1]))
