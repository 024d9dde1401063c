"""Metrics: every request counted once, whole over all workers, in the text that Prometheus reads."""

from __future__ import annotations

import mmap
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_kit import ROW, ROWS, application, ask

from gbdtlr.serving.metrics import (
    CODES,
    DURATIONS_S,
    PROBABILITIES,
    ROUTES,
    SLOT_BYTES,
    Metrics,
    Slot,
    prometheus,
)

LINE = re.compile(r"([a-z_]+)(\{[^{}]*\})? (-?[0-9.e+-]+|\+Inf)")


def samples(text: str) -> dict[str, float]:
    """Values by name and labels, after a check of the format: each family once, its help and type before it."""
    assert text.endswith("\n")
    found: dict[str, float] = {}
    families: list[str] = []
    for line in text.splitlines():
        if line.startswith("# "):
            word, name, rest = line[2:].split(" ", 2)
            if word == "HELP":
                assert name not in families
                families.append(name)
            else:
                assert (word, name) == ("TYPE", families[-1])
                assert rest in ("counter", "gauge", "histogram")
            continue
        match = LINE.fullmatch(line)
        assert match, line
        assert match[1].startswith(families[-1])
        key = match[1] + (match[2] or "")
        assert key not in found
        found[key] = float(match[3])
    return found


def test_requests_rows_and_predictions_are_counted(store: str) -> None:
    app = application(store)
    probability = ask(app, "/score", ROW).json["probability"]
    ask(app, "/score", {"rows": ROWS})
    ask(app, "/score", {})
    ask(app, "/nowhere")
    found = samples(ask(app, "/metrics").body.decode())
    assert found['gbdtlr_requests_total{route="/score",code="200"}'] == 2
    assert found['gbdtlr_requests_total{route="/score",code="422"}'] == 1
    assert found['gbdtlr_requests_total{route="other",code="404"}'] == 1
    assert found["gbdtlr_rows_total"] == 1 + len(ROWS)
    assert found['gbdtlr_request_duration_seconds_count{route="/score"}'] == 3
    assert 0 < found['gbdtlr_request_duration_seconds_sum{route="/score"}'] < 60
    assert min(DURATIONS_S) == 50e-6
    assert found["gbdtlr_prediction_count"] == 1 + len(ROWS)
    total = sum(ask(app, "/score", {"rows": ROWS}).json["probability"]) + probability
    assert found["gbdtlr_prediction_sum"] == pytest.approx(total)
    below = next(bound for bound in PROBABILITIES if probability <= bound)
    assert found[f'gbdtlr_prediction_bucket{{le="{below:g}"}}'] >= 1
    assert found["gbdtlr_release"] == 5
    health = ask(app, "/healthz").json
    for part in ("head", "trees"):
        assert found[f"gbdtlr_{part}_age_seconds"] == pytest.approx(health[f"{part}_age_s"], abs=60)
    assert found["gbdtlr_refresh_failures_total"] == 0
    assert found["gbdtlr_workers"] == 1


@given(st.lists(st.one_of(st.floats(0, 1), st.sampled_from(PROBABILITIES)), max_size=40))
def test_predictions_fall_into_buckets_as_numpy_says(values: list[float]) -> None:
    one_by_one, at_once = Metrics.alone(), Metrics.alone()
    for value in values:
        one_by_one.own.predicted(value)
    at_once.own.predicted_all(np.array(values))
    text = samples(prometheus(at_once.sums(), 0).decode())
    for bound in PROBABILITIES:
        assert text[f'gbdtlr_prediction_bucket{{le="{bound:g}"}}'] == sum(value <= bound for value in values)
    assert text['gbdtlr_prediction_bucket{le="+Inf"}'] == text["gbdtlr_prediction_count"] == len(values)
    assert one_by_one.sums().predictions == at_once.sums().predictions
    assert one_by_one.sums().rows == at_once.sums().rows == len(values)
    assert one_by_one.sums().predicted == pytest.approx(at_once.sums().predicted)


def test_any_worker_tells_the_sums_of_all() -> None:
    memory = mmap.mmap(-1, 3 * SLOT_BYTES)
    workers = [Metrics(memory, 3, index) for index in range(3)]
    for n, worker in enumerate(workers, 1):
        worker.own.set(release=10 + n, head_as_of_s=1000 * n, trees_as_of_s=500 * n)
        for _ in range(n):
            worker.own.request("/score", 200, 0.0001)
            worker.own.predicted(0.5)
        worker.own.began()
    texts = [samples(prometheus(worker.sums(), 5000).decode()) for worker in workers]
    assert texts[0] == texts[1] == texts[2]
    found = texts[0]
    assert found['gbdtlr_requests_total{route="/score",code="200"}'] == 6
    assert found['gbdtlr_request_duration_seconds_sum{route="/score"}'] == pytest.approx(0.0006)
    assert found["gbdtlr_rows_total"] == 6
    assert (found["gbdtlr_workers"], found["gbdtlr_requests_in_flight"]) == (3, 3)
    assert (found["gbdtlr_release"], found["gbdtlr_head_age_seconds"], found["gbdtlr_trees_age_seconds"]) == (
        11,
        4000,
        4500,
    )
    workers[1].own.refreshed(failed=True)
    found = samples(prometheus(workers[0].sums(), 5000).decode())
    assert (found["gbdtlr_refresh_failing"], found["gbdtlr_refresh_failures_total"]) == (1, 1)


def test_what_a_dead_worker_counted_stays_and_its_gauges_go() -> None:
    memory = mmap.mmap(-1, 2 * SLOT_BYTES)
    first, second = Metrics(memory, 2, 0), Metrics(memory, 2, 1)
    for worker in (first, second):
        worker.own.set(release=4, head_as_of_s=1, trees_as_of_s=1)
        worker.own.request("/score", 200, 0.01)
    second.own.began()
    second.own.set(release=3)
    Slot(memory, 1).clear_gauges()
    found = samples(prometheus(first.sums(), 10).decode())
    assert found['gbdtlr_requests_total{route="/score",code="200"}'] == 2
    assert (found["gbdtlr_workers"], found["gbdtlr_release"], found["gbdtlr_requests_in_flight"]) == (1, 4, 0)
    again = Metrics(memory, 2, 1)
    again.own.request("/score", 200, 0.01)
    found = samples(prometheus(first.sums(), 10).decode())
    assert (found['gbdtlr_requests_total{route="/score",code="200"}'], found["gbdtlr_workers"]) == (3, 2)
    assert found["gbdtlr_release"] == 4  # one that has not loaded its release yet tells none


def test_embeddings_are_told_where_there_are_any_and_users_by_what_became_of_their_states() -> None:
    memory = mmap.mmap(-1, 2 * SLOT_BYTES)
    workers = [Metrics(memory, 2, index) for index in range(2)]
    for worker in workers:
        worker.own.set(release=4, head_as_of_s=1, trees_as_of_s=1)
        worker.own.user("older")
    workers[1].own.user("known")
    found = samples(prometheus(workers[0].sums(), 100).decode())
    assert "gbdtlr_embeddings_age_seconds" not in found
    assert found['gbdtlr_users_total{began="older"}'] == 2
    assert found['gbdtlr_users_total{began="known"}'] == 1
    assert found['gbdtlr_users_total{began="new"}'] == 0
    for n, worker in enumerate(workers):  # of the one that is yet to go over, nothing
        worker.own.set(embeddings_as_of_s=40 * n)
    assert samples(prometheus(workers[0].sums(), 100).decode())["gbdtlr_embeddings_age_seconds"] == 60


def test_slots_do_not_overlap() -> None:
    memory = mmap.mmap(-1, 2 * SLOT_BYTES)
    first, second = (Metrics(memory, 2, index).own for index in range(2))
    for route in ROUTES:
        for code in CODES:
            for seconds in (*DURATIONS_S, 100.0):
                first.request(route, code, seconds)
    first.predicted_all(np.linspace(0, 1, 50))
    sums = Metrics(memory, 2, 0).sums()
    assert all(n == len(DURATIONS_S) + 1 for codes, _, _ in sums.requests.values() for n in codes.values())
    assert all(set(counts) == {len(CODES)} for _, counts, _ in sums.requests.values())
    assert len(sums.requests) == len(ROUTES)
    whole, real = second.read()
    assert not any(whole[1:])
    assert not any(real[len(whole) :])
