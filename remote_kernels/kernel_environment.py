"""The environment of a kernel: what is activated before it starts, and variables of its own.

Nothing that a person has put into a variable stands in a command line: the login shell over there
is given the values as variables of our own, and the text that it runs names those only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from remote_kernels.errors import OptionsError

#: The variable in kernel.json's ``env`` that holds those of the kernel, as an object of JSON.
VARIABLE = "REMOTE_KERNELS_ENV"
#: The one that holds the environment's directory, where the login shell over there starts.
PREFIX = "rk_activate"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# As Jupyter reads the values of a kernelspec's env (string.Template).
_REFERENCE = re.compile(r"\$(?:(?P<plain>\w+)|\{(?P<braced>\w+)\}|(?P<dollar>\$))", re.ASCII)

# What "conda activate" and a virtualenv's "activate" come to, without a conda that has to be found
# first, in each family of shells. As with conda, hooks are those written for that family.
_MOST_HOOKS = 12
_ACTIVATION = {
    "sh": r"""
if [ -d "$rk_activate/conda-meta" ]; then
  export CONDA_PREFIX="$rk_activate" CONDA_DEFAULT_ENV="${rk_activate##*/}" CONDA_SHLVL=1
else
  export VIRTUAL_ENV="$rk_activate"
fi
unset PYTHONHOME
export PATH="$rk_activate/bin:$PATH"
rk_hooks() {
  [ -z "${ZSH_VERSION-}" ] || emulate -L sh
  for rk_hook in "$rk_activate"/etc/conda/activate.d/*.sh; do
    [ ! -r "$rk_hook" ] || . "$rk_hook"
  done
}
rk_hooks
unset rk_activate
""",
    "fish": r"""
if test -d "$rk_activate/conda-meta"
  set -gx CONDA_PREFIX $rk_activate
  set -gx CONDA_DEFAULT_ENV (basename $rk_activate)
  set -gx CONDA_SHLVL 1
else
  set -gx VIRTUAL_ENV $rk_activate
end
set -e PYTHONHOME
set -gx PATH $rk_activate/bin $PATH
for rk_hook in $rk_activate/etc/conda/activate.d/*.fish
  source $rk_hook
end
set -e rk_activate
""",
    # A csh that is given a command cannot loop; no environment is known that has so many hooks.
    "csh": r"""
if ( -d "$rk_activate/conda-meta" ) setenv CONDA_PREFIX "$rk_activate"
if ( -d "$rk_activate/conda-meta" ) setenv CONDA_DEFAULT_ENV "${rk_activate:t}"
if ( -d "$rk_activate/conda-meta" ) setenv CONDA_SHLVL 1
if ( ! -d "$rk_activate/conda-meta" ) setenv VIRTUAL_ENV "$rk_activate"
unsetenv PYTHONHOME
setenv PATH "$rk_activate/bin:$PATH"
set nonomatch
set rk_hooks = ( "$rk_activate"/etc/conda/activate.d/*.csh )
unset nonomatch
if ( ! -r "$rk_hooks[1]" ) set rk_hooks = ( )
set rk_hooks = ( $rk_hooks:q NULLS )
HOOKS
unset rk_hooks
unsetenv rk_activate
""".replace("NULLS", "/dev/null " * _MOST_HOOKS).replace(
        "HOOKS", "\n".join(f'source "$rk_hooks[{n}]"' for n in range(1, _MOST_HOOKS + 1))
    ),
}


class KernelEnvironment(NamedTuple):
    """What a kernel finds over there.

    Attributes:
        prefix: directory of the conda environment or virtualenv that is activated; empty for none.
        variables: names and values; ``$NAME`` and ``${NAME}`` in a value are read over there.
    """

    prefix: str = ""
    variables: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, prefix: str | None, words: Sequence[str]) -> KernelEnvironment:
        """Read the options.

        Args:
            prefix: of ``--activate``.
            words: of ``--env``, each NAME=VALUE.

        Raises:
            OptionsError: one is none.
        """
        variables = []
        for word in words:
            name, equals, value = word.partition("=")
            if not equals or not _NAME.fullmatch(name) or "\0" in value:
                raise OptionsError(f"--env {name} is no variable: write NAME=VALUE")
            variables.append((name, value))
        if prefix is not None and ("\n" in prefix or "\0" in prefix):
            raise OptionsError("--activate cannot be a path of several lines")
        return cls(prefix or "", tuple(variables))

    def handed_over(self) -> dict[str, str]:
        """The variables with which the login shell has to start, by their names."""
        found = {PREFIX: self.prefix} if self.prefix else {}
        for number, (_, value) in enumerate(self.variables):
            for place, (text, _) in enumerate(_parts(value)):
                found[f"rk_env_{number}_{place}"] = text
        return found

    def activation(self, dialect: str) -> str:
        """What the login shell runs before the pre-command.

        Args:
            dialect: sh, fish or csh.
        """
        return _ACTIVATION[dialect] if self.prefix else ""

    def exports(self, dialect: str) -> str:
        """What it runs after the pre-command: the variables as the kernel is to have them.

        Args:
            dialect: sh, fish or csh.
        """
        assign, forget, reference = _DIALECTS[dialect]
        lines = []
        for number, (name, value) in enumerate(self.variables):
            word, ours = "", []
            for place, (_, other) in enumerate(_parts(value)):
                ours.append(f"rk_env_{number}_{place}")
                word += reference.format(ours[-1])
                if other:
                    if dialect == "csh":
                        lines.append(f'if ( ! $?{other} ) setenv {other} ""')
                    word += reference.format(other)
            lines += [assign.format(name, word), *map(forget.format, ours)]
        return "".join(f"{line}\n" for line in lines)


# How a variable is set, how it is removed, and a reference to one.
_DIALECTS = {
    "sh": ("export {}={}", "unset {}", '"${{{}-}}"'),
    "fish": ("set -gx {} {}", "set -e {}", '"${}"'),
    "csh": ("setenv {} {}", "unsetenv {}", "${}:q"),
}


def _parts(value: str) -> list[tuple[str, str]]:
    """A value as texts, each with the variable of the far side that follows it; the last with none.

    References are to what Jupyter would put there: ``$$`` is a dollar.
    """
    parts = []
    text, position = "", 0
    for found in _REFERENCE.finditer(value):
        text += value[position : found.start()]
        position = found.end()
        name = found["plain"] or found["braced"]
        if name and _NAME.fullmatch(name):
            parts.append((text, name))
            text = ""
        else:
            text += "$" if found["dollar"] else found[0]
    return [*parts, (text + value[position:], "")]


def as_words(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Variables as the words of ``--env``."""
    return tuple(f"{name}={value}" for name, value in variables.items())


def as_mapping(words: Sequence[str]) -> dict[str, str]:
    """The words of ``--env`` as variables."""
    return dict(word.partition("=")[::2] for word in words)


def to_json(words: Sequence[str]) -> str:
    """The words of ``--env`` as VARIABLE holds them.

    In it is nothing that a front end would replace as it does in the values of a kernelspec's env.
    """
    text = json.dumps(as_mapping(words))
    return text.replace("$", "\\u0024")


def from_json(text: str) -> tuple[str, ...]:
    """The words of ``--env`` from what VARIABLE holds.

    Raises:
        OptionsError: somebody has changed it.
    """
    try:
        found = json.loads(text)
        return as_words({str(name): str(value) for name, value in found.items()})
    except (ValueError, AttributeError):
        raise OptionsError(f"{VARIABLE} in kernel.json's env cannot be read") from None
