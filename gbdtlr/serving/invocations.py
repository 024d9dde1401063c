"""MLflow's scoring protocol: ``/invocations`` and ``/ping``; errors are ``{"error_code", "message"}``.

As MLflow does, it takes no notice of columns that the model does not read, unless ``?unknown=refuse``.
"""

from __future__ import annotations

import csv as plain_csv
import io
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from gbdtlr.samples.formats.lists import list_array
from gbdtlr.scoring import Scored
from gbdtlr.serving.answer import JSON, Answer, Refusal
from gbdtlr.serving.arrow import Rows, Sent
from gbdtlr.serving.handlers import Aside, Handlers, Route, most_values, unsupported
from gbdtlr.serving.request import Request
from gbdtlr.values.arrays import empty_as_null
from gbdtlr.values.vectors import vectors

CSV = b"text/csv"
FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_CODES = {400: "BAD_REQUEST", 401: "UNAUTHENTICATED", 404: "ENDPOINT_NOT_FOUND", 503: "TEMPORARILY_UNAVAILABLE"}


@dataclass(frozen=True)
class Mlflow(Handlers):
    """What clients of ``mlflow models serve`` send."""

    def routes(self) -> dict[str, Route]:
        """By path."""
        return {
            "/invocations": Route("/invocations", {"POST": self.invocations}, error_form),
            "/ping": Route("/ping", {"GET": self.ping}, error_form, is_open=True),
        }

    def ping(self, _: Request) -> Answer | Aside:
        """It can score."""
        self.state.pass_if_ready()
        return Answer(b"\n", kind=b"text/plain")

    def invocations(self, request: Request) -> Answer | Aside:
        """Predictions of the rows in one of the formats, or in CSV."""
        refuse = "unknown" in request.query() and self.refuses_unknown(request)
        if request.kind == CSV:
            rows = self._csv(request.body)
            return self.scored(rows.n_rows, partial(self.service.table, rows, refuse), self._predictions)
        if request.kind not in (JSON, b""):
            raise unsupported(request, JSON.decode(), CSV.decode())
        document = self.decoded(request.body)
        given = [name for name in FORMATS if type(document) is dict and name in document]
        if len(given) != 1 or not document.keys() <= {given[0], "params", "signature_name"}:
            raise Refusal(400, f"an object with one of {', '.join(FORMATS)} is expected")
        return self._json(given[0], document[given[0]], refuse)

    def _json(self, name: str, value: Any, refuse: bool) -> Answer | Aside:
        if name == "dataframe_split":
            value = _split(value)
        if type(value) is dict and name in ("dataframe_split", "inputs"):
            frame = {column: _flat(values) for column, values in value.items()}
            n_rows = most_values(frame)
            self.limit_rows(n_rows)
            return self.scored(n_rows, partial(self.service.lists, frame, refuse), self._predictions)
        if type(value) is not list:
            lists = "an object of lists, one for each column, or " if name == "inputs" else ""
            raise Refusal(400, f"{name} must be {lists}a list of objects, one for each row")
        if value and type(value[0]) is not dict:
            raise Refusal(422, "columns are found by name: send each row as an object, or dataframe_split")
        self.limit_rows(len(value))
        return self.scored(len(value), partial(self.service.rows, value, refuse), self._predictions)

    def _predictions(self, scored: Scored) -> Answer:
        return self.json({"predictions": scored.probability.tolist(), "release": scored.release}, scored.release)

    def _csv(self, body: bytes) -> Rows:
        """Rows of a CSV with a line of names, read as files are: numeric columns as numbers, all others as text."""
        from pyarrow import csv

        numeric, header = self.service.columns.numeric, _header(body)
        lists = {name: [f"{name}_{i}" for i in range(size)] for name, size in self.service.columns.lists().items()}
        lists = {name: parts for name, parts in lists.items() if {*parts} <= {*header} and name not in header}
        numeric = numeric.union(*lists.values())
        try:
            texts = csv.read_csv(
                io.BytesIO(body),
                read_options=csv.ReadOptions(use_threads=False),
                parse_options=csv.ParseOptions(newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    column_types={name: pa.float64() if name in numeric else pa.string() for name in header},
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowException as error:
            told = " ".join(str(error).split())[:300]
            if "conversion error" in told:
                raise Refusal(422, f"a column of numbers holds something else: {told}") from None
            raise Refusal(400, f"the body is no CSV: {told}") from None
        self.limit_rows(len(texts))
        columns = [
            pa.chunked_array([empty_as_null(chunk) for chunk in column.chunks], column.type)
            if pa.types.is_string(column.type)
            else column
            for column in texts.columns
        ]
        table = pa.table(columns, names=header)
        for name, parts in lists.items():
            numbers = np.stack([vectors(table.column(part), 1)[:, 0] for part in parts], axis=1)
            table = table.drop_columns(parts).append_column(name, list_array(numbers))
        return Rows(Sent.of(table.schema), table, self.settings.max_rows)


def error_form(refusal: Refusal, release: int) -> dict[str, Any]:
    """A refusal as MLflow has it."""
    code = _CODES.get(refusal.status, "INTERNAL_ERROR" if refusal.status >= 500 else "BAD_REQUEST")
    return {"error_code": code, "message": refusal.in_a_line(), "release": release}


def _header(body: bytes) -> list[str]:
    lines = io.TextIOWrapper(io.BytesIO(body), encoding="utf-8-sig", newline="")
    try:
        names = next(plain_csv.reader(lines), [])
    except (plain_csv.Error, UnicodeDecodeError) as error:
        raise Refusal(400, f"the body is no CSV: {error}") from None
    if not names:
        raise Refusal(400, "the body is empty, expected a line with the names of the columns")
    return names


def _split(value: Any) -> dict[str, list[Any]]:
    """Columns by name of a frame in pandas' split form."""
    names = value.get("columns") if type(value) is dict else None
    data = value.get("data") if type(value) is dict else None
    if type(names) is not list or type(data) is not list or not all(type(name) is str for name in names):
        raise Refusal(400, "dataframe_split must have columns, a list of names, and data, a list of rows")
    if len({*names}) < len(names):
        raise Refusal(422, "dataframe_split names a column more than once")
    for i, row in enumerate(data):
        if type(row) is not list or len(row) != len(names):
            raise Refusal(422, f"row {i} of dataframe_split is no list of {len(names)} values")
    columns = [list(column) for column in zip(*data, strict=True)] if data else [[] for _ in names]
    return dict(zip(names, columns, strict=True))


def _flat(values: Any) -> Any:
    """A tensor of shape (n, 1) as its n values."""
    if type(values) is list and values and all(type(each) is list and len(each) == 1 for each in values):
        return [each[0] for each in values]
    return values
