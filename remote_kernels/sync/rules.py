"""What is left out of a sync: our own list, files with rules as git has them, and patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from remote_kernels.errors import OptionsError
from remote_kernels.sync.entry import HERE, THERE, Side
from remote_kernels.tree import PARTIAL

#: Names of files that hold rules, the later ones outweigh the earlier; see gitignore(5).
GIT_RULES, OWN_RULES = ".gitignore", ".remote-kernels-ignore"
#: What no rule needs to name; only a pattern of the person's own lets it in.
LEFT_OUT = (
    ".git",
    ".ipynb_checkpoints",
    "__pycache__",
    # Of a kernel that runs there; it holds the key.
    "rik_kernel-*.json",
    # Unison's, and those of a file server.
    ".unison.*",
    ".fuse_hidden*",
    ".nfs0*",
)
# What cannot be in a line, nor in a pattern.
_ODD = re.compile(r"[\n\r\ud800-\udfff]")
# The group of pathspec's patterns that has matched where a directory above is what fits.
_ABOVE = "ps_d"


class Rules:
    """What is left out.

    Rules hold for the directory in which their file lies, on either side: what one side leaves out
    is left out.
    """

    def __init__(self, patterns: Sequence[str] = (), *, git: bool = True) -> None:
        """Begin.

        Args:
            patterns: as in gitignore(5), for the whole; they outweigh all others.
            git: heed .gitignore.

        Raises:
            OptionsError: one of them is no pattern.
        """
        self.names = (GIT_RULES, OWN_RULES) if git else (OWN_RULES,)
        for pattern in patterns:
            if not _read([pattern]):
                raise OptionsError(f"{pattern!r} is no pattern; see gitignore(5)")
        self._asked = _read(patterns)
        self._own = _read(LEFT_OUT)
        self._files: dict[Side, dict[str, list[_Rule]]] = {HERE: {}, THERE: {}}

    def learn(self, side: Side, directory: str, texts: Mapping[str, str]) -> None:
        """Know the rules of a directory.

        Args:
            side: on which they were found.
            directory: for which they hold.
            texts: of the files, by their names.
        """
        self._files[side].pop(directory, None)
        lines = [line for name in self.names for line in texts.get(name, "").split("\n")]
        rules = _read(lines)
        if rules:
            self._files[side][directory] = rules

    def leave_out(self, path: str, *, is_directory: bool) -> bool:
        """Whether a path is left out, if the directories above it are not.

        Args:
            path: in the directory.
            is_directory: some rules hold for directories only.
        """
        if path.rpartition("/")[2].startswith(PARTIAL):
            return True
        text = _ODD.sub("\ufffd", path)
        asked = _said(self._asked, text, is_directory)
        if asked is not None:
            return asked
        # Before all files: a rule that lets in all directories means none of these.
        if _said(self._own, text, is_directory):
            return True
        found = {self._by_files(files, text, path, is_directory) for files in self._files.values()}
        return True in found

    @staticmethod
    def _by_files(
        files: Mapping[str, list[_Rule]], text: str, path: str, is_directory: bool
    ) -> bool | None:
        """What the files of one side say, the nearest first."""
        above = path if files else ""
        while above:
            above = above.rpartition("/")[0]
            inside = text[len(above) + 1 :] if above else text
            said = _said(files.get(above, ()), inside, is_directory)
            if said is not None:
                return said
        return None


class _Rule(NamedTuple):
    """One line.

    Attributes:
        regex: what it fits.
        leaves_out: or lets in.
        directories: it holds for directories only.
    """

    regex: re.Pattern[str]
    leaves_out: bool
    directories: bool


def _read(lines: Iterable[str]) -> list[_Rule]:
    """The rules of some lines. What makes no sense is none, as for git."""
    rules = []
    for line in lines:
        text = _ODD.sub("\ufffd", line.rstrip("\r"))
        while text.endswith(" ") and not text.endswith("\\ "):
            text = text[:-1]
        try:
            # As git reads it: the last slash says only for what a rule holds.
            (pattern,) = GitIgnoreSpec.from_lines([text.removesuffix("/")]).patterns
        except ValueError:
            continue
        if pattern.include is not None and isinstance(pattern.regex, re.Pattern):
            rules.append(_Rule(pattern.regex, pattern.include, text.endswith("/")))
    return rules


def _said(rules: Sequence[_Rule], text: str, is_directory: bool) -> bool | None:
    """Whether the last rule that fits leaves something out or lets it in; None if none fits."""
    for rule in reversed(rules):
        if is_directory or not rule.directories:
            found = rule.regex.search(text)
            if found is not None and not found.groupdict().get(_ABOVE):
                return rule.leaves_out
    return None
