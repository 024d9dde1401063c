"""JSON lines: the objects of a file, one per line, block by block, and what is wrong with a line that is none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gbdtlr.errors import SamplesError
from gbdtlr.samples.formats.file import File
from gbdtlr.samples.formats.texts import BOM, LONGEST, check_text, is_utf8, too_long

_BLOCK = 8 << 20
_DEEP = 100
_PIECES = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_CONSTANTS = re.compile(r'"(?:[^"\\]|\\.)*"|NaN|-?Infinity', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_decode = json.JSONDecoder().raw_decode


@dataclass(frozen=True)
class Block:
    """Whole lines of a file, as they stand.

    Attributes
    ----------
    first : number of the first of them, from 1
    is_last : whether this is the last line, and has no end
    """

    file: File
    data: bytes
    first: int
    is_last: bool = False

    def n_lines(self) -> int:
        """How many lines are not blank."""
        return sum(1 for line in self.data.split(b"\n") if line.strip())

    def lines(self) -> Iterator[tuple[int, str]]:
        """Number and text of every line that is not blank; bytes that are not UTF-8 as halves of characters."""
        for i, line in enumerate(self.data.split(b"\n")):
            stripped = line.strip()
            if stripped:
                yield self.first + i, stripped.decode("utf-8", "surrogateescape")

    def objects(self, *, whole: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and object of every line that is not blank.

        Parameters
        ----------
        whole : refuse values that are nested deeper than Python follows; else they lose what is inside

        Raises
        ------
        SamplesError
            A line that is not one JSON object.
        """
        for number, line in self.lines():
            yield number, self.object_in(number, line, whole)

    def texts(self) -> list[str]:
        """Every line that is not blank, as it stands, but with null for what JSON has no number for.

        The lines are known to be objects. Raises SamplesError for a text that is not UTF-8.
        """
        try:
            lines = [line.strip() for line in self.data.decode().split("\n")]
        except UnicodeDecodeError:
            raise self._not_utf8() from None
        lines = [line for line in lines if line]
        if any(line[0] != "{" or line[-1] != "}" for line in lines):
            *_, _ = self.objects()  # tells which is none
        if b"NaN" in self.data or b"Infinity" in self.data:
            lines = [_finite(line) if "NaN" in line or "Infinity" in line else line for line in lines]
        return lines

    def mentions(self, name: str) -> bool:
        """Whether the lines have the name anywhere, as keys are written."""
        return any(json.dumps(name, ensure_ascii=is_ascii).encode() in self.data for is_ascii in (True, False))

    def _not_utf8(self) -> SamplesError:
        for number, row in self.objects():
            for name, value in row.items():
                check_utf8(self.file, number, name, value)
                check_utf8(self.file, number, name, json.dumps(value, ensure_ascii=False))
        return SamplesError(f"{self.file.path}: a name is not UTF-8; mend it")

    def object_in(self, number: int, line: str, whole: bool = False) -> dict[str, Any]:
        """The object of a line; raises as :meth:`objects`."""
        try:
            found = _parsed(line, whole)
        except RecursionError:
            where = f"{self.file.path}: line {number}"
            raise SamplesError(f"{where} is nested too deeply for a column; write .jsonl, which keeps lines") from None
        except json.JSONDecodeError as error:
            raise self._fault(number, line, error) from None
        if not isinstance(found, dict):
            raise SamplesError(f"{self.file.path}: line {number} is {_kind(found)}, expected a JSON object")
        return found

    def _fault(self, number: int, line: str, error: json.JSONDecodeError) -> SamplesError:
        where = f"{self.file.path}: line {number}"
        reason = f"{error.msg[0].lower()}{error.msg[1:].removesuffix(' at')} at character {error.pos + 1}"
        if self.is_last:
            return SamplesError(f"{where}, the last one, is cut off or not JSON: {reason}; complete or remove it")
        if error.pos >= len(line):
            return SamplesError(
                f"{where} ends within its object, expected one whole JSON object per line; jq -c . writes them so"
            )
        return SamplesError(f"{where} is not JSON: {reason}; mend or remove it")


def blocks(file: File, *, skip_torn: bool = False) -> Iterator[Block]:
    """The file's bytes in pieces of a few megabytes that end with a line.

    Parameters
    ----------
    skip_torn : leave alone an object without an end in the last line, where somebody may be appending to the file

    Raises
    ------
    SamplesError
        It is not one JSON object per line.
    """
    rest, line, is_first = b"", 1, True
    with file.stream() as source:
        while piece := source.read(_BLOCK):
            if is_first:
                piece, is_first = _begun(file, piece), False
            head, newline, tail = piece.rpartition(b"\n")
            if newline:
                data = rest + head + newline
                if data.strip():
                    yield Block(file, data, line)
                line += data.count(b"\n")
                rest = tail
            else:
                rest += piece
            if len(rest) > LONGEST:
                raise too_long(file, line)
    if rest.strip() and not (skip_torn and file.may_grow and _is_torn(rest)):
        yield Block(file, rest, line, is_last=True)


def check_utf8(file: File, number: int, name: str, value: Any) -> None:
    """Nothing, if a value of an object is no text or one that can be written as UTF-8.

    Raises
    ------
    SamplesError
        It has bytes that are not UTF-8, or half a character; the message names file, line and column.
    """
    if isinstance(value, str) and not is_utf8(value):
        shown = value.encode("utf-8", "surrogateescape" if _is_bytes(value) else "surrogatepass")
        raise SamplesError(f"{file.path}: line {number}, column {name}: {shown!r:.60} is not UTF-8; mend it")


def _is_bytes(value: str) -> bool:
    return all("\udc80" <= half <= "\udcff" for half in _SURROGATE.findall(value))


def _begun(file: File, piece: bytes) -> bytes:
    """The first piece without a byte order mark."""
    check_text(file, piece)
    piece = piece.removeprefix(BOM)
    begin = piece.lstrip()[:1]
    if begin not in (b"{", b""):
        what = "is a JSON array" if begin == b"[" else "does not begin with {"
        remedy = "; jq -c '.[]' writes them so" if begin == b"[" else ""
        raise SamplesError(f"{file.path} {what}, expected one JSON object per line{remedy}")
    return piece


def _is_torn(rest: bytes) -> bool:
    try:
        json.loads(rest.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return True
    return False


def _parsed(line: str, whole: bool) -> Any:
    try:
        found, end = _decode(line)
    except json.JSONDecodeError:
        raise
    except (RecursionError, ValueError):  # nested deeply, or a number of thousands of digits
        return json.loads(line if whole else _shallow(line), parse_int=_whole)
    if end < len(line):
        raise json.JSONDecodeError("more than one value", line, end)
    return found


def _shallow(line: str) -> str:
    """The line without what is nested deeper than anybody looks, which Python would not parse."""
    kept, depth, at = [], 0, 0
    for match in _PIECES.finditer(line):
        bracket = match[0]
        if bracket in "[{":
            depth += 1
            if depth == _DEEP:
                kept.append(line[at : match.end()])
        elif bracket in "]}":
            if depth == _DEEP:
                at = match.start()
            depth -= 1
    return "".join([*kept, line[at:]])


def _whole(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _finite(line: str) -> str:
    """The line with null for NaN and infinities, which Python writes though JSON has no words for them."""
    return _CONSTANTS.sub(lambda found: found[0] if found[0][0] == '"' else "null", line)


def _kind(value: Any) -> str:
    names = {list: "a JSON array", str: "a text", bool: "a truth value", int: "a number", float: "a number"}
    return names.get(type(value), "null")
