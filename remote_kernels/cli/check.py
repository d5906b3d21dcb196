"""``remote-kernels check``: the way of a kernel, one step at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from remote_kernels import kernelspecs
from remote_kernels.check import Finding, as_data, check
from remote_kernels.cli import render
from remote_kernels.cli.params import ManageCommand, ManageOption, changes, kernel_params
from remote_kernels.interfaces import interface_named
from remote_kernels.kernel_log import printable
from remote_kernels.options import KernelOptions
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.profiles import for_kernel
from remote_kernels.steps import START_UP

_GROUP = "Other options"
# Bars have so many signs at most.
_WIDTH = 40


@click.command(
    "check",
    cls=ManageCommand,
    params=[
        click.Argument(["names"], nargs=-1, metavar="[NAME…]"),
        *kernel_params("A way without a kernelspec, in place of NAME"),
        ManageOption(
            ["--fast"],
            group=_GROUP,
            is_flag=True,
            help="Start no kernel, and ask for no job: look only whether all for it is there.",
        ),
        ManageOption(
            ["--json"],
            group=_GROUP,
            is_flag=True,
            help="Print a list of objects, one for each kernel, with kernel, ok and steps: a list "
            "of objects with step, ok, seconds (null where that says nothing), found, and error "
            "(null, or an object with sentence, said, try and more).",
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def command(ctx: click.Context, /, names: tuple[str, ...], **values: Any) -> None:
    """Find out why a kernel does not start, or what makes it slow.

    Goes the way of each kernel step by step, and says of each step whether it went well, how long
    it took and, where it failed, why and what to try. The kernel is started, runs a cell, is
    interrupted and ended; --fast does without. With --host or --interface, and the other options of
    'manage --add', a way is checked for which there is no kernelspec; without --kernel_cmd it ends
    before the kernel.

    The exit code is 0 only if all is well.
    """
    given = changes(values)
    if bool(names) == bool(given):
        raise click.UsageError("Name kernels, or describe a way with --host or --interface.")
    results = []
    for name, options, program in _kernels(names) if names else [("", _described(given), "")]:
        findings = _check(name, options, program, fast=values["fast"], quiet=values["json"])
        results.append(as_data(name, findings))
    if values["json"]:
        render.as_json(results)
    failed = [step for result in results for step in result["steps"] if not step["ok"]]
    codes = [(step["error"] or {}).get("exit_code") or 1 for step in failed]
    ctx.exit(codes[0] if codes else 0)


def _kernels(names: tuple[str, ...]) -> list[tuple[str, KernelOptions, str]]:
    """The kernels of these names: name, options, and the program that Jupyter would start."""
    specs = kernelspecs.named(names)
    return [
        (name, spec.options, str(spec.document["argv"][0]))
        for name, spec in zip(names, specs, strict=True)
    ]


def _described(given: dict[str, Any]) -> KernelOptions:
    options = KernelOptions(**{"interface": "ssh", **for_kernel(given)})
    interface_named(options.interface).check(options)
    return options


def _check(
    name: str, options: KernelOptions, program: str, *, fast: bool, quiet: bool
) -> list[Finding]:
    findings = []
    place = PrivateDirectory()
    try:
        with progress(quiet=quiet) as now:
            if name and not quiet:
                render.say(f"{name}:")
            for finding in check(options, program, place.path, fast=fast, now=now):
                findings.append(finding)
                if not quiet:
                    show(finding)
    finally:
        place.remove()
    if not quiet:
        _show_times(findings)
    return findings


@contextmanager
def progress(*, quiet: bool) -> Iterator[Any]:
    """Says what is being waited for, where a person looks."""
    if quiet or not render.at_terminal():
        yield lambda text: None
        return
    from rich.console import Console

    with Console().status("") as status:

        def now(text: str) -> None:
            if text:
                status.update(printable(text))
                status.start()
            else:
                status.stop()

        yield now


def show(finding: Finding) -> None:
    """Print what one step has found."""
    sign = "✓" if finding.ok else "✗"
    seconds = f"{finding.seconds:7.2f} s" if finding.seconds is not None else " " * 9
    line = f"{sign} {finding.step.title:<26}{seconds}  {printable(finding.found)}".rstrip()
    click.secho(line, fg="green" if finding.ok else "red")
    if finding.error is not None:
        for said in finding.error["said"]:
            click.echo(f"    said: {printable(said)}")
        for advice in finding.error["try"]:
            click.echo(f"    try:  {advice}")


def _show_times(findings: list[Finding]) -> None:
    """The parts of the start as bars, so that one sees what is slow."""
    parts = [(x.step.title, x.seconds) for x in findings if x.step in START_UP and x.seconds]
    longest = max((seconds for _, seconds in parts), default=0.0)
    if not longest:
        return
    click.echo("")
    for title, seconds in parts:
        bar = "█" * round(_WIDTH * seconds / longest)
        click.echo(f"  {title:<26}{seconds:7.2f} s  {bar}".rstrip())
