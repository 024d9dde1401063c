"""Files scored: all their columns, the probability, and the release it came from."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gbdtlr.engine import LOCAL, Engine
from gbdtlr.errors import ConfigError, SamplesError, SchemaError
from gbdtlr.metrics import sigmoid
from gbdtlr.model import Model
from gbdtlr.samples.finding import find_files
from gbdtlr.samples.formats.file import File, same_file
from gbdtlr.samples.formats.writing import TableWriter
from gbdtlr.samples.tables import Piece, Source, common_types, open_sources, plain_numbers, read_pieces, roles_of
from gbdtlr.scoring.scorer import Scorer
from gbdtlr.values.arrays import from_numpy

PROBABILITY, RELEASE = "probability", "release"
_OURS = (PROBABILITY, RELEASE)


def score_file(scorer: Scorer, source: str, output: str, *, engine: Engine = LOCAL) -> int:
    """Write the rows of ``source`` with two columns more, ``probability`` and ``release``; all by one release.

    Files may be larger than memory, and their columns of other types from file to file. The output appears when it is
    complete, or not at all.

    Parameters
    ----------
    source : file, folder or glob; parquet, CSV or JSON lines, compressed too
    output : file of these kinds; its suffix decides which
    engine : where the files are read and scored, each at one place; they are written here

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
    job = _Job(scorer.loaded.model, scorer.loaded.entry.number)
    files = find_files([source])
    if any(same_file(file.path, output) for file in files):
        raise ConfigError(f"cannot write {output}: it is read from, and its rows would be replaced; name another file")
    as_json = File(output).format == "json"
    sources = open_sources(files, job.roles, as_lines=as_json)
    for each in sources:
        _check_names(each.file, {*each.schema.names} & {*_OURS})
    schema = None if as_json else _with_ours(common_types(sources))
    # In JSON lines a number is not its text. Categories and ids are texts to us: 3.10 must not become 3.1.
    numbers = plain_numbers(sources, job.texts) if as_json else {}
    with TableWriter(output, schema) as writer:
        seen: set[str] = set()
        for items in engine.stream([each for each in sources if not each.is_empty], scored, job, numbers):
            for item in items:
                if isinstance(item, set):
                    seen |= item
                elif isinstance(item, list):
                    writer.write_lines(item)
                else:
                    writer.write(item)
        if writer.n_rows:
            job.check_seen(source, seen)
        return writer.n_rows


def scored(source: Source, job: _Job, numbers: dict[str, pa.DataType]) -> Iterator[pa.Table | list[str] | set[str]]:
    """Rows of one file with what was scored, piece by piece as tables or lines; then its columns that were there."""
    for piece in read_pieces(source):
        yield job.score(source.file, piece, numbers)
    yield {*source.seen}


class _Job:
    """Files scored with one release."""

    def __init__(self, model: Model, number: int) -> None:
        self._model, self._number = model, number
        schema = model.trees.schema
        numeric = {feature.name for feature in schema.features if feature.vocabulary is None}
        ids = {*model.head.wide.columns}
        self.texts = {*schema.names, *ids} - numeric
        self.roles = roles_of(sorted(numeric), sorted(self.texts | ids), model.head.dense.names)

    def score(self, file: File, piece: Piece, numbers: dict[str, pa.DataType]) -> pa.Table | list[str]:
        """The rows of a piece of a file to be written; of columns in ``numbers``, which are texts, the numbers."""
        probability = self._probability(file, piece)
        if isinstance(piece.rows, list):
            _check_lines(file, piece.rows)
            return [
                f'{_opened(line)}"{PROBABILITY}": {each!r}, "{RELEASE}": {self._number}}}'
                for line, each in zip(piece.rows, probability.tolist(), strict=True)
            ]
        kinds = [field.with_type(numbers.get(field.name, field.type)) for field in piece.rows.schema]
        number = from_numpy(np.full(len(probability), self._number, np.int64))
        rows = piece.rows.cast(pa.schema(kinds)).append_column(PROBABILITY, from_numpy(probability))
        return rows.append_column(RELEASE, number)

    def check_seen(self, source: str, seen: set[str]) -> None:
        """Nothing, if every column of the release was in some file: JSON lines may leave out those without a value."""
        if unseen := self.roles.keys() - seen:
            missing = ", ".join(sorted(unseen))
            raise SchemaError(f"{source}: {self._made(f'no column {missing} in any row')}")

    def _probability(self, file: File, piece: Piece) -> NDArray[np.float64]:
        try:
            return sigmoid(self._model.margin(piece.features))
        except SchemaError as error:
            raise SchemaError(f"{file.subject}: {self._made(str(error))}") from None

    def _made(self, what: str) -> str:
        return f"{what}; release {self._number} was made from these"


def _with_ours(schema: pa.Schema) -> pa.Schema:
    return schema.append(pa.field(PROBABILITY, pa.float64())).append(pa.field(RELEASE, pa.int64()))


def _check_names(file: File, taken: set[str]) -> None:
    """Nothing, if no column has a name that scoring gives to its own."""
    if taken:
        raise SamplesError(
            f"{file.subject} has a column {' and '.join(sorted(taken))} already, the name scoring gives to its own; "
            "rename or drop it"
        )


def _check_lines(file: File, lines: list[str]) -> None:
    for line in lines:
        if f'"{PROBABILITY}"' in line or f'"{RELEASE}"' in line:
            _check_names(file, json.loads(line).keys() & {*_OURS})


def _opened(line: str) -> str:
    """A JSON object without its end, ready for one more pair."""
    head = line[:-1].rstrip()
    return head if head == "{" else f"{head}, "
