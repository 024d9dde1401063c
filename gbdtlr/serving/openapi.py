"""The description of a service in OpenAPI 3.1, with the columns of the release that serves."""

from __future__ import annotations

import sys
from typing import Any

import gbdtlr
from gbdtlr.config import ServeConfig
from gbdtlr.serving.answer import ARROW
from gbdtlr.serving.columns import Columns
from gbdtlr.serving.inference import DATATYPES, OUTPUT

_JSON, _ARROW = "application/json", ARROW.decode()
_NUMBER = {"type": "number", "minimum": -sys.float_info.max, "maximum": sys.float_info.max}
_MISSING_NUMBER = {"oneOf": [_NUMBER, {"type": "boolean"}, {"type": "null"}]}
_WHOLE = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
_CATEGORY = {"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"type": "null"}]}
_PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}
_RELEASE = {"type": "integer", "minimum": 1}
_WRONG = {
    "400": "The body is not of its content type.",
    "401": "The token is missing or wrong.",
    "408": "The body did not come in time.",
    "413": "A body or rows beyond the limits.",
    "415": "A content type that is not understood here.",
    "422": "Columns that are missing, unknown or of the wrong type.",
    "503": "Too many requests in flight, or about to end; Retry-After says when to come again.",
}
Document = dict[str, Any]


def description(columns: Columns, settings: ServeConfig, host: str) -> Document:
    """The description, as the server at ``host`` gives it."""
    model = f"/v2/models/{settings.name}"
    version = f"{model}/versions/{{version}}"
    document: Document = {
        "openapi": "3.1.0",
        "info": {
            "title": settings.name,
            "version": gbdtlr.__version__,
            "description": f"Probabilities of release {columns.number}. Every answer names its release.",
        },
        "servers": [{"url": "/"}] if not host else [{"url": "/", "description": host}],
        "paths": {
            **_own_paths(),
            **_mlflow_paths(),
            **_operations_paths(),
            "/v2": {
                "get": _answers(
                    "What serves", _object({"name": _text(), "version": _text(), "extensions": _list(_text())})
                )
            },
            "/v2/health/live": {"get": _answers("Whether it lives", _object({"live": {"type": "boolean"}}))},
            "/v2/health/ready": {"get": _answers("Whether it is ready", _object({"ready": {"type": "boolean"}}))},
            **_model_paths(model, []),
            **_model_paths(version, [_version_parameter(columns.number)]),
        },
        "components": {
            "schemas": _schemas(columns, settings),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    if settings.token_file:
        document["security"] = [{"token": []}]
    return document


def _own_paths() -> Document:
    unknown = {
        "name": "unknown",
        "in": "query",
        "description": "What to do with columns that the release does not read.",
        "schema": {"enum": ["refuse", "ignore"]},
    }
    score = {
        "summary": "Probability of one row, of rows, or of columns",
        "parameters": [unknown],
        "requestBody": _body({_JSON: _ref("Score"), _ARROW: {"type": "string", "format": "binary"}}),
        "responses": {
            "200": _response(
                "Probabilities, and the release all of them came from.",
                {
                    _JSON: {"anyOf": [_ref("Scored"), _ref("ScoredForUser")]},
                    _ARROW: {"type": "string", "format": "binary"},
                },
            ),
            **_refusals("Problem"),
        },
    }
    explain = {
        "summary": "What makes the margin of one row",
        "parameters": [unknown],
        "requestBody": _body({_JSON: _ref("Row")}),
        "responses": {
            "200": _response("Terms, largest first, that sum to the margin.", {_JSON: _ref("Explained")}),
            **_refusals("Problem"),
        },
    }
    return {"/score": {"post": score}, "/explain": {"post": explain}}


def _mlflow_paths() -> Document:
    invocations = {
        "summary": "Predictions, as MLflow's scoring server gives them",
        "requestBody": _body({_JSON: _ref("Invocation"), "text/csv": {"type": "string", "format": "binary"}}),
        "responses": {
            "200": _response("Probabilities, and the release all of them came from.", {_JSON: _ref("Predictions")}),
            **_refusals("MlflowError"),
        },
    }
    ping = {"summary": "Whether it is ready", "responses": {"200": {"description": "It is."}}}
    return {"/invocations": {"post": invocations}, "/ping": {"get": ping}}


def _operations_paths() -> Document:
    def text(summary: str, kind: str) -> Document:
        return {"get": {"summary": summary, "responses": {"200": _response(summary, {kind: {"type": "string"}})}}}

    health = _object({"status": {"enum": ["ok", "degraded", "draining"]}, "release": _RELEASE}, closed=False)
    return {
        "/": text("The page for people", "text/html"),
        "/livez": {"get": _answers("Whether it lives", _object({"status": _text(), "release": _RELEASE}))},
        "/readyz": {"get": _answers("Whether it is ready", _object({"status": _text(), "release": _RELEASE}))},
        "/healthz": {"get": _answers("How it is", health)},
        "/metrics": text("Metrics of all workers, for Prometheus", "text/plain"),
        "/status.json": {"get": _answers("What the page shows", {"type": "object"})},
        "/openapi.json": {"get": _answers("This description", {"type": "object"})},
    }


def _model_paths(path: str, parameters: list[Document]) -> Document:
    infer = {
        "summary": "Probabilities of rows given as one tensor for each column",
        "requestBody": _body({_JSON: _ref("Inference")}),
        "responses": {
            "200": _response("Probabilities; model_version is the release.", {_JSON: _ref("Inferred")}),
            **_refusals("InferenceError"),
        },
    }
    metadata = _object({"name": _text(), "versions": _list(_text()), "platform": _text()}, closed=False)
    ready = _object({"name": _text(), "ready": {"type": "boolean"}})
    paths: Document = {
        path: {"get": _answers("Its tensors", metadata, "InferenceError")},
        f"{path}/ready": {"get": _answers("Whether it is ready", ready, "InferenceError")},
        f"{path}/infer": {"post": infer},
    }
    for methods in paths.values():
        for operation in methods.values():
            if parameters:
                operation["parameters"] = parameters
                told = {_JSON: _ref("InferenceError")}
                operation["responses"]["404"] = _response("A version that is not live.", told)
    return paths


def _version_parameter(number: int) -> Document:
    return {"name": "version", "in": "path", "required": True, "schema": {"enum": [str(number)]}}


def _schemas(columns: Columns, settings: ServeConfig) -> Document:
    of_list = {name: _missing_list(size) for name, size in columns.lists().items()}
    of_column = {
        name: of_list.get(name, _MISSING_NUMBER if name in columns.numeric else _CATEGORY) for name in columns.ordered()
    }
    row = _object(of_column, closed=settings.unknown_columns == "refuse")
    loose_row = _object(of_column, closed=False)
    few = {"maxItems": settings.max_rows}
    lists = {name: {**_list(schema), **few} for name, schema in of_column.items()}
    names = [*of_column]
    tensor = _object(
        {
            "name": {"enum": names},
            "datatype": {"enum": list(DATATYPES)},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
            "data": {"type": "array"},
        },
        closed=False,
    )
    output = _object(
        {"name": {"const": OUTPUT}, "datatype": _text(), "shape": _list(_WHOLE), "data": _list(_PROBABILITY)}
    )
    forms: list[Document] = [
        _object({"rows": {**_list(_ref("Row")), **few}}),
        _object({"columns": _object(lists, closed=settings.unknown_columns == "refuse")}),
    ]
    return {
        "Row": row,
        "Score": {"anyOf": [_ref("Row"), *forms, *_for_users(columns, of_column, few)]},
        "ScoredForUser": _object(
            {
                "probability": _list(_PROBABILITY),
                "release": _RELEASE,
                "user": _text(),
                "user_score": _list({"type": "number"}),
            },
            closed=False,
        ),
        "Scored": _object({"probability": {"oneOf": [_PROBABILITY, _list(_PROBABILITY)]}, "release": _RELEASE}),
        "Explained": _object(
            {
                "release": _RELEASE,
                "margin": {"type": "number"},
                "probability": _PROBABILITY,
                "terms": _list(_object({"what": _text(), "weight": {"type": "number"}})),
            }
        ),
        "Problem": _object(
            {
                "type": _text(),
                "title": _text(),
                "status": {"type": "integer"},
                "detail": _text(),
                "problems": {"type": "object", "additionalProperties": _text()},
                "release": _RELEASE,
            }
        ),
        "Invocation": {
            "oneOf": [
                _object({"dataframe_records": {**_list(loose_row), **few}}),
                _object({"instances": {**_list(loose_row), **few}}),
                _object({"inputs": _object(lists, closed=False)}),
                _object({"dataframe_split": _object({"columns": _list(_text()), "data": _list({"type": "array"})})}),
            ]
        },
        "Predictions": _object({"predictions": _list(_PROBABILITY), "release": _RELEASE}),
        "MlflowError": _object({"error_code": _text(), "message": _text(), "release": _RELEASE}),
        "Inference": {
            "type": "object",
            "properties": {
                "id": _text(),
                "inputs": {**_list(tensor), "minItems": 1},
                "outputs": _list(_object({"name": {"const": OUTPUT}}, closed=False)),
            },
            "required": ["inputs"],
        },
        "Inferred": {
            **_object({"model_name": _text(), "model_version": _text(), "outputs": _list(output)}, closed=False),
        },
        "InferenceError": _object({"error": _text(), "model_version": _text()}),
    }


def _for_users(columns: Columns, of_column: Document, few: Document) -> list[Document]:
    """Forms of a request for one user, where the release has vectors of items."""
    if columns.release.embeddings is None:
        return []
    of_row = {**dict.fromkeys(columns.release.embeddings.vectors.columns, _CATEGORY), **of_column}
    event = _object({"item": _CATEGORY, "label": {"enum": [0, 1]}, "margin": _NUMBER})
    event["properties"]["content"] = {"type": ["object", "null"]}
    about = {"user": {"type": ["string", "null"]}, "events": _list(event), "vectors": {"type": "boolean"}}
    of_columns = _object({name: {**_list(schema), **few} for name, schema in of_column.items()}, closed=False)
    return [
        {**_object({key: schema, **about}), "required": [key, "user"]}
        for key, schema in (("rows", {**_list(_object(of_row, closed=False)), **few}), ("columns", of_columns))
    ]


def _missing_list(size: int) -> Document:
    """A list of so many numbers, or none."""
    return {"oneOf": [{**_list(_MISSING_NUMBER), "minItems": size, "maxItems": size}, {"type": "null"}]}


def _refusals(schema: str) -> Document:
    kind = "application/problem+json" if schema == "Problem" else _JSON
    return {status: _response(told, {kind: _ref(schema)}) for status, told in _WRONG.items()}


def _answers(summary: str, schema: Document, error: str = "Problem") -> Document:
    kind = "application/problem+json" if error == "Problem" else _JSON
    answers = {status: _response(_WRONG[status], {kind: _ref(error)}) for status in ("401", "503")}
    return {"summary": summary, "responses": {"200": _response(summary, {_JSON: schema}), **answers}}


def _body(content: Document) -> Document:
    return {"required": True, "content": {kind: {"schema": schema} for kind, schema in content.items()}}


def _response(description: str, content: Document) -> Document:
    return {
        "description": description,
        "headers": {"gbdtlr-release": {"description": "The release it came from.", "schema": _RELEASE}},
        "content": {kind: {"schema": schema} for kind, schema in content.items()},
    }


def _object(properties: Document, closed: bool = True) -> Document:
    schema = {"type": "object", "properties": properties, "required": [*properties]}
    return {**schema, "additionalProperties": False} if closed else schema


def _list(items: Document) -> Document:
    return {"type": "array", "items": items}


def _texts(*names: str) -> Document:
    return {name: _text() for name in names}


def _text() -> Document:
    return {"type": "string"}


def _ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}
