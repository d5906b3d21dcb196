"""A look at the kernel command before it is stored: a shell will read it over there."""

from __future__ import annotations

import re
import shlex

_BRACKET = r"[^\\][()]"
_QUOTE = r"['\"]"


def looked_at(command: str) -> tuple[str, list[str]]:
    """The kernel command as it is stored, and what there is to say about it.

    Args:
        command: as the person typed it.
    """
    remarks = []
    stored = command.replace(" IRkernel::main()", " 'IRkernel::main()'")
    if stored != command:
        remarks.append("Escaping IRkernel::main().")
    quoted = re.search(f"{_QUOTE}.*{_BRACKET}.*{_QUOTE}", stored)
    if re.search(_BRACKET, stored) and not quoted:
        remarks.append("Warning: possibly unescaped brackets in the kernel command.")
    try:
        shlex.split(stored)
    except ValueError:
        remarks.append("Kernel command may be missing quotation marks.")
    return stored, remarks
