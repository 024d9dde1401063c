"""Tables of a TOML file as dataclasses, and back; every mistake names its key and the remedy."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from datetime import timedelta
from typing import Any

from gbdtlr.config.checks import where
from gbdtlr.errors import ConfigError
from gbdtlr.times import format_duration, parse_duration

_AT_ONCE = "[samples] label_delay"
"""The one duration that may be zero: of labels that are known with their rows, as an estimator's are."""
_TYPES: dict[type, str] = {
    str: "text in quotes",
    int: "a whole number",
    float: "a number",
    dict: "a table",
    bool: "true or false",
}


def build(cls: type, table: dict[str, Any], section: str) -> Any:
    """The dataclass ``cls`` made of a table; raise ConfigError if a key is unknown, missing or of the wrong type."""
    hints = typing.get_type_hints(cls)
    fields = own_fields(cls)
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(fields)}"
            raise ConfigError(f"unknown key {where(section, key)}; {hint}")
    values = {}
    for name, spec in fields.items():
        if name in table:
            values[name] = _convert(hints[name], table[name], section, name)
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            missing = f"[{name}]" if dataclasses.is_dataclass(hints[name]) else where(section, name)
            raise ConfigError(f"{missing} is missing; it has no default")
    return cls(**values)


def plain(value: Any) -> Any:
    """A dataclass of settings in JSON's types, without what is None."""
    if dataclasses.is_dataclass(value):
        pairs = ((name, getattr(value, name)) for name in own_fields(value))
        return {name: plain(item) for name, item in pairs if item is not None}
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def own_fields(cls: Any) -> dict[str, dataclasses.Field[Any]]:
    """Fields that stand in the table itself, and not in one of their own."""
    return {f.name: f for f in dataclasses.fields(cls) if "table" not in f.metadata}


def _convert(hint: Any, value: Any, section: str, key: str) -> Any:
    """The value of a key as its field's type."""
    if isinstance(hint, types.UnionType):
        tables = [arg for arg in typing.get_args(hint) if typing.get_origin(arg)]
        if isinstance(value, dict) and tables:
            item = typing.get_args(tables[0])[1]
            inner = where(section, key).strip("[]").replace("] ", ".")
            return {name: _convert(item, each, inner, name) for name, each in value.items()}
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if dataclasses.is_dataclass(hint):
        header = f"{section}.{key}" if section else key
        if not isinstance(value, dict):
            raise ConfigError(f"{where(section, key)} must be a table: write [{header}] on a line of its own")
        return build(typing.cast(type, hint), value, header)
    if typing.get_origin(hint) is tuple:
        items = value if isinstance(value, list) else [value]
        return tuple(_convert(typing.get_args(hint)[0], item, section, key) for item in items)
    if hint is timedelta:
        return _duration(value, where(section, key))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = typing.get_origin(hint) or hint
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ConfigError(f"{where(section, key)} must be {_TYPES.get(expected, expected.__name__)}, not {value!r}")
    return value


def _duration(value: Any, key: str) -> timedelta:
    if key == _AT_ONCE and value == format_duration(timedelta()):
        return timedelta()
    if not isinstance(value, str):
        raise ConfigError(f'{key} must be a duration in quotes, such as "6h", not {value!r}')
    try:
        return parse_duration(value)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None
