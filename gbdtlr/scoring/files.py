"""Files scored: all their columns, the probability, and the release it came from."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gbdtlr.errors import ConfigError, SamplesError, SchemaError
from gbdtlr.metrics import sigmoid
from gbdtlr.samples.files import File, same_file
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.tables import TableWriter, plain_numbers, read_tables
from gbdtlr.scoring.scorer import Scorer
from gbdtlr.values.arrays import from_numpy

PROBABILITY, RELEASE = "probability", "release"


def score_file(scorer: Scorer, source: str, output: str) -> int:
    """Write the rows of ``source`` with two columns more, ``probability`` and ``release``; all by one release.

    Files may be larger than memory. The output appears when it is complete, or not at all.

    Parameters
    ----------
    source : file, folder or glob; parquet, CSV or JSON lines, compressed too
    output : file of these kinds; its suffix decides which

    Returns
    -------
    rows : how many

    Raises
    ------
    SchemaError
        Columns missing or of the wrong type; the message lists them.
    ConfigError
        The output is one of the files that are read.
    SamplesError
        Files that cannot be read or written, or that have a column of these names already.
    """
    release = scorer.loaded
    numeric = [feature.name for feature in release.trees.schema.features if feature.vocabulary is None]
    if any(same_file(file.path, output) for file in find_files([source])):
        raise ConfigError(f"cannot write {output}: it is read from, and its rows would be replaced; name another file")
    # In JSON lines a number is not its text. Categories and ids are texts to us: 3.10 must not become 3.1.
    ours = {*release.head.wide.columns, *(feature.name for feature in release.trees.schema.features)} - {*numeric}
    found = plain_numbers(source) if File(output).format == "json" else {}
    numbers = {name: kind for name, kind in found.items() if name not in ours}
    with TableWriter(output) as writer:
        for table in read_tables(source, numeric):
            taken = [name for name in (PROBABILITY, RELEASE) if name in table.schema.names]
            if taken:
                raise SamplesError(
                    f"{source} has a column {' and '.join(taken)} already, the name scoring gives to its own; "
                    "rename or drop it"
                )
            try:
                probability = from_numpy(sigmoid(release.model.margin(table)))
            except SchemaError as error:
                raise SchemaError(f"{source}: {error}; release {release.entry.number} was made from these") from None
            number = from_numpy(np.full(len(table), release.entry.number, np.int64))
            table = table.cast(
                pa.schema([field.with_type(numbers.get(field.name, field.type)) for field in table.schema])
            )
            writer.write(table.append_column(PROBABILITY, probability).append_column(RELEASE, number))
        return writer.n_rows
