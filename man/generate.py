"""Writes the generated sections of the manual pages into the pages beside this file.

The prose is written by hand. OPTIONS come from the one declaration of the options, TRANSLATION
from the schedulers' interfaces, EXIT STATUS from the classes of the errors, each between two
comments that say so. Run it after a change of any:

    PYTHONPATH=. python man/generate.py
"""

from __future__ import annotations

import re
import shlex
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import click

from remote_kernels.cli.attach import attach
from remote_kernels.cli.check import command as check
from remote_kernels.cli.copy_id import copy_id
from remote_kernels.cli.demo import demo
from remote_kernels.cli.deps import deps
from remote_kernels.cli.discover import discover
from remote_kernels.cli.hosts import hosts
from remote_kernels.cli.lab import lab
from remote_kernels.cli.login import login, logout
from remote_kernels.cli.logs import logs, report
from remote_kernels.cli.manage import manage
from remote_kernels.cli.mirror import command as mirror
from remote_kernels.cli.params import by_group
from remote_kernels.cli.ps import clean, ps, stop
from remote_kernels.cli.reverse import reverse
from remote_kernels.cli.sync import sync
from remote_kernels.errors import OptionsError, documented_exit_codes
from remote_kernels.interfaces import interface_named
from remote_kernels.interfaces.scheduler import Scheduler
from remote_kernels.options import DECLARED, KernelOptions

PAGES = [
    Path(__file__).with_name("remote-kernels.1"),
    Path(__file__).with_name("remote-kernels-hosts.1"),
    Path(__file__).with_name("remote-kernels-lab.1"),
    Path(__file__).with_name("remote-kernels-login.1"),
    Path(__file__).with_name("remote-kernels-copy-id.1"),
    Path(__file__).with_name("remote-kernels-reverse.1"),
    Path(__file__).with_name("remote-kernels-check.1"),
    Path(__file__).with_name("remote-kernels-discover.1"),
    Path(__file__).with_name("remote-kernels-deps.1"),
    Path(__file__).with_name("remote-kernels-mirror.1"),
    Path(__file__).with_name("remote-kernels-ps.1"),
    Path(__file__).with_name("remote-kernels-attach.1"),
    Path(__file__).with_name("remote-kernels-sync.1"),
    Path(__file__).with_name("remote-kernels-manage.1"),
]


def escaped(text: str) -> str:
    """The text as roff prints it: dashes are dashes, and nothing is taken for a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return text.replace("~", "\\(ti").replace("…", ".\\|.\\|.")


def wrapped(text: str) -> list[str]:
    """The text in lines for roff: each sentence begins one, and none is long."""
    lines = []
    for sentence in re.split(r"(?<=[.:]) (?=[A-Z])", text):
        lines += textwrap.wrap(
            escaped(sentence), 79, break_long_words=False, break_on_hyphens=False
        )
    return [f"\\&{line}" if line.startswith(".") else line for line in lines]


def _option(option: click.Option) -> list[str]:
    # click keeps the help's flags from whoever has asked for them first.
    own = ["-h", "--help"] if "--help" in option.opts else sorted(option.opts, key=len)
    flags = [f"\\fB{escaped(flag)}\\fR" for flag in own]
    flags += [f"\\fB{escaped(flag)}\\fR" for flag in option.secondary_opts]
    head = ", ".join(flags)
    if option.metavar and not option.is_flag:
        head += f" \\fI{escaped(option.metavar)}\\fR"
    return [".TP", head, *wrapped(option.help or "")]


def options() -> list[str]:
    """The section OPTIONS of ``manage``."""
    ctx = click.Context(manage, info_name="manage")
    lines: list[str] = []
    for heading, params in by_group(manage.get_params(ctx)).items():
        lines.append(f'.SS "{escaped(heading)}"')
        for param in params:
            assert isinstance(param, click.Option)
            lines += _option(param)
    return lines


def options_of(command: click.Command, *others: str) -> list[str]:
    """The options of a command without headings, but for those of other pages."""
    ctx = click.Context(command, info_name=command.name)
    params = command.get_params(ctx)
    own = [x for x in params if isinstance(x, click.Option) and x.name not in others]
    return [line for option in own for line in _option(option)]


# One value for each option that is translated.
_ASKED: dict[str, Any] = {
    "cpus": 4,
    "time": "4:00:00",
    "memory": "16G",
    "gpus": 1,
    "queue": "NAME",
    "account": "NAME",
}
_PLACES = ("system", "sys_prefix", "prefix")
_SCHEDULERS = {"slurm": "slurm", "sge": "sge, sge_qrsh", "pbs": "pbs", "lsf": "lsf"}


def translation() -> list[str]:
    """What each scheduler is asked for each option."""
    lines: list[str] = []
    for field, value in _ASKED.items():
        flag = DECLARED[field].flags[0]
        lines += [".TP", f"\\fB{escaped(flag)} {escaped(str(value))}\\fR"]
        said = [f"{label}: {_words(name, field, value)}" for name, label in _SCHEDULERS.items()]
        lines += "\n.br\n".join(said).splitlines()
    return lines


def _words(name: str, field: str, value: Any) -> str:
    """The words of the scheduler's command that an option becomes."""
    scheduler = interface_named(name)
    assert issubclass(scheduler, Scheduler)
    options = KernelOptions(interface=name, name="x")
    asked = options._replace(**{field: value})
    try:
        scheduler.check(asked)
    except OptionsError:
        return "refused"
    before, after = (scheduler.job_command(each, "x") for each in (options, asked))
    at = next(n for n, word in enumerate(after) if word != before[n])
    words = after[at : at + len(after) - len(before)]
    return f"\\fB{escaped(shlex.join(words))}\\fR"


def exit_status() -> list[str]:
    """The section EXIT STATUS."""
    lines: list[str] = []
    for code, meaning in [(0, "Success."), *documented_exit_codes()]:
        lines += [".TP", f".B {code}", *wrapped(meaning)]
    return lines


def security() -> list[str]:
    """The section SECURITY: what SECURITY.md says."""
    text = Path(__file__).parents[1].joinpath("SECURITY.md").read_text(encoding="utf-8")
    lines: list[str] = []
    for part in text.split("\n## ")[2:]:
        title, _, body = part.partition("\n")
        lines.append(f'.SS "{escaped(title)}"')
        for item in re.findall(r"^- (.*?)(?=^- |\Z)", body, re.MULTILINE | re.DOTALL):
            lines += [".IP \\(bu 2", *wrapped(" ".join(item.replace("`", "").split()))]
    return lines


def generated(page: str) -> str:
    """The text of a page with its generated sections made anew.

    Args:
        page: the text as it is.
    """
    sections = {
        "OPTIONS": options,
        "DEMO OPTIONS": partial(options_of, demo),
        "HOSTS OPTIONS": partial(options_of, hosts),
        "LAB OPTIONS": partial(options_of, lab, *DECLARED),
        "LOGIN OPTIONS": partial(options_of, login),
        "LOGOUT OPTIONS": partial(options_of, logout),
        "COPY-ID OPTIONS": partial(options_of, copy_id),
        "REVERSE OPTIONS": partial(options_of, reverse),
        "CHECK OPTIONS": partial(options_of, check, *DECLARED),
        "DISCOVER OPTIONS": partial(options_of, discover, *DECLARED, "user", *_PLACES),
        "DEPS OPTIONS": partial(options_of, deps),
        "MIRROR OPTIONS": partial(options_of, mirror),
        "ATTACH OPTIONS": partial(options_of, attach),
        "PS OPTIONS": partial(options_of, ps),
        "SYNC OPTIONS": partial(options_of, sync),
        "STOP OPTIONS": partial(options_of, stop),
        "CLEAN OPTIONS": partial(options_of, clean),
        "LOGS OPTIONS": partial(options_of, logs),
        "REPORT OPTIONS": partial(options_of, report),
        "TRANSLATION": translation,
        "SECURITY": security,
        "EXIT STATUS": exit_status,
    }
    for title, section in sections.items():
        begin, end = f'.\\" {title} begin: generated by man/generate.py\n', f'.\\" {title} end\n'
        if begin in page:
            text = begin + "".join(f"{line}\n" for line in section()) + end
            before, rest = page.split(begin)
            page = before + text + rest.split(end)[1]
    return page


def main() -> None:
    """Rewrite the pages."""
    for path in PAGES:
        path.write_text(generated(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
