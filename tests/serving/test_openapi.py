"""The description tells the truth: what it allows is taken, what it forbids refused, every answer is as it says."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from serving_kit import Application, application, ask

from gbdtlr.config import Config
from gbdtlr.jobs import train_trees
from gbdtlr.serving.metrics import ROUTES

NOW = datetime(2024, 3, 3, tzinfo=UTC)
OPERATIONS = (
    *("POST /score", "POST /explain", "POST /invocations", "GET /ping", "GET /", "GET /livez", "GET /readyz"),
    *("GET /healthz", "GET /metrics", "GET /status.json", "GET /v2", "GET /v2/health/live"),
    *("GET /v2/health/ready", "GET /v2/models/gbdtlr", "GET /v2/models/gbdtlr/ready", "POST /v2/models/gbdtlr/infer"),
    "GET /v2/models/gbdtlr/versions/{version}",
    "GET /v2/models/gbdtlr/versions/{version}/ready",
    "POST /v2/models/gbdtlr/versions/{version}/infer",
)


@pytest.fixture(scope="module")
def described(app: Application) -> dict[str, Any]:
    """Operations of the description as it is served, by their names."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    return {operation.ok().label: operation.ok() for operation in schema.get_all_operations()}


def test_every_route_is_described(described: dict[str, Any]) -> None:
    assert sorted(described) == sorted(OPERATIONS)
    named_otherwise = {
        "other",
        "/openapi.json",
        "/v2/health",
        "/v2/models",
        "/v2/ready",
        "/v2/infer",
    }  # several paths each
    assert {*ROUTES} - named_otherwise <= {label.partition(" ")[2] for label in OPERATIONS}


def check(operation: Any, n: int, mode: schemathesis.GenerationMode) -> None:
    """Send ``n`` requests that the description allows, or forbids; answers must be as it says."""

    @settings(max_examples=n, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def run(case: schemathesis.Case) -> None:
        left_out = [] if says_all(case.body) else [positive_data_acceptance]
        if rounds_to_the_largest(case.body):
            left_out.append(negative_data_rejection)
        case.call_and_validate(excluded_checks=left_out)

    run()


def says_all(body: Any) -> bool:
    """Whether a body that the description allows must be taken: it cannot say that lists are of one length."""
    if not isinstance(body, dict):
        return not isinstance(body, (bytes, str))
    lists = body.get("columns") or body.get("inputs") or body.get("dataframe_split") or {}
    if not isinstance(lists, dict):
        return not isinstance(lists, list)
    return "data" not in lists and len({len(each) for each in lists.values() if isinstance(each, list)}) < 2


def rounds_to_the_largest(body: Any) -> bool:
    """Whether a whole number in a body is above the largest float as it is written, and is taken for it."""
    if isinstance(body, (dict, list)):
        return any(map(rounds_to_the_largest, body.values() if isinstance(body, dict) else body))
    described, largest = int(Decimal(repr(sys.float_info.max))), int(sys.float_info.max)
    return type(body) is int and described < abs(body) < largest + 2**970


@pytest.mark.parametrize("label", OPERATIONS)
def test_what_is_allowed_is_answered_as_described(described: dict[str, Any], label: str) -> None:
    check(described[label], 25, schemathesis.GenerationMode.POSITIVE)


@pytest.mark.parametrize("label", [label for label in OPERATIONS if label.startswith("POST")])
def test_what_is_forbidden_is_refused_as_described(described: dict[str, Any], label: str) -> None:
    check(described[label], 25, schemathesis.GenerationMode.NEGATIVE)


@pytest.mark.slow
@pytest.mark.parametrize("label", [label for label in OPERATIONS if label.startswith("POST")])
def test_the_description_holds_at_length(described: dict[str, Any], label: str) -> None:
    for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
        check(described[label], 1000, mode)


def test_it_describes_the_columns_of_the_release(app: Application, config: Config) -> None:
    row = ask(app, "/openapi.json").json["components"]["schemas"]["Row"]
    assert row["required"] == ["x", "y", "colour", "shop"]
    assert row["additionalProperties"] is False
    train_trees(Config.from_dict({**config.as_dict(), "samples": {**config.as_dict()["samples"], "wide": []}}), NOW)
    lenient = application(config.store, unknown_columns="ignore")
    row = ask(lenient, "/openapi.json").json["components"]["schemas"]["Row"]
    assert row["required"] == ["x", "y", "colour"]
    assert "additionalProperties" not in row
