"""The options of ``manage`` for click, and how the words of its command line are read.

The options of a kernel come from the fields of :class:`KernelOptions`. remote_ikernel's command
line was argparse's, where several words may follow one flag and long flags may be shortened; both
are spelled out here before click reads them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import click
from click.shell_completion import CompletionItem

from remote_kernels.errors import ProfileError
from remote_kernels.interfaces import interface_names
from remote_kernels.options import (
    DECLARED,
    DEFAULTS,
    SERVER_DECLARED,
    SERVER_DEFAULTS,
    WAY_OPTIONS,
    KernelOptions,
    Option,
    flag_and_value,
    given,
)

_WORDS_KEY = f"{__name__}.words"


class ManageOption(click.Option):
    """An option that knows its place in the help.

    Attributes:
        group: the heading under which the help shows it.
        alone: the flag may stand without a word after it.
        new: remote_ikernel did not have it.
    """

    def __init__(
        self,
        flags: Sequence[str],
        *,
        group: str,
        alone: bool = False,
        new: bool = False,
        **settings: Any,
    ) -> None:
        """Declare it.

        Args:
            flags: as click takes them.
            group: the heading under which the help shows it.
            alone: the flag may stand without a word after it.
            new: remote_ikernel did not have it.
            settings: click's.
        """
        super().__init__(flags, **settings)
        self.group = group
        self.alone = alone
        self.new = new


def _number(least: int) -> Callable[[click.Context, click.Parameter, str | None], int | None]:
    """Reads a number; what is below the default is the default as it always was, so is nothing."""

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
        if value is None:
            return None
        try:
            return max(least, int(value or least))
        except ValueError:
            raise click.BadParameter(f"{value!r} is not a number.", ctx, param) from None

    return read


def _of_field(name: str, option: Option, default: Any, group: str) -> ManageOption:
    settings: dict[str, Any] = {"help": option.help, "metavar": option.metavar, "default": None}
    flags = [*option.flags, name]
    if isinstance(default, bool):
        # The second flag is of use to --edit.
        flags[0] = f"{flags[0]}/--no-{flags[0].removeprefix('--')}"
        settings["metavar"] = None
    elif isinstance(default, int):
        settings.update(type=str, callback=_number(default))
    elif isinstance(default, tuple):
        settings["multiple"] = True
    if name == "interface":
        settings["shell_complete"] = complete_interfaces
    return ManageOption(flags, group=group, new=option.new, **settings)


def kernel_params(group: str) -> list[click.Parameter]:
    """An option for each field of :class:`KernelOptions`.

    Args:
        group: the heading under which the help shows them.
    """
    return [_of_field(name, DECLARED[name], DEFAULTS[name], group) for name in DECLARED]


def server_params(group: str) -> list[click.Parameter]:
    """An option for each field of :class:`ServerOptions`.

    Args:
        group: the heading under which the help shows them.
    """
    return [
        _of_field(name, option, SERVER_DEFAULTS[name], group)
        for name, option in SERVER_DECLARED.items()
    ]


def way_params(*others: str) -> list[click.Parameter]:
    """The options that say how ssh gets to a host.

    Args:
        others: further fields of :class:`KernelOptions` that a command takes.
    """
    names = (*WAY_OPTIONS, *others)
    return [param for param in kernel_params("The way there") if param.name in names]


def complete_hosts(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The names of profiles that begin so; none where their file cannot be read."""
    # Not needed but while a shell completes.
    from remote_kernels.profiles import profiles

    with suppress(ProfileError):
        return [
            CompletionItem(profile.name, help=str(profile.options["host"]))
            for profile in profiles().values()
            if profile.name.startswith(incomplete)
        ]
    return []


def complete_interfaces(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The interfaces whose names begin so."""
    return [CompletionItem(name) for name in interface_names() if name.startswith(incomplete)]


def changes(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of :class:`KernelOptions` that were given; an empty word is the default again.

    Args:
        values: what click read, by the names of the options; there may be others among them.
    """
    return _changes(values, DEFAULTS)


def server_changes(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same for the fields of :class:`ServerOptions`."""
    return _changes(values, SERVER_DEFAULTS)


def _changes(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, default in defaults.items():
        value = values.get(name)
        if value is None or value == ():
            continue
        if isinstance(value, tuple):
            value = tuple(word for word in value if word)
        found[name] = default if value == "" else value
    return found


def add_command(options: KernelOptions, place: Sequence[str]) -> list[str]:
    """The command line that adds a kernel with these options.

    Args:
        options: of the kernel.
        place: the words that say where its kernelspec lies.
    """
    words = ["remote-kernels", "manage", "--add"]
    for name, value in given(options).items():
        words += flag_and_value(DECLARED[name].flags[0], value)
    return [*words, *place]


class _Reader:
    """Reads the words of a command line as argparse did."""

    def __init__(self, params: Sequence[click.Parameter]) -> None:
        self._flags: dict[str, click.Option] = {}
        for param in params:
            if isinstance(param, click.Option):
                for flag in (*param.opts, *param.secondary_opts):
                    self._flags[flag] = param

    def read(self, word: str) -> tuple[str, str | None] | None:
        """The whole flag that a word begins with, and the value in the same word.

        Raises:
            click.UsageError: the flag is shortened too much.
        """
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            whole = flag if flag in self._flags else self._unshortened(flag)
            return (whole, value if equals else None) if whole else None
        if word[:2] in self._flags:
            value = word[2:].removeprefix("=")
            return word[:2], value if len(word) > 2 else None
        return None

    def _unshortened(self, start: str) -> str | None:
        if len(start) < 3:
            return None
        fitting = [flag for flag in self._flags if flag.startswith(start)]
        # What was unique in remote_ikernel has to stay so, whatever options are new.
        known = [flag for flag in fitting if self._was_known(flag)]
        # One flag for each option: --launch-cmd and --launch_cmd are the same.
        meant = {self._flags[flag].name: flag for flag in reversed(known or fitting)}
        if len(meant) > 1:
            raise click.UsageError(f"{start} may mean {' or '.join(sorted(meant.values()))}.")
        return next(iter(meant.values()), None)

    def _was_known(self, flag: str) -> bool:
        param = self._flags[flag]
        return flag in param.opts and not (isinstance(param, ManageOption) and param.new)

    def param(self, flag: str) -> click.Option:
        return self._flags[flag]


def spelled_out(words: Sequence[str], params: Sequence[click.Parameter]) -> list[str]:
    """The words of a command line in the one way that click reads: each value after its own flag.

    Args:
        words: as the person typed them.
        params: the options that there are.

    Raises:
        click.UsageError: a flag is shortened too much, or has no value.
    """
    reader = _Reader(params)
    todo = deque(words)
    done: list[str] = []
    while todo:
        word = todo.popleft()
        if word == "--":
            return [*done, word, *todo]
        found = reader.read(word)
        if found is None:
            done.append(word)
            continue
        flag, value = found
        param = reader.param(flag)
        if param.is_flag:
            if value is not None and not flag.startswith("--"):
                done.append(flag)
                todo.appendleft(f"-{value}")
            else:
                done.append(flag if value is None else f"{flag}={value}")
            continue
        values = [] if value is None else [value]
        if param.multiple:
            while todo and not (todo[0].startswith("-") and len(todo[0]) > 1):
                values.append(todo.popleft())
            if not values and isinstance(param, ManageOption) and param.alone:
                values.append("")
        elif not values and todo and _is_value(todo[0], reader):
            values.append(todo.popleft())
        if not values:
            raise click.UsageError(
                f"{flag} needs a value; one that begins with a dash is written {flag}=VALUE."
            )
        done += [f"{param.opts[0]}={value}" for value in values]
    return done


def _is_value(word: str, reader: _Reader) -> bool:
    """Whether a word after a flag is its value: '-l h_rt=1:0:0' is, --host is not."""
    if not word.startswith("-") or any(c.isspace() for c in word.partition("=")[0]):
        return True
    return reader.read(word) is None


class ManageCommand(click.Command):
    """A command whose words are read as argparse read remote_ikernel's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words; see :func:`spelled_out`."""
        ctx.meta[_WORDS_KEY] = list(args)
        try:
            args = spelled_out(args, self.get_params(ctx))
        except click.UsageError as error:
            # While a shell completes them, words may be missing.
            if not ctx.resilient_parsing:
                error.ctx = ctx
                raise
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the second and further words after one flag, too."""
        words: list[str] = ctx.meta.get(_WORDS_KEY, [])
        flags = [word for word in words if word.startswith("-")]
        if flags and not incomplete.startswith("-"):
            reader = _Reader(self.get_params(ctx))
            found = reader.read(flags[-1])
            if found and not reader.param(found[0]).is_flag:
                param = reader.param(found[0])
                if param.multiple or words[-1] == flags[-1]:
                    return param.shell_complete(ctx, incomplete)
        return super().shell_complete(ctx, incomplete)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options into the help, under their headings."""
        for heading, params in by_group(self.get_params(ctx)).items():
            rows = [row for param in params if (row := param.get_help_record(ctx))]
            with formatter.section(heading):
                formatter.write_dl(rows)


def by_group(params: Sequence[click.Parameter]) -> dict[str, list[click.Parameter]]:
    """The options under their headings, in the order in which they were declared.

    Args:
        params: the options, --help among them.
    """
    groups: dict[str, list[click.Parameter]] = {}
    for param in params:
        group = param.group if isinstance(param, ManageOption) else "Other options"
        groups.setdefault(group, []).append(param)
    return groups
