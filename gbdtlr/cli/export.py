"""``export``: a release for another runtime."""

from __future__ import annotations

import click

from gbdtlr import tables
from gbdtlr.cli.session import Session, with_store


@click.command("export")
@click.option(
    "--format", "kind", type=click.Choice(("lightgbm", "onnx")), required=True, help="What the model is written as."
)
@click.option("--release", type=click.IntRange(min=1), metavar="N", help="Release to export, if not the live one.")
@click.option("-o", "--output", metavar="FOLDER", required=True, help="Folder to write: a new or an empty one.")
@click.option("--without-wide", is_flag=True, help="Leave out the weights of the ids.")
@click.option("--float32", is_flag=True, help="Of onnx: take and give float32 in place of float64.")
@with_store
def export(session: Session, kind: str, release: int | None, output: str, without_wide: bool, float32: bool) -> None:
    """Write a release for another runtime.

    lightgbm is one plain LightGBM model whose leaves hold the head's weights; onnx is one graph, ids included. Beside
    the model stand schema.json and golden.json. Nothing is written unless LightGBM, or onnxruntime, gives for the
    golden rows and a thousand random ones what the release gives.

    \b
    Example:
      gbdtlr export -c configs/flights.toml --format onnx -o exported/flights
      gbdtlr export -c configs/flights.toml --format lightgbm --without-wide -o exported/flights-trees
    """
    from gbdtlr.export import export
    from gbdtlr.scoring import Scorer

    loaded = Scorer.open(session.store_url, release).loaded
    written = export(loaded, kind, output, without_wide=without_wide, float32=float32)
    values = {
        "release": written.release,
        "format": kind,
        "output": written.folder,
        "files": list(written.files),
        "rows": written.rows,
        "worst": written.worst,
    }
    session.result(
        values,
        lambda: (
            f"wrote release {written.release} to {output}: {', '.join(written.files)}; on "
            f"{tables.count(written.rows, 'row')} no margin is off by more than {written.worst:.1e}"
        ),
    )


COMMANDS = (export,)
