"""Files that keys of the config name: whatever is wrong with one, key and path are told, and nothing of its content."""

from __future__ import annotations

from pathlib import Path

import pytest

from gbdtlr.config import NotifyConfig, ServeConfig
from gbdtlr.config.secrets import read_secret
from gbdtlr.errors import ConfigError
from gbdtlr.operate.notify import notify
from gbdtlr.serving.token import Tokens, user_key_of


def by_notify(path: str) -> None:
    failed = notify(NotifyConfig(url="http://127.0.0.1:9/", secret_file=path), {"event": "error"})
    raise ConfigError(failed["url"])


READERS = {
    "[serve] token_file": Tokens,
    "[serve] user_key_file": lambda path: user_key_of(ServeConfig(user_key_file=path)),
    "[notify] secret_file": by_notify,
}


@pytest.mark.parametrize("key", READERS)
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot read {path}: No such file or directory; name a file that is there and that this user may read"),
        ("folder", "cannot read {path}: Is a directory; name a file"),
        (b" \n", "{path} is empty; put a long random text into it"),
        (b"hunter2 " * 200_000, "{path} has more than 1048576 bytes, which no secret needs; name another file"),
    ],
    ids=["missing", "folder", "empty", "long"],
)
def test_key_and_path_are_told(tmp_path: Path, key: str, content: bytes | str | None, told: str) -> None:
    path = tmp_path / "secret"
    if isinstance(content, str):
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        READERS[key](str(path))
    assert str(caught.value).startswith(f"{key}: {told.format(path=path)}")
    assert "hunter2" not in str(caught.value)


def test_what_no_path_can_be_is_told_as_well() -> None:
    with pytest.raises(ConfigError, match=r"^\[serve\] token_file: cannot read .*: embedded null byte"):
        read_secret("[serve] token_file", "a\0b")


def test_white_space_around_a_secret_is_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\n open sesame \n\n")
    assert read_secret("[notify] secret_file", str(tmp_path / "secret")) == b"open sesame"
