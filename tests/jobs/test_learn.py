"""The stream job: learns what comes, publishes in time, and loses nothing, whatever else is published meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from methods_kit import DAY, HOUR, ONLINE, START, config, rows, toml, write_log

from gbdtlr.cli import main
from gbdtlr.cli.learn import _pieces
from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, NoReleaseError, StoreUnavailable
from gbdtlr.head import OnlineHead
from gbdtlr.jobs import stream as streams
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.jobs.learn import learn
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.operate.rollback import rollback
from gbdtlr.release import Release
from gbdtlr.store import Store

NOW = START + 2 * DAY
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    write_log(folder / "log", 54)
    return folder


def lines(n: int, seed: int = 5) -> list[str]:
    table = rows(n, NOW, HOUR, seed).drop_columns(["at", "known_at"])
    return [json.dumps(row) for row in table.to_pylist()]


class Clock:
    """Stands still until it is set."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def stream(c: Config, pieces: Any, clock: Clock, **options: Any) -> Any:
    return learn(c, pieces, clock, **{"publish_every": timedelta(minutes=1), **options})


def live(c: Config) -> Release:
    store = Store.open(c.store)
    entry = store.live()
    assert entry is not None
    return Release.load(store, entry)


def head_of(c: Config) -> OnlineHead:
    head = live(c).online()
    assert head is not None
    return head


@pytest.mark.parametrize("method", ONLINE)
@pytest.mark.parametrize("size", [1, 7, 200])
def test_however_lines_come_the_head_is_the_same(log: Path, method: str, size: int) -> None:
    c = config(log, method, store=f"pieces-{method}-{size}")
    train_trees(c, NOW)
    expected = head_of(c)
    release, all_lines, clock = live(c), lines(200), Clock()
    for line in all_lines:
        row = json.loads(line)
        codes = [*release.trees.encode_row(row), *release.head.wide.row_buckets(row)]
        expected.learn_one(codes, row["label"])

    def pieces() -> Iterator[list[str]]:
        for i in range(0, 200, size):
            clock.now += timedelta(seconds=10)
            yield all_lines[i : i + size]

    result = stream(c, pieces(), clock)
    assert (result.status, result.samples) == ("published", 200)
    assert result.metrics["progressive"]["rows"] == 200
    assert head_of(c).to_bytes() == expected.to_bytes()
    table = rows(50, NOW, HOUR, 8)
    assert live(c).model.margin(table) == pytest.approx(
        [live(c).model.row_margin(row) for row in table.to_pylist()], abs=1e-12
    )


def test_it_publishes_by_time_by_count_and_at_the_end(log: Path) -> None:
    c = config(log, "ftrl", store="when")
    train_trees(c, NOW)
    clock, numbers = Clock(), []

    def pieces() -> Iterator[list[str]]:
        for seconds, n in ((30, 50), (29, 0), (1, 0), (120, 0), (1, 100), (1, 3)):
            clock.now += timedelta(seconds=seconds)
            yield lines(n) if n else []
            numbers.append(live(c).entry.number)

    stream(c, pieces(), clock, publish_samples=100)
    assert numbers == [1, 1, 2, 2, 3, 3]
    release = live(c)
    assert release.entry.number == 4
    assert release.entry.why == "learn"
    entries = Store.open(c.store).entries()[1:]
    assert [entry.metrics["progressive"]["rows"] for entry in entries] == [50, 100, 3], "each since the one before"
    assert release.head_as_of == clock.now


def test_the_ledger_goes_on(log: Path) -> None:
    c = config(log, "ftrl", store="ledger")
    train_trees(c, NOW)
    before = Ledger.from_dict(live(c).head_manifest["ledger"])
    stream(c, [lines(30)], Clock(NOW + HOUR))
    found = Ledger.from_dict(live(c).head_manifest["ledger"])
    assert live(c).counts is not None, "what the files held is kept for the next update"
    assert (found.after, found.until, found.rows) == (NOW, NOW + HOUR, 30)
    assert found.learned_since_full == before.learned_since_full + 30
    assert update_lr(c, NOW + 2 * HOUR).status == "published"
    assert Ledger.from_dict(live(c).head_manifest["ledger"]).after == NOW + HOUR


def test_lines_that_are_no_samples_are_counted_and_passed_over(log: Path) -> None:
    c = config(log, "ftrl", store="refused", samples={"weight": "w"})
    with pytest.raises(Exception, match="w"):
        train_trees(c, NOW)
    c = config(log, "ftrl", store="refused")
    train_trees(c, NOW)
    good = lines(3)
    bad = [
        "nonsense",
        "[1]",
        "3",
        '{"x": 1, "kind": "a", "shop": "s1"}',
        '{"x": 1, "kind": "a", "shop": "s1", "label": 2}',
        '{"x": 1, "kind": "a", "shop": "s1", "label": "yes"}',
        '{"x": "high", "kind": "a", "shop": "s1", "label": 1}',
        '{"x": 1, "kind": ["a"], "shop": "s1", "label": 1}',
        '{"label": 1}',
        b"\xff\xfe",
        "[" * 100_000,
    ]
    told: list[tuple[str, dict]] = []
    mixed = [good[0], *bad[:6], good[1], "", "  ", *bad[6:], good[2]]
    result = stream(c, [mixed], Clock(), on_event=lambda name, **fields: told.append((name, fields)))
    assert result.samples == 3
    counted = [result.metrics[name] for name in ("lines", "lines_refused", "lines_blank", "unpublished", "lost")]
    assert counted == [3 + len(bad) + 2, len(bad), 2, 0, 0]
    assert "not JSON" in dict(told)["lines.refused"]["reason"]


def test_what_json_can_say_and_no_table_can_hold_ends_no_stream(log: Path) -> None:
    c = config(log, "ftrl", store="hostile")
    train_trees(c, NOW)
    c = replace(c, samples=replace(c.samples, weight="w"))
    good = {**json.loads(lines(1)[0]), "w": 1}
    kept = [{"x": 2**63 + 5}, {"x": 10**30}, {"x": True}, {"shop": 2**63 + 5}, {"shop": 10**30}, {"shop": False}]
    refused = [
        {"x": 10**400},
        {"kind": "\ud800"},
        {"shop": "a\udc00"},
        {"w": 10**400},
        {"w": 1e200},
        {"label": 10**400},
    ]
    result = stream(c, [[json.dumps({**good, **odd}) for odd in (*kept, *refused)]], Clock())
    assert (result.status, result.samples) == ("published", len(kept))
    assert result.metrics["lines_refused"] == len(refused)
    bucket = live(c).head.wide.row_buckets({"shop": str(2**63 + 5)})
    assert live(c).head.wide.row_buckets({"shop": 2**63 + 5}) == bucket


def test_gaps_and_unseen_values_are_ordinary(log: Path) -> None:
    c = config(log, "ftrl", store="gaps")
    train_trees(c, NOW)
    some = [
        '{"x": null, "kind": "new", "shop": 7, "label": true}',
        '{"shop": "s1", "label": 0}',
        '{"x": 1, "label": 0.0}',
    ]
    assert stream(c, [some], Clock()).samples == 3
    assert live(c).entry.number == 2


def test_nothing_came(log: Path) -> None:
    c = config(log, "ftrl", store="nothing")
    train_trees(c, NOW)
    result = stream(c, [[], []], Clock(NOW + HOUR))
    assert (result.status, result.release) == ("unchanged", 1)
    result = stream(c, [["nonsense"]], Clock(NOW + HOUR))
    assert result.status == "unchanged"
    assert result.reason.startswith("1 line came, and none was a sample: a line that is not JSON: ")


@pytest.mark.parametrize("other", ["trees", "update", "rollback"])
def test_what_is_not_yet_published_is_learned_on_top_of_what_was_published_meanwhile(log: Path, other: str) -> None:
    c = config(log, "ftrl", store=f"meanwhile-{other}")
    train_trees(c, NOW)
    update_lr(c, NOW + HOUR)
    clock = Clock(NOW + HOUR)

    def pieces() -> Iterator[list[str]]:
        yield lines(20, 1)
        clock.now += timedelta(minutes=2)
        yield lines(20, 2)  # published: release 3
        yield lines(20, 3)
        if other == "trees":
            assert train_trees(c, NOW + 3 * HOUR).status == "published"
        elif other == "update":
            assert update_lr(c, NOW + 3 * HOUR).status == "published"
        else:
            assert rollback(Store.open(c.store), 2, NOW + HOUR, "").status == "published"
        expected.append(head_of(c))
        yield []

    expected: list[OnlineHead] = []
    result = stream(c, pieces(), clock)
    assert (result.status, result.samples) == ("published", 60)
    release = live(c)
    for line in lines(20, 3):
        row = json.loads(line)
        codes = [*release.trees.encode_row(row), *release.head.wide.row_buckets(row)]
        expected[0].learn_one(codes, row["label"])
    assert head_of(c).to_bytes() == expected[0].to_bytes()
    assert release.entry.number == 5


def test_a_guard_keeps_the_old_release_and_what_was_learned(log: Path) -> None:
    c = config(log, "ftrl", store="guard")
    train_trees(c, NOW)
    strict = replace(c, guard=replace(c.guard, min_samples=10**6))
    result = stream(strict, [lines(40)], Clock())
    assert (result.status, live(c).entry.number) == ("refused", 1)
    assert "min_samples" in result.reason
    assert (result.samples, result.metrics["unpublished"]) == (40, 40)


def test_what_is_refused_is_tried_again_only_with_as_many_new_samples(log: Path) -> None:
    c = config(log, "ftrl", store="again")
    train_trees(c, NOW)
    strict, told = replace(c, guard=replace(c.guard, min_samples=10**6)), []
    pieces = [[line] for line in lines(25)]
    stream(strict, pieces, Clock(), publish_samples=10, on_event=lambda name, **fields: told.append((name, fields)))
    assert [fields["samples"] for name, fields in told if name == "release.refused"] == [10, 20, 25]


def test_a_release_is_due_when_as_many_samples_wait_as_are_kept(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEPT", 20)
    c = config(log, "ftrl", store="kept")
    train_trees(c, NOW)
    stream(c, [[line] for line in lines(50)], Clock(), publish_samples=1000)
    assert [entry.metrics["fresh"] for entry in Store.open(c.store).entries()[1:]] == [20, 20, 10]


@pytest.mark.parametrize("meanwhile", [False, True], ids=["alone", "with other trees meanwhile"])
def test_however_long_a_guard_refuses_few_samples_are_kept_and_all_stay_learned(
    log: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: bool
) -> None:
    monkeypatch.setattr(streams, "KEPT", 20)
    c = config(log, "ftrl", store=f"long-{meanwhile}")
    train_trees(c, NOW)
    before, expected = head_of(c).n_learned, head_of(c)
    n_needed = Ledger.from_dict(live(c).head_manifest["ledger"]).learned_since_full + 190
    strict = replace(c, guard=replace(c.guard, min_samples=n_needed))
    kept: list[int] = []

    def pieces() -> Iterator[list[str]]:
        for i, line in enumerate(lines(200)):
            if meanwhile and i == 170:
                assert train_trees(c, NOW + HOUR).status == "published"
            yield [line]
            kept.append(max(len(each.pending) for each in watched))

    watched: list[Any] = []
    made = streams.Stream.__init__
    monkeypatch.setattr(streams.Stream, "__init__", lambda self, *args: (made(self, *args), watched.append(self))[0])
    told: list[tuple[str, dict[str, Any]]] = []
    result = stream(strict, pieces(), Clock(), on_event=lambda name, **fields: told.append((name, fields)))
    assert max(kept) <= 40
    tried = [fields["samples"] for name, fields in told if name == "release.refused"]
    if not meanwhile:
        assert tried == list(range(20, 190, 20))
        assert (result.status, result.samples, result.metrics["lost"]) == ("published", 200, 0)
        assert head_of(c).n_learned == before + 200
        release = live(c)
        for line in lines(200):
            row = json.loads(line)
            codes = [*release.trees.encode_row(row), *release.head.wide.row_buckets(row)]
            expected.learn_one(codes, row["label"])
        assert head_of(c).to_bytes() == expected.to_bytes(), "of those let go, too"
        entries = Store.open(c.store).entries()
        assert [entry.metrics["fresh"] for entry in entries[1:]] == [200]
        assert Ledger.from_dict(live(c).head_manifest["ledger"]).rows == 200
    else:
        fields = dict(told)["release.superseded"]
        assert fields["again"] + fields["lost"] == 200
        assert 20 <= fields["again"] <= 40
        assert result.metrics["lost"] == fields["lost"]


def test_a_stream_that_loses_a_column_is_refused(log: Path) -> None:
    c = config(log, "ftrl", store="column")
    train_trees(c, NOW)
    without = [json.dumps({**json.loads(line), "kind": None}) for line in lines(60)]
    result = stream(c, [without], Clock())
    assert (result.status, live(c).entry.number) == ("refused", 1)
    assert "column kind is missing in 100% of 60 rows" in result.reason


def test_a_store_that_is_away_for_a_while_loses_nothing(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    c = config(log, "ftrl", store="away")
    train_trees(c, NOW)
    before, clock = head_of(c).n_learned, Clock()
    calls: list[int] = []
    told: list[tuple[str, dict[str, Any]]] = []
    append = Store.append

    def away(store: Store, *args: Any) -> Any:
        calls.append(1)
        if len(calls) <= 2:
            raise StoreUnavailable("no route to host")
        return append(store, *args)

    def pieces() -> Iterator[list[str]]:
        for line in lines(40):
            clock.now += timedelta(seconds=6)
            yield [line]

    monkeypatch.setattr(Store, "append", away)
    result = stream(c, pieces(), clock, on_event=lambda name, **fields: told.append((name, fields)))
    waited = [fields for name, fields in told if name == "store.unavailable"]
    assert [fields["samples"] for fields in waited] == [10, 20]
    assert waited[0]["reason"] == "no route to host"
    assert (result.status, result.metrics["unpublished"]) == ("published", 0)
    assert head_of(c).n_learned == before + 40
    assert [entry.metrics["fresh"] for entry in Store.open(c.store).entries()[1:]] == [30, 10]


def test_a_store_that_is_away_at_the_end_is_an_error(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    c = config(log, "ftrl", store="gone")
    train_trees(c, NOW)

    def away(*_: Any) -> Any:
        raise StoreUnavailable("no route to host")

    monkeypatch.setattr(Store, "append", away)
    with pytest.raises(StoreUnavailable, match="no route"):
        stream(c, [lines(20)], Clock())


def test_refused_lines_are_told_once_between_releases(log: Path) -> None:
    c = config(log, "ftrl", store="once")
    train_trees(c, NOW)
    clock = Clock()
    told: list[int] = []

    def pieces() -> Iterator[list[str]]:
        for line in lines(20):
            clock.now += timedelta(seconds=6)
            yield ["nothing", line]

    def note(name: str, **fields: Any) -> None:
        if name == "lines.refused":
            told.append(fields["refused"])

    stream(c, pieces(), clock, on_event=note)
    assert told == [1, 11]


@pytest.mark.parametrize("label", [0, 1])
def test_a_new_stream_of_one_label_is_refused_where_the_head_expected_others(log: Path, label: int) -> None:
    c = config(log, "ftrl", store=f"label-{label}")
    train_trees(c, NOW)
    alike = [json.dumps({**json.loads(line), "label": label}) for line in lines(120)]
    later = Clock(NOW + 400 * DAY)  # no day before it has labels
    result = stream(c, [alike], later)
    assert (result.status, live(c).entry.number) == ("refused", 1)
    assert f"label rate {label} of 120 labels, where the live head expected 0." in result.reason
    assert stream(c, [lines(120)], later).status == "published"


@pytest.mark.parametrize("method", ["refit", "incremental"])
def test_a_method_that_cannot_learn_one_sample_says_which_can(log: Path, method: str) -> None:
    with pytest.raises(ConfigError, match="choose one of ftrl, rda, fobos"):
        stream(config(log, method), [], Clock())


def test_a_head_of_another_method_calls_for_an_update(log: Path) -> None:
    train_trees(config(log, "refit", store="other"), NOW)
    c = config(log, "ftrl", store="other")
    with pytest.raises(ConfigError, match="run first: gbdtlr update-lr"):
        stream(c, [lines(1)], Clock())
    update_lr(c, NOW + HOUR)
    assert stream(c, [lines(1)], Clock(NOW + HOUR)).status == "published"


def test_without_trees_there_is_nothing_to_learn_on(tmp_path: Path) -> None:
    with pytest.raises(NoReleaseError, match="gbdtlr train-trees"):
        stream(config(tmp_path, "ftrl"), [lines(1)], Clock())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, None], ids=["TERM", "INT", "end of input"])
def test_the_command_stops_cleanly(log: Path, number: int | None) -> None:
    name = f"stop-{number}"
    c = config(log, "ftrl", store=name)
    train_trees(c, NOW)
    file = toml(log, c, name)
    command = [sys.executable, "-m", "gbdtlr", "learn", "-c", str(file), "--json", "--publish-samples", "50"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "bufsize": 0}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        process.stdin.write("".join(f"{line}\n" for line in lines(50)).encode())
        told = b""
        while b"release.publish" not in told:
            piece = os.read(process.stderr.fileno(), 4096)
            assert piece, told
            told += piece
        # No line feed behind the last line: it counts when the input ends, and is half a line where that is stopped.
        process.stdin.write("\n".join(lines(10, 6)).encode())
        if number is None:
            process.stdin.close()
        else:
            _wait_until_read(process)
            process.send_signal(number)
        out = process.stdout.read()
    assert process.returncode == 0
    result = json.loads(out)
    assert result["status"] == "published"
    assert result["samples"] == (60 if number is None else 59)
    assert result["metrics"]["lines"] == result["samples"], "half a line was not read"
    assert live(c).entry.number == 3
    assert head_of(c).n_learned == result["samples"] + _learned_by_trees(c)


def test_what_is_in_the_pipe_when_it_is_stopped_is_learned() -> None:
    """Half a line is not, and from a file that has more than any pipe only so much."""
    source, into = os.pipe()
    stop, stopper = os.pipe()
    os.write(into, b"a\nb\n\nc\nhalf")
    os.write(stopper, b".")
    assert [line for lines in _pieces(source, stop) for line in lines] == [b"a", b"b", b"", b"c"]
    with tempfile.TemporaryFile() as file:
        file.write(b"a line\n" * 300_000)
        file.seek(0)
        taken = sum(len(lines) for lines in _pieces(file.fileno(), stop))
        assert 0 < 7 * taken <= 1 << 20
    for each in (source, into, stop, stopper):
        os.close(each)


def test_a_line_without_an_end_is_cut() -> None:
    stop, stopper = os.pipe()
    with tempfile.TemporaryFile() as file:
        file.write(b'{"a": "' + b"x" * (5 << 20) + b'"}\nnext\nlast')
        file.seek(0)
        long, *others = [line for lines in _pieces(file.fileno(), stop) for line in lines]
    assert len(long) == 1 << 20
    assert others == [b"next", b"last"]
    for each in (stop, stopper):
        os.close(each)


def test_a_stream_without_a_sample_is_an_error(log: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    c = config(log, "ftrl", store="silent")
    train_trees(c, NOW)
    monkeypatch.setattr(Config, "load", lambda _: c)
    monkeypatch.setattr("gbdtlr.cli.learn.sys", SimpleNamespace(stdin=SimpleNamespace(fileno=lambda: 0)))

    def run(*given: str) -> tuple[int, dict[str, Any], str]:
        monkeypatch.setattr("gbdtlr.cli.learn._pieces", lambda *_: [list(given)])
        code = main(["learn", "-c", "x.toml", "-q", "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out)["metrics"], err

    code, metrics, err = run("x", "", "{}")
    assert (code, metrics["lines_refused"]) == (1, 2)
    assert err.startswith("gbdtlr: error: 3 lines came, and none was a sample: a line that is not JSON")
    assert run()[::2] == (0, "")
    code, metrics, err = run("x", *lines(30))
    assert (code, metrics["lines_refused"], err) == (0, 1, "")


def test_the_example_of_the_command_has_a_config_it_works_with() -> None:
    from gbdtlr.cli.group import group

    (line,) = [each for each in (group.commands["learn"].help or "").splitlines() if "| gbdtlr learn" in each]
    words = line.split()
    assert Config.load(ROOT / words[words.index("-c") + 1]).head.method in ONLINE


def _learned_by_trees(c: Config) -> int:
    store = Store.open(c.store)
    first = Release.load(store, store.entry(1)).online()
    assert first is not None
    return first.n_learned


def _wait_until_read(process: subprocess.Popen[bytes]) -> None:
    """Until the pipe to the process is empty."""
    import array
    import fcntl
    import termios

    assert process.stdin is not None
    waiting = array.array("i", [1])
    while waiting[0]:
        fcntl.ioctl(process.stdin.fileno(), termios.FIONREAD, waiting)


def test_a_refused_stream_says_what_to_do_and_names_no_option_it_lacks(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    c = config(log, "ftrl", store="advice")
    train_trees(c, NOW)
    strict = replace(c, guard=replace(c.guard, min_samples=10**6))
    monkeypatch.setattr(Config, "load", lambda _: strict)
    monkeypatch.setattr("gbdtlr.cli.learn.sys", SimpleNamespace(stdin=SimpleNamespace(fileno=lambda: 0)))
    monkeypatch.setattr("gbdtlr.cli.learn._pieces", lambda *_: [lines(5)])
    assert main(["learn", "-c", "x.toml", "-q"]) == 4
    error = capsys.readouterr().err
    assert "allow it under [guard] and send them again" in error
    assert "--force" not in error
