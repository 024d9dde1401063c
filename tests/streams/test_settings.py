"""Settings of the client come from a file, are handed on, and are told to nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from gbdtlr.errors import ConfigError, StreamError
from gbdtlr.streams.asked import Asked, parse_partitions
from gbdtlr.streams.kafka import Cluster
from gbdtlr.streams.settings import OWN, read_settings, without_secrets
from tests.streams.kafka_kit import MockCluster


def test_properties_are_read(tmp_path: Path) -> None:
    file = tmp_path / "kafka.properties"
    file.write_text("# of the broker\n\nsecurity.protocol=PLAINTEXT\n sasl.password = a=b c \nclient.id=x\n")
    assert read_settings(str(file)) == {"security.protocol": "PLAINTEXT", "sasl.password": "a=b c", "client.id": "x"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sasl.password", "line 1 of .* is not name=value"),
        ("=hidden1", "line 1 of .* is not name=value"),
        ("a=hidden1\na=hidden2", "line 2 of .* sets a a second time"),
        *((f"x=1\n{name}=hidden1", f"line 2 of .* sets {name}, which gbdtlr sets itself") for name in OWN),
    ],
)
def test_lines_that_are_none_are_told_without_their_values(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "kafka.properties"
    file.write_text(text)
    with pytest.raises(ConfigError, match=told) as caught:
        read_settings(str(file))
    assert "hidden" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a=\xff")
    with pytest.raises(ConfigError, match="it is no UTF-8"):
        read_settings(str(tmp_path / "latin"))
    with pytest.raises(ConfigError, match="No such file"):
        read_settings(str(tmp_path / "none"))


def test_secrets_are_blotted_out() -> None:
    settings = {
        "sasl.password": "swordfish",
        "ssl.key.password": "tuna fish",
        "sasl.oauthbearer.client.secret": "herring",
        "ssl.key.pem": "-----BEGIN",
        "sasl.oauthbearer.assertion.private.key.passphrase": "halibut",
        "sasl.username": "nobody",
    }
    text = "nobody said swordfish, tuna fish, herring, halibut and -----BEGIN"
    assert without_secrets(text, settings) == "nobody said ***, ***, ***, *** and ***"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"no.such.property": "1"}, 'No such configuration property: "no.such.property"'),
        ({"security.protocol": "swordfish", "sasl.password": "swordfish"}, r'Invalid value "\*\*\*"'),
        ({"sasl.jaas.config": "x"}, "JAAS"),
    ],
)
def test_settings_that_the_client_does_not_take_are_told(settings: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        Cluster("127.0.0.1:1", settings, 1.0)
    assert "swordfish" not in str(caught.value)


def test_settings_reach_the_client_and_what_gbdtlr_needs_stands(cluster: MockCluster) -> None:
    opened = Cluster(cluster.servers, {"client.id": "me", "enable.auto.commit": "true"}, 5.0)
    properties = opened._properties()
    assert (properties["client.id"], properties["enable.auto.commit"]) == ("me", False)
    opened.close()


def test_errors_of_the_client_are_told_without_secrets(cluster: MockCluster) -> None:
    opened = Cluster(cluster.servers, {"sasl.password": "swordfish"}, 5.0)
    error = KafkaException(KafkaError(KafkaError._AUTHENTICATION, "swordfish is wrong"))
    assert opened._told(error) == "*** is wrong"
    opened.close()


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "confluent_kafka", None)
    with pytest.raises(ConfigError, match=r"pip install 'gbdtlr\[kafka\]'"):
        Cluster("127.0.0.1:1", {}, 1.0)


def test_partitions_are_lists_of_ranges() -> None:
    assert parse_partitions("0-3, 7") == {0, 1, 2, 3, 7}
    for wrong in ("", "a", "3-1", "-1", "1,,2", "1-", "0-999999999", "٣"):
        with pytest.raises(ConfigError, match="is no list of partitions"):
            parse_partitions(wrong)


class _Between:
    """A consumer to which something happens as it is asked."""

    def __init__(self, consumer: Any, **answers: Any) -> None:
        self._consumer, self._answers = consumer, answers

    def __getattr__(self, name: str) -> Any:
        return self._answers.get(name) or getattr(self._consumer, name)


def test_what_is_sent_while_times_are_asked_for_is_not_passed_over(cluster: MockCluster) -> None:
    cluster.send("meanwhile", [b"1", b"2"])
    opened = Cluster(cluster.servers, {}, 5.0)

    def none_yet(asked: Any, timeout: float) -> Any:  # noqa: ARG001 - the client's
        cluster.send("meanwhile", [b"3"])
        return [TopicPartition(each.topic, each.partition, -1) for each in asked]

    opened._consumer = _Between(opened._consumer, offsets_for_times=none_yet)
    assert opened.sent_from("meanwhile", [0], 10**15) == {0: 2}
    opened.close()


def test_errors_that_may_pass_do_not_pass_for_answers(cluster: MockCluster) -> None:
    cluster.send("silent", [b"1"])
    opened = Cluster(cluster.servers, {}, 5.0)

    class Down:
        def error(self) -> KafkaError:
            return KafkaError(KafkaError._ALL_BROKERS_DOWN)

        def topic(self) -> None:
            return None

    def nobody(*_: Any, timeout: float) -> Any:  # noqa: ARG001 - the client's
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    answers = {"poll": lambda _: Down(), "consume": lambda *_: [], "list_topics": nobody}
    opened._consumer = _Between(opened._consumer, **answers)
    opened._heard_at -= 6.0
    assert opened.read(0.0) == []
    with pytest.raises(StreamError, match=r"no broker of .* answered within 5 s"):
        opened.look("silent")
    opened.close()


def test_brokers_are_hosts_and_ports() -> None:
    for right in ("broker-1:9092", "a.b_c:1, 10.0.0.1:65535", "[::1]:9092", "SASL_SSL://h:9"):
        assert Asked(right, "t").servers == right
    for wrong in ("", "h", "h:", "h:0", "h:65536", "logs/x.jsonl", "h:1,", "h:1 h:2", "s3://bucket/x", "h:٣"):
        with pytest.raises(ConfigError, match="is no broker; write HOST:PORT, such as broker-1:9092"):
            Asked(wrong, "t")
