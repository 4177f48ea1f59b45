"""Long work in portions that are committed as they come, so that a killed run loses little."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.media.errors import MAX_ATTEMPTS

# Content ids are sha256 hashes: their first digits spread evenly.
_DIGITS = 4
_SPACE = 16**_DIGITS

# Inputs that take a model about as long as starting a worker and loading it.
_WORTH_A_TASK = {"text": 200, "image": 20, "text_or_image": 20, "audio": 4, "video": 1}

ReportProgress = Callable[[str], None]


def tasks_worth(input_kind: str, num_rows: int) -> int:
    """Tasks that rows are worth: each has enough to do that loading the model once more is not most of its work."""
    return max(1, -(-num_rows // _WORTH_A_TASK[input_kind]))


@dataclass(frozen=True)
class Work:
    """One model, or several that share their input, over the contents that they have not seen.

    Attributes:
        name: What a person reads, and metrics are named after.
        todo: Contents, with a column `content_id` (sha256, hexadecimal).
        run: Turns some of the contents, and their number at most, into rows that are written down, and returns them.
        rows_per_second: What the model does at least, before it has been measured.
        results: SQL of the number of results that a row of `todo` gets.
        parts: What metrics of each model are named after, by the `encoder_id` of the rows; empty where there is one.
    """

    name: str
    todo: DataFrame
    run: Callable[[DataFrame, int], DataFrame]
    rows_per_second: float
    results: str = "1"
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass
class ChunkedRun:
    """Runs work in chunks and commits what is done every few minutes.

    Attributes:
        commit: Commits rows that were written down.
        commit_seconds: Time after which what is done is committed.
        report_progress: Shows a line to a person.
        clock: Seconds, for measuring.
        counts: Rows and errors so far; `to_retry` where errors may be the machine's fault, and are tried again later.
        metrics: For each piece of work `<name>/rows`, `/errors` and `/rows_per_second`.
    """

    commit: Callable[[list[DataFrame]], None]
    commit_seconds: float
    report_progress: ReportProgress
    clock: Callable[[], float] = time.monotonic
    counts: dict[str, int] = field(default_factory=lambda: {"rows": 0, "errors": 0})
    metrics: dict[str, float] = field(default_factory=dict)
    _waiting: list[DataFrame] = field(default_factory=list)
    _last_commit: float | None = None

    def add(self, *works: Work) -> None:
        """Run pieces of work one after the other; what is done stays if a later chunk fails."""
        for work, num_rows in zip(works, _sizes(works), strict=True):
            if num_rows:
                self._add(work, num_rows)

    def _add(self, work: Work, num_rows: int) -> None:
        started, done, errors, seconds = self.clock(), 0, 0, 1e-3
        rows_of, errors_of = Counter[str](), Counter[str]()
        part = F.col("encoder_id") if work.parts else F.lit("")
        if self._last_commit is None:
            self._last_commit = started
        for chunk in self._chunks(work, num_rows):
            made = work.run(chunk, num_rows)
            attempts = F.col("num_attempts") if "num_attempts" in made.columns else F.lit(None).cast("int")
            counted = made.groupBy(part.alias("part")).agg(
                F.count(F.lit(1)).alias("rows"),
                F.count("error").alias("errors"),
                F.count_if(attempts < MAX_ATTEMPTS).alias("to_retry"),
            )
            for row in counted.collect():
                rows_of[row["part"]] += int(row["rows"])
                errors_of[row["part"]] += int(row["errors"])
                if row["to_retry"]:
                    self.counts["to_retry"] = self.counts.get("to_retry", 0) + int(row["to_retry"])
            done, errors = rows_of.total(), errors_of.total()
            self._waiting.append(made)
            seconds = max(self.clock() - started, 1e-3)
            left = max(num_rows - done, 0) * seconds / max(done, 1)
            self.report_progress(
                f"  {work.name}: {done:,} of {num_rows:,} rows, {done / seconds:,.1f} a second, "
                f"{errors:,} errors, {left / 60:.0f} min left"
            )
            # What remains of the time bounds the next chunk, so that no more than it can be lost.
            if done < num_rows or self.clock() - self._last_commit >= self.commit_seconds / 2:
                self.commit(self.take())
                self._last_commit = self.clock()
        self.counts["rows"] += done
        self.counts["errors"] += errors
        for key, name in (work.parts or {"": work.name}).items():
            self.metrics[f"{name}/rows"] = float(rows_of[key])
            self.metrics[f"{name}/errors"] = float(errors_of[key])
            self.metrics[f"{name}/rows_per_second"] = rows_of[key] / seconds

    def take(self) -> list[DataFrame]:
        """Rows that are done and not yet committed; the caller commits it."""
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


def _sizes(works: Sequence[Work]) -> list[int]:
    """Results of each piece of work. One query tells them all, because most have none and a query is dear."""
    if not works:
        return []
    numbered = [
        work.todo.select(F.lit(number).alias("number"), F.expr(work.results).alias("results"))
        for number, work in enumerate(works)
    ]
    counted = reduce(DataFrame.unionByName, numbered).groupBy("number").agg(F.sum("results").alias("results"))
    sizes = {row["number"]: int(row["results"]) for row in counted.collect()}
    return [sizes.get(number, 0) for number in range(len(works))]
