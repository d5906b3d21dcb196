"""What a kernel has published while nobody was there: its outputs, as far as there is room.

The far side runs this file: Python 3.6, the standard library alone.
"""

import time

# Bytes; the oldest go first.
_MOST = 1 << 20
_KINDS = ("stream", "display_data", "execute_result", "error")
# To what an output belongs that a kernel writes while it starts.
_OF_NO_CELL = (None, "kernel_info_request")
_DELIMITER = b"<IDS|MSG>"


class Missed:
    """Outputs, the oldest first."""

    def __init__(self) -> None:
        self._outputs: list[dict[str, object]] = []
        self._sizes: list[int] = []
        self._dropped = 0

    def note(self, parts: "list[bytes]") -> None:
        """Keep a message, if it is an output of a cell.

        Args:
            parts: of it, as the messaging protocol of jupyter_client orders them.
        """
        # Not needed where no kernel is kept.
        import json

        try:
            at = parts.index(_DELIMITER)
            header = json.loads(parts[at + 2].decode())
            if header["msg_type"] not in _KINDS:
                return
            if json.loads(parts[at + 3].decode()).get("msg_type") in _OF_NO_CELL:
                return
            content = json.loads(parts[at + 5].decode())
        except (ValueError, LookupError, TypeError, AttributeError):
            return
        size = len(parts[at + 5])
        self._outputs.append({"kind": header["msg_type"], "content": content, "at": time.time()})
        self._sizes.append(size)
        while len(self._sizes) > 1 and sum(self._sizes) > _MOST:
            self._outputs.pop(0)
            self._sizes.pop(0)
            self._dropped += 1

    def as_json(self) -> str:
        """All of them as a list; the first may say how many older ones were dropped."""
        import json

        found = list(self._outputs)
        if self._dropped:
            text = f"[{self._dropped} outputs before these were dropped]\n"
            first = {"kind": "stream", "content": {"name": "stderr", "text": text}, "at": 0.0}
            found.insert(0, first)
        return json.dumps(found)
