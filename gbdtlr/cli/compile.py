"""``compile``: kernels compiled beforehand, as when an image is built."""

from __future__ import annotations

import click

from gbdtlr import tables
from gbdtlr.cli.session import Session, alone


@click.command("compile")
@click.option(
    "--cpu",
    default="host",
    show_default=True,
    metavar="NAME",
    help="CPU to compile for: host, generic, or x86-64-v2, -v3, -v4.",
)
@alone
def compile_(session: Session, cpu: str) -> None:
    """Compile all kernels now, so that no later command has to.

    They are kept in NUMBA_CACHE_DIR if that is set, else beside the package, else in the user's cache folder. Code for
    the CPU of this machine serves machines with the same one; code for x86-64-v3 any machine since about 2015.

    \b
    Example:
      gbdtlr compile
      gbdtlr compile --cpu x86-64-v3
    """
    from gbdtlr.operate.compiling import compile_kernels

    found = compile_kernels(cpu, session.log.progress("compile.progress"))
    session.result(
        found,
        lambda: (
            f"{tables.count(found['kernels'], 'kernel')} in {found['versions']} versions for {found['cpu']}, "
            f"{found['compiled']} compiled now, in {found['folder']}"
        ),
    )


COMMANDS = (compile_,)
