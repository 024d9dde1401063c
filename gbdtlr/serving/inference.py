"""The Open Inference Protocol, version 2, over HTTP: one tensor for each column; errors are ``{"error": text}``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import gbdtlr
from gbdtlr.scoring import Scored
from gbdtlr.serving.answer import Answer, Refusal
from gbdtlr.serving.handlers import Aside, Handlers, Route
from gbdtlr.serving.request import Request

OUTPUT = "probability"
_WHOLE = {f"{sign}INT{bits}": (sign, bits) for sign in ("", "U") for bits in (8, 16, 32, 64)}
FLOAT32_MAX = float(np.finfo(np.float32).max)
_RANGES: dict[str, tuple[float, float]] = {
    name: (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for name, (sign, bits) in _WHOLE.items()
}
_RANGES["FP32"] = (-FLOAT32_MAX, FLOAT32_MAX)
_RANGES["FP64"] = (-sys.float_info.max, sys.float_info.max)
_TYPES: dict[str, set[type]] = {"BYTES": {str}, "BOOL": {bool}}
DATATYPES = (*_RANGES, *_TYPES)


@dataclass(frozen=True)
class Inference(Handlers):
    """The release as a model of that protocol; its version is the release's number."""

    def routes(self) -> dict[str, Route]:
        """By path; those that name a version are found by :meth:`route_of`."""
        own = f"/v2/models/{self.settings.name}"
        live, ready = {"GET": self.live}, {"GET": self.ready}
        return {
            "/v2": Route("/v2", {"GET": self.server}, error_form),
            "/v2/health/live": Route("/v2/health", live, error_form, is_open=True),
            "/v2/health/ready": Route("/v2/health", ready, error_form, is_open=True),
            **self._model_routes(own, None),
        }

    def route_of(self, path: str) -> Route | None:
        """Where a path below ``/v2/`` leads that is none of :meth:`routes`: a version, or what is not here."""
        if not path.startswith("/v2/"):
            return None
        parts = path.split("/")[2:]
        name = self.settings.name
        if len(parts) >= 4 and parts[:3] == ["models", name, "versions"]:
            routes = self._model_routes("", parts[3])
            found = routes.get("".join(f"/{part}" for part in parts[4:]))
            if found is not None:
                return found
        elif len(parts) >= 2 and parts[0] == "models" and parts[1] != name:
            return self._nowhere(f"there is no model {parts[1][:80]}; this one is called {name}")
        return self._nowhere(f"there is nothing at {path[:200]}")

    def _model_routes(self, prefix: str, version: str | None) -> dict[str, Route]:
        return {
            prefix: Route("/v2/models", {"GET": partial(self.model, version)}, error_form),
            f"{prefix}/ready": Route("/v2/ready", {"GET": partial(self.model_ready, version)}, error_form),
            f"{prefix}/infer": Route("/v2/infer", {"POST": partial(self.infer, version)}, error_form),
        }

    def _nowhere(self, told: str) -> Route:
        def refuse(_: Request) -> Answer | Aside:
            raise Refusal(404, told)

        return Route("/v2", {"GET": refuse, "POST": refuse}, error_form)

    def live(self, _: Request) -> Answer | Aside:
        """The process runs."""
        return self.json({"live": True})

    def ready(self, _: Request) -> Answer | Aside:
        """It can score."""
        self.state.pass_if_ready()
        return self.json({"ready": True})

    def server(self, _: Request) -> Answer | Aside:
        """What serves."""
        return self.json({"name": "gbdtlr", "version": gbdtlr.__version__, "extensions": []})

    def model(self, version: str | None, _: Request) -> Answer | Aside:
        """The tensors it takes and gives."""
        columns = self.service.columns
        _check_version(version, columns.number)
        lists = columns.lists()
        inputs = [
            {**_tensor(name, "FP64"), "shape": [-1, lists[name]]}
            if name in lists
            else _tensor(name, "FP64" if name in columns.numeric else "BYTES")
            for name in columns.ordered()
        ]
        document = {
            "name": self.settings.name,
            "versions": [str(columns.number)],
            "platform": "gbdtlr",
            "inputs": inputs,
            "outputs": [_tensor(OUTPUT, "FP64")],
        }
        return self.json(document, columns.number)

    def model_ready(self, version: str | None, _: Request) -> Answer | Aside:
        """That version is live."""
        number = self.service.columns.number
        _check_version(version, number)
        self.state.pass_if_ready()
        return self.json({"name": self.settings.name, "ready": True}, number)

    def infer(self, version: str | None, request: Request) -> Answer | Aside:
        """Probabilities of the rows that the tensors are columns of."""
        if b"inference-header-content-length" in request.headers:
            raise Refusal(415, "binary tensors are not taken; put their data into the JSON, or send Arrow to /score")
        self.json_only(request)
        document = self.decoded(request.body)
        if type(document) is not dict:
            raise Refusal(400, "an object with inputs is expected")
        _check_outputs(document.get("outputs"))
        ident = document.get("id", "")
        if type(ident) is not str:
            raise Refusal(400, "id must be a text")
        frame, n_rows = self._frame(document.get("inputs"))
        _check_version(version, self.service.columns.number)
        work = partial(self.service.lists, frame, self.refuses_unknown(request))
        return self.scored(n_rows, work, partial(self._inferred, version, ident))

    def _inferred(self, version: str | None, ident: str, scored: Scored) -> Answer:
        probability, release = scored
        _check_version(version, release)
        answer = {
            "model_name": self.settings.name,
            "model_version": str(release),
            **({"id": ident} if ident else {}),
            "outputs": [{**_tensor(OUTPUT, "FP64", len(probability)), "data": probability.tolist()}],
        }
        return self.json(answer, release)

    def _frame(self, inputs: Any) -> tuple[dict[str, list[Any]], int]:
        """Columns by name, and how many rows they have."""
        if type(inputs) is not list or not inputs or not all(type(tensor) is dict for tensor in inputs):
            raise Refusal(400, "inputs must be a list of tensors, one for each column")
        frame: dict[str, list[Any]] = {}
        problems: dict[str, str] = {}
        sizes = self.service.columns.lists()
        for tensor in inputs:
            name = tensor.get("name")
            if type(name) is not str:
                raise Refusal(400, "each tensor needs a name, that of its column")
            if name in frame:
                problems[name] = "is there more than once"
            try:
                frame[name] = _values(tensor) if name not in sizes else _lists(tensor, sizes[name])
            except ValueError as error:
                problems[name] = str(error)
        if problems:
            raise Refusal(422, "tensors that cannot be read", problems, self.service.columns.number)
        n_rows = len(next(iter(frame.values())))
        self.limit_rows(n_rows)
        return frame, n_rows


def error_form(refusal: Refusal, release: int) -> dict[str, Any]:
    """A refusal as the protocol has it: one text. The release that refused stands in the header."""
    return {"error": refusal.in_a_line(), "model_version": str(release)}


def _tensor(name: str, datatype: str, n_rows: int = -1) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [n_rows]}


def _check_version(version: str | None, live: int) -> None:
    if version is not None and version != str(live):
        raise Refusal(404, f"version {version[:40]} is not live; release {live} is", release=live)


def _check_outputs(outputs: Any) -> None:
    if outputs is None or outputs == []:
        return
    if type(outputs) is not list or not all(type(each) is dict and each.get("name") == OUTPUT for each in outputs):
        raise Refusal(422, f'the only output is {OUTPUT}: outputs must be [{{"name": "{OUTPUT}"}}], or left out')


def _lists(tensor: dict[str, Any], size: int) -> list[Any]:
    """The lists of a tensor of shape [n, size], whose data are the lists or all their numbers in a row.

    Raises
    ------
    ValueError
        What is wrong with it.
    """
    shape, data = tensor.get("shape"), tensor.get("data")
    if type(shape) is not list or len(shape) != 2 or shape[1] != size or type(shape[0]) is not int or shape[0] < 0:
        raise ValueError(f"has shape {str(shape)[:40]}; [n, {size}] expected, a list of {size} for each row")
    if type(data) is not list:
        raise ValueError("needs data, a list of values")
    if data and all(type(each) is list for each in data):
        if len(data) != shape[0] or any(len(each) != size for each in data):
            raise ValueError(f"has shape {shape} and lists of other lengths")
        data = [value for each in data for value in each]
    numbers = _values({**tensor, "shape": [shape[0] * size], "data": data})
    return [numbers[i : i + size] for i in range(0, len(numbers), size)]


def _values(tensor: dict[str, Any]) -> list[Any]:
    """The values of a tensor of shape [n] or [n, 1], of its datatype; null is missing.

    Raises
    ------
    ValueError
        What is wrong with it.
    """
    shape, datatype, data = tensor.get("shape"), tensor.get("datatype"), tensor.get("data")
    if datatype not in DATATYPES:
        raise ValueError(f"has datatype {str(datatype)[:40]}; one of {', '.join(DATATYPES)} is taken")
    if type(shape) is not list or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("needs a shape of whole numbers")
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        raise ValueError(f"has shape {shape[:4]}; [n] or [n, 1] expected, one value for each row")
    if type(data) is not list:
        raise ValueError("needs data, a list of values")
    if len(shape) == 2 and all(type(value) is list and len(value) == 1 for value in data):
        data = [value[0] for value in data]
    if len(data) != shape[0]:
        raise ValueError(f"has shape {shape} and {len(data)} values")
    _check_type(data, datatype)
    if datatype == "FP32":  # the number that this text stands for in single precision
        return [None if value is None else float(np.float32(value)) for value in data]
    return data


def _check_type(data: Sequence[Any], datatype: str) -> None:
    types = {*map(type, data)} - {type(None)}
    taken = (
        {str}
        if datatype == "BYTES"
        else {bool}
        if datatype == "BOOL"
        else {int}
        if datatype in _WHOLE
        else {int, float}
    )
    if not types <= taken:
        wrong = next(value for value in data if value is not None and type(value) not in taken)
        raise ValueError(f"holds {str(wrong)[:40]!r}, which is no {datatype}")
    if datatype in _RANGES and types:
        low, high = _RANGES[datatype]
        outside = next((value for value in data if value is not None and not low <= value <= high), None)
        if outside is not None:
            raise ValueError(f"holds {str(outside)[:40]}, which is no {datatype}")
