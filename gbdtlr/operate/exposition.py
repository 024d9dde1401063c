"""Exposition: gauges in the text format of Prometheus, as its node exporter's textfile collector takes them too."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_SAMPLE = re.compile(r"(\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")


@dataclass
class Gauge:
    """One gauge: its samples, each with its labels.

    Attributes
    ----------
    name, about : as Prometheus tells them
    samples : labels and value of each
    """

    name: str
    about: str
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)

    def add(self, value: float | None, **labels: str) -> None:
        """One sample; none where there is no number."""
        if value is not None and math.isfinite(value):
            self.samples.append((labels, float(value)))

    def lines(self, labels: Mapping[str, str]) -> Iterator[str]:
        """Lines of the gauge, ``labels`` in front of those of each sample; none without a sample."""
        if not self.samples:
            return
        yield f"# HELP {self.name} {self.about}"
        yield f"# TYPE {self.name} gauge"
        for own, value in self.samples:
            told = ",".join(f'{name}="{text.translate(_ESCAPED)}"' for name, text in {**labels, **own}.items())
            yield f"{self.name}{{{told}}} {value:.16g}"


def text(gauges: list[Gauge], **labels: str) -> str:
    """The gauges, each sample under these labels."""
    return "".join(f"{line}\n" for gauge in gauges for line in gauge.lines(labels))


def samples(exposed: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
    """Labels and values of a gauge in a text that :func:`text` made; nothing of what is no such text."""
    for line in exposed.split("\n"):
        found = _SAMPLE.fullmatch(line)
        if found is None or found[1] != name:
            continue
        try:
            labels = {label: _ESCAPE.sub(_plain, told) for label, told in _LABEL.findall(found[2])}
            yield labels, float(found[3])
        except ValueError:
            continue


def _plain(escape: re.Match[str]) -> str:
    return "\n" if escape[1] == "n" else escape[1]


def guards_of(prefix: str, guards: Mapping[str, Mapping[str, float]], **labels: str) -> list[Gauge]:
    """What guards measured beside their bounds, as a release or a job's result tells it."""
    value = Gauge(f"{prefix}_guard_value", "What a guard measured last.")
    bound = Gauge(f"{prefix}_guard_bound", "What it allows there, chance included; a side that is open is left out.")
    objects = Gauge(f"{prefix}_guard_objects", "1 where it objected.")
    for name, measured in guards.items():
        value.add(measured.get("value"), **labels, guard=name)
        for side in ("low", "high"):
            bound.add(measured.get(side), **labels, guard=name, side=side)
        objects.add(float(measured.get("objects", 0)), **labels, guard=name)
    return [value, bound, objects]
