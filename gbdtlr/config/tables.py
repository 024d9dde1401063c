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
_MAY_HAVE_COMMAS = ("path", "command")
"""Lists that may be written as one text that has a comma in it."""
_NOTHING = ("", "all", "auto", "default", "false", "found", "never", "nil", "no", "none", "null", "off")
"""What people write for a key that has no value, some as the docs call the default."""
_TYPES: dict[type, str] = {
    str: "text in quotes",
    int: "a whole number",
    float: "a number",
    dict: "a table",
    bool: "true or false",
}


def build(cls: type, table: dict[str, Any], section: str, whole: type | None = None) -> Any:
    """The dataclass ``cls`` made of a table.

    Parameters
    ----------
    section : the table's name, empty for that of the whole file
    whole : the dataclass of the whole file, whose other tables a key may have been meant for

    Raises
    ------
    ConfigError
        A key is unknown, missing or of the wrong type.
    """
    hints = typing.get_type_hints(cls)
    fields = own_fields(cls)
    whole = whole if section else cls
    for key, value in table.items():
        if key not in fields:
            raise ConfigError(_unknown(key, value, section, {name: hints[name] for name in fields}, whole))
    values = {}
    for name, spec in fields.items():
        if name in table:
            values[name] = _convert(hints[name], table[name], section, name, whole)
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            missing = f"[{name}]" if dataclasses.is_dataclass(hints[name]) else where(section, name)
            raise ConfigError(f"{missing} is missing; it has no default")
    return cls(**values)


def _unknown(key: str, value: Any, section: str, hints: dict[str, Any], whole: type | None) -> str:
    """What there is to say of a key that a table does not have."""
    if isinstance(value, dict) and not section:
        tables = [name for name, hint in hints.items() if _table_of(hint) is not None]
        near = difflib.get_close_matches(key.lower(), tables, n=1)
        names = [f"[{name}]" for name in tables]
        return f"unknown table [{key}]; " + (f"did you mean [{near[0]}]?" if near else f"tables are {', '.join(names)}")
    places = {} if whole is None else _keys_of(whole, "")
    if homes := [where(name, key) if name else f"{key}, above all tables" for name in places if key in places[name]]:
        return f"unknown key {where(section, key)}; it belongs elsewhere: {' or '.join(homes)}"
    near = difflib.get_close_matches(key, hints, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(hints)}"
    return f"unknown key {where(section, key)}; {hint}"


def _keys_of(cls: type, section: str) -> dict[str, list[str]]:
    """Keys of the table ``cls``, of the name ``section``, and of those within it, by the names of the tables."""
    hints = typing.get_type_hints(cls)
    tables = {name: _table_of(hints[name]) for name in own_fields(cls)}
    found = {section: [name for name, table in tables.items() if table is None]}
    for name, table in tables.items():
        if table is not None:
            found |= _keys_of(table, f"{section}.{name}" if section else name)
    return found


def _table_of(hint: Any) -> type | None:
    """The dataclass of a table, which may be left out; None for other types."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((option for option in options if isinstance(option, type) and dataclasses.is_dataclass(option)), None)


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


def _convert(hint: Any, value: Any, section: str, key: str, whole: type | None) -> Any:
    """The value of a key as its field's type."""
    if isinstance(hint, types.UnionType):
        tables = [arg for arg in typing.get_args(hint) if typing.get_origin(arg)]
        if isinstance(value, dict) and tables:
            item = typing.get_args(tables[0])[1]
            inner = where(section, key).strip("[]").replace("] ", ".")
            return {name: _convert(item, each, inner, name, whole) for name, each in value.items()}
        options = typing.get_args(hint)
        if type(None) in options and str not in options and isinstance(value, str) and value.lower() in _NOTHING:
            raise ConfigError(f"{where(section, key)} cannot be {value!r}; leave the key out, which means that")
        hint = next(arg for arg in options if arg is not type(None))
    if dataclasses.is_dataclass(hint):
        header = f"{section}.{key}" if section else key
        if not isinstance(value, dict):
            raise ConfigError(f"{where(section, key)} must be a table: write [{header}] on a line of its own")
        return build(typing.cast(type, hint), value, header, whole)
    if typing.get_origin(hint) is tuple:
        if isinstance(value, str) and "," in value and key not in _MAY_HAVE_COMMAS:
            items = ", ".join(f'"{item.strip()}"' for item in value.split(",") if item.strip())
            raise ConfigError(f"{where(section, key)} is one text with commas; write a list: [{items}]")
        values = value if isinstance(value, list) else [value]
        return tuple(_convert(typing.get_args(hint)[0], item, section, key, whole) for item in values)
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
