"""CSV and TSV → rows. What cannot be understood is refused line by line, and reading goes on after it.

A quoted cell may run over several lines. When such a cell never ends, or ends where no cell can end, the quote that
opened it is broken; the lines after it are read on their own if most of them are whole records.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from mmrec_lib.ingest.landing.raw_row import HEADER_BYTES, RawRow

Line = tuple[int, bytes]

_SEPARATORS = (",", ";", "\t", "|")
# Bytes that may be looked at in vain after quotes that turn out to be broken, a byte of the file; without a bound a
# file of broken quotes would be read again from each of its lines.
_VAIN_SHARE, _VAIN_LEAST = 4, 4 << 20
_SEP_LINE = re.compile(r"sep=(.)\r?")
_GRAPH_COLUMNS = ("head", "relation", "tail")


def iter_csv(lines: Iterator[Line], limit: int) -> Iterator[RawRow]:
    """Rows of a CSV file; the separator (comma, semicolon, tab or bar) is taken from the header.

    Args:
        lines: Numbered lines without their line feed.
        limit: Longest record in bytes.
    """
    feed = _Feed(lines)
    first = feed.next_filled()
    if first is None:
        return
    separator = None
    if (said := _SEP_LINE.fullmatch(_text(first[1]))) is not None:
        separator, first = said[1], feed.next_filled()
        if first is None:
            return
    feed.push_back([first])
    record = _read_record(feed, separator or _separator_of(_text(first[1])), None, limit)
    header = _Header.of(record, separator or _separator_of(_text(first[1])))
    if header.problem is not None:
        yield RawRow(record.line, record.raw, None, header.problem, "unreadable_file")
        yield from _lost(record.lines[1:], "the header of the file cannot be read")
        yield from _lost_rest(feed)
        return
    while (line := feed.next_filled()) is not None:
        feed.push_back([line])
        yield from header.rows(_read_record(feed, header.separator, header, limit), limit)


def iter_tsv(lines: Iterator[Line], path: str, limit: int, fields: Collection[str] = ()) -> Iterator[RawRow]:
    """Rows of a graph file: cells between tabs, quotes are characters like others.

    Args:
        lines: Numbered lines without their line feed.
        path: Its path, for the message.
        limit: Longest record in bytes.
        fields: Columns that its folders bring.
    """
    feed = _Feed(lines)
    first = feed.next_filled()
    if first is None:
        return
    record = _Record([first], [_unended(cell) for cell in _text(first[1]).split("\t")])
    header = _Header.of(record, "\t")
    if header.problem is not None or not set(_GRAPH_COLUMNS) <= {*header.names, *fields}:
        detail = f"{path}: a header line with {', '.join(_GRAPH_COLUMNS)}, separated by tabs, is needed"
        yield RawRow(first[0], first[1], None, detail, "unreadable_file")
        yield from _lost_rest(feed)
        return
    while (line := feed.next_filled()) is not None:
        cells = _unended(_text(line[1])).split("\t")
        yield from header.rows(_Record([line], cells), limit)


def csv_row(raw: bytes, max_record_bytes: int) -> RawRow:
    """A CSV row that was kept with its header, as `iter_csv` gave it."""
    lines = ((number, line) for number, line in enumerate(raw.split(b"\n"), start=1))
    return next(iter_csv(lines, max_record_bytes), RawRow(1, raw, None, "the CSV row is empty", "not_json"))


class _Feed:
    """Lines that can be given back."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._back: deque[Line] = deque()
        self._may_look = _VAIN_LEAST

    def next(self) -> Line | None:
        if self._back:
            return self._back.popleft()
        line = next(self._lines, None)
        if line is not None:
            self._may_look += _VAIN_SHARE * (len(line[1]) + 1)
        return line

    def reach(self, limit: int) -> int:
        """Bytes that a record may have: `limit`, or less where too much was looked at in vain already."""
        return max(0, min(limit, self._may_look))

    def next_filled(self) -> Line | None:
        while (line := self.next()) is not None:
            if line[1].strip():
                return line
        return None

    def push_back(self, lines: Sequence[Line]) -> None:
        self._back.extendleft(reversed(lines))

    def reject(self, lines: Sequence[Line]) -> None:
        """Give back lines that were looked at in vain."""
        self._may_look -= sum(len(line) + 1 for _, line in lines)
        self.push_back(lines)


@dataclass
class _Record:
    """The lines of a record and its cells, or what is wrong with it."""

    lines: list[Line]
    cells: list[str]
    problem: str | None = None
    reason: str = "not_json"

    @property
    def line(self) -> int:
        return self.lines[0][0]

    @property
    def raw(self) -> bytes:
        return _unended_bytes(b"\n".join(line for _, line in self.lines))


class _Header:
    """The columns of a CSV file; those with a blank name are dropped where they are blank."""

    def __init__(self, names: list[str], raw: bytes, separator: str, problem: str | None) -> None:
        self.names = names
        self.raw = raw
        self.separator = separator
        self.problem = problem

    @classmethod
    def of(cls, record: _Record, separator: str) -> _Header:
        names = [name.strip() for name in record.cells]
        named = [name for name in names if name]
        problem = record.problem
        if problem is None and len(set(named)) != len(named):
            problem = "a column stands twice"
        if problem is None and not named:
            problem = "no column has a name"
        if problem is not None:
            problem = f"the header line cannot be read: {problem}"
        return cls(names, record.raw, separator, problem)

    def fits(self, cells: Sequence[str]) -> bool:
        """Tell whether a row has a cell for each named column, and no content beyond the columns."""
        size = len(self.names)
        return not any(self.names[len(cells) :]) and not any(cell.strip() for cell in cells[size:])

    def rows(self, record: _Record, limit: int) -> Iterator[RawRow]:
        """A record as a row, or each of its lines as a refused one."""
        problem = record.problem
        if problem is None and not self.fits(record.cells):
            problem = f"a row of {len(self.names)} fields as in the header is needed, got {len(record.cells)}"
        if problem is None and len(record.raw) > limit:
            problem, record.reason = too_long(limit), "impossible_value"
        before = self.raw + b"\n" if len(self.raw) <= HEADER_BYTES else b""
        if problem is None:
            yield RawRow(record.line, before + record.raw, self._values(record.cells))
            return
        yield RawRow(record.line, before + _unended_bytes(record.lines[0][1]), None, problem, record.reason)
        yield from _lost(record.lines[1:], f"it belongs to the record of line {record.line}: {problem}", before)

    def _values(self, cells: Sequence[str]) -> dict[str, str]:
        values = {}
        for position, (name, cell) in enumerate(zip(self.names, cells, strict=False), start=1):
            if name:
                values[name] = cell
            elif cell.strip():
                values[f"column_{position}"] = cell
        return values


def too_long(limit: int) -> str:
    """The sentence about a record that is too long."""
    return f"a record of at most {limit} bytes is needed (ingest.max_record_bytes), this one is longer"


def _read_record(feed: _Feed, separator: str, header: _Header | None, limit: int) -> _Record:
    """The next record; lines that turn out not to belong to it are given back."""
    first = feed.next()
    assert first is not None
    lines = [first]
    if len(first[1]) > limit + 1:
        return _Record(lines, [], too_long(limit), "impossible_value")
    if b'"' not in first[1]:
        return _Record(lines, _unended(_text(first[1])).split(separator))
    cutter = _Cutter(separator)
    is_whole = cutter.feed(_text(first[1]))
    num_bytes, reach = len(first[1]), feed.reach(limit)
    while not is_whole and cutter.problem is None:
        line = feed.next()
        if line is None:
            cutter.problem = "its quoted field never ends"
            break
        lines.append(line)
        num_bytes += len(line[1]) + 1
        if num_bytes > reach:
            cause = "ingest.max_record_bytes" if reach == limit else "there are too many broken quotes before it"
            cutter.problem = f"its quoted field does not end within {reach} bytes ({cause})"
            break
        is_whole = cutter.feed(_text(line[1]))
    if len(lines) > 1 and cutter.has_stray_quote:
        cutter.problem = cutter.problem or "a quoted field ends in the middle of another"
    if cutter.problem is not None:
        if _is_proved_broken(lines[1:], separator, header):
            feed.reject(lines[1:])
            lines = lines[:1]
        return _Record(lines, [], f"a CSV row is needed, but {cutter.problem}")
    if header is not None and len(lines) > 1:
        return _checked(_Record(lines, cutter.cells), feed, header)
    return _Record(lines, cutter.cells)


def _checked(record: _Record, feed: _Feed, header: _Header) -> _Record:
    """A record of several lines that is well-formed; it may still have swallowed others."""
    inner = record.lines[1:]
    swallowed = [_is_record(line, header.separator, header) for line in inner]
    if not header.fits(record.cells):
        if all(swallowed):
            feed.reject(inner)
            return _Record(record.lines[:1], [], "a CSV row is needed, but its quoted field never ends")
        return record
    if len(header.names) > 2 and len(inner) > 2 and all(swallowed[:-1]):
        # Either reading would be a guess: neither lose the lines nor take the words of a user for records.
        problem = f"its quoted field runs over {len(inner)} lines that look like records; close the quote"
        return _Record(record.lines, [], problem)
    return record


def _is_proved_broken(lines: Sequence[Line], separator: str, header: _Header | None) -> bool:
    """Tell whether most of the lines that a quoted field would swallow are records of their own."""
    if header is None or not lines:
        return False
    num_records = sum(_is_record(line, separator, header) for line in lines)
    return 2 * num_records >= sum(bool(line.strip()) for _, line in lines)


def _is_record(line: Line, separator: str, header: _Header) -> bool:
    cutter = _Cutter(separator)
    is_whole = cutter.feed(_text(line[1]))
    return is_whole and cutter.problem is None and not cutter.has_stray_quote and header.fits(cutter.cells)


class _Cutter:
    """Cuts the lines of one record into cells.

    Attributes:
        cells: The cells so far.
        problem: Why the lines are no record.
        has_stray_quote: Whether a cell without quotes around it holds one.
    """

    def __init__(self, separator: str) -> None:
        self._separator = separator
        self._open: list[str] | None = None
        self.cells: list[str] = []
        self.problem: str | None = None
        self.has_stray_quote = False

    def feed(self, text: str) -> bool:
        """Cut one more line; True when the record ends with it."""
        position = 0
        if self._open is not None:
            self._open.append("\n")
            position = self._quoted(text, 0)
            if position < 0 or position >= len(text):
                return position >= 0
            position += 1
        while True:
            if text.startswith('"', position):
                self._open = []
                position = self._quoted(text, position + 1)
                if position < 0 or position >= len(text):
                    return position >= 0
            else:
                end = text.find(self._separator, position)
                cell = text[position:end] if end >= 0 else _unended(text[position:])
                self.has_stray_quote |= '"' in cell
                self.cells.append(cell)
                if end < 0:
                    return True
                position = end
            position += 1

    def _quoted(self, text: str, position: int) -> int:
        """Read on in a quoted cell; where the text goes on after it, -1 when it does not end here."""
        assert self._open is not None
        while True:
            end = text.find('"', position)
            if end < 0:
                self._open.append(text[position:])
                return -1
            if text.startswith('"', end + 1):
                self._open.append(text[position : end + 1])
                position = end + 2
                continue
            self.cells.append("".join([*self._open, text[position:end]]))
            self._open = None
            rest = text[end + 1 :]
            if rest in ("", "\r"):
                return len(text)
            if not rest.startswith(self._separator):
                self.problem = f"after a quoted field {self._separator!r} is expected, got {rest[:1]!r}"
                return -1
            return end + 1


def _separator_of(header: str) -> str:
    """The separator that cuts a header into the most columns; a comma where several do."""
    counts = {}
    for separator in _SEPARATORS:
        cutter = _Cutter(separator)
        counts[separator] = len(cutter.cells) if cutter.feed(header) and cutter.problem is None else 0
    return max(_SEPARATORS, key=lambda separator: counts[separator])


def _lost(lines: Sequence[Line], detail: str, before: bytes = b"") -> Iterator[RawRow]:
    for number, line in lines:
        if line.strip():
            yield RawRow(number, before + _unended_bytes(line), None, detail, "not_json")


def _lost_rest(feed: _Feed) -> Iterator[RawRow]:
    while (line := feed.next_filled()) is not None:
        yield from _lost([line], "the header of the file cannot be read")


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


def _unended(text: str) -> str:
    return text.removesuffix("\r")


def _unended_bytes(line: bytes) -> bytes:
    return line.removesuffix(b"\r")
