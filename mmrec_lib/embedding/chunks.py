"""Long work in portions that are committed as they come, so that a killed run loses little."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

# Content ids are sha256 hashes: their first digits spread evenly.
_DIGITS = 4
_SPACE = 16**_DIGITS

Say = Callable[[str], None]


@dataclass(frozen=True)
class Work:
    """One model over the contents that it has not seen.

    Attributes:
        name: What a person reads, and metrics are named after.
        todo: Contents, with a column `content_id` (sha256, hexadecimal).
        run: Turns some of the contents into rows that are written down, and returns them.
        rows_per_second: What the model does at least, before it has been measured.
    """

    name: str
    todo: DataFrame
    run: Callable[[DataFrame], DataFrame]
    rows_per_second: float


@dataclass
class ChunkedRun:
    """Runs work in chunks and commits what is done every few minutes.

    Attributes:
        commit: Commits rows that were written down.
        commit_seconds: Time after which what is done is committed.
        say: Shows a line to a person.
        clock: Seconds, for measuring.
        counts: Rows and errors so far.
        metrics: For each piece of work `<name>/rows`, `/errors` and `/rows_per_second`.
    """

    commit: Callable[[list[DataFrame]], None]
    commit_seconds: float
    say: Say
    clock: Callable[[], float] = time.monotonic
    counts: dict[str, int] = field(default_factory=lambda: {"rows": 0, "errors": 0})
    metrics: dict[str, float] = field(default_factory=dict)
    _waiting: list[DataFrame] = field(default_factory=list)
    _last_commit: float | None = None

    def add(self, work: Work) -> None:
        """Run one piece of work; what is done stays if a later chunk fails."""
        num_rows = work.todo.count()
        if not num_rows:
            return
        started, done, errors, seconds = self.clock(), 0, 0, 1e-3
        if self._last_commit is None:
            self._last_commit = started
        for chunk in self._chunks(work, num_rows):
            made = work.run(chunk)
            row = made.agg(F.count(F.lit(1)).alias("rows"), F.count("error").alias("errors")).collect()[0]
            done, errors = done + int(row["rows"]), errors + int(row["errors"])
            self._waiting.append(made)
            seconds = max(self.clock() - started, 1e-3)
            left = max(num_rows - done, 0) * seconds / max(done, 1)
            self.say(
                f"  {work.name}: {done:,} of {num_rows:,} rows, {done / seconds:,.1f} a second, "
                f"{errors:,} errors, {left / 60:.0f} min left"
            )
            # What remains of the time bounds the next chunk, so that no more than it can be lost.
            if done < num_rows or self.clock() - self._last_commit >= self.commit_seconds / 2:
                self.commit(self.take())
                self._last_commit = self.clock()
        self.counts["rows"] += done
        self.counts["errors"] += errors
        for name, value in (("rows", done), ("errors", errors), ("rows_per_second", done / seconds)):
            self.metrics[f"{work.name}/{name}"] = float(value)

    def take(self) -> list[DataFrame]:
        """What is done and not yet committed; the caller commits it."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def _chunks(self, work: Work, num_rows: int) -> Iterator[DataFrame]:
        """Ranges of content ids, each as large as what is done until the next commit."""
        rate, start = work.rows_per_second, 0
        while start < _SPACE:
            began = self.clock()
            waiting_seconds = began - (self._last_commit or began)
            share = rate * (self.commit_seconds - waiting_seconds) / num_rows
            end = min(_SPACE, start + max(1, round(_SPACE * share)))
            chunk = work.todo
            if start:
                chunk = chunk.where(F.col("content_id") >= f"{start:0{_DIGITS}x}")
            if end < _SPACE:
                chunk = chunk.where(F.col("content_id") < f"{end:0{_DIGITS}x}")
            yield chunk
            seconds = max(self.clock() - began, 1e-3)
            rate = max(num_rows * (end - start) / _SPACE / seconds, 1e-3)
            start = end
