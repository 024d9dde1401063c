"""Forced: the files by which LightGBM is told splits or bins; one that it cannot read, it passes over in silence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gbdtlr.errors import ConfigError

FORCED = {"forcedsplits_filename": dict, "forcedbins_filename": list}
"""Parameters that name such a file, and what is in it."""
_WORDS = {dict: "one object, of feature and threshold", list: "a list of objects, of feature and bin_upper_bound"}


def check_forced(given: Mapping[str, Any], named: Mapping[str, str]) -> None:
    """Nothing, if LightGBM can read the files that some of its parameters name.

    Parameters
    ----------
    given : the parameters, by the names that the config has for them
    named : these names, by LightGBM's own

    Raises
    ------
    ConfigError
        A file that is not there, or is not what LightGBM reads.
    """
    for parameter, kind in FORCED.items():
        name = named.get(parameter, parameter)
        path = given.get(name)
        if not path:
            continue
        try:
            found = json.loads(Path(str(path)).read_bytes())
        except OSError as error:
            told = f"[trees.params] {name}: cannot read {path}: {error.strerror}"
            raise ConfigError(f"{told}; name a file that is there, or leave it out") from None
        except ValueError as error:
            raise ConfigError(f"[trees.params] {name}: {path} is no JSON: {error}; write {_WORDS[kind]}") from None
        if not isinstance(found, kind):
            raise ConfigError(f"[trees.params] {name}: {path} holds {type(found).__name__}; write {_WORDS[kind]}")
