"""What a store costs to keep up to date: nothing new, one item changed, one per cent of the items changed.

    python -m tests.benchmarks.encode_store [--data <folder>] [--items 200] [--rounds 3]

The items of a landing folder and the media that they name are copied to a scratch folder and go through the jobs
ingest_landing, extract_text and embed_content with the configuration of a laptop: all of them once, then again with
nothing new, then after changes. A change is another title, another description and other images. The fixed cost of a
run is what one changed item costs; one per cent more of the items is what lies between the two runs of a round. Models
are loaded anew by every run, and nothing is timed before a small store has warmed everything up.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jobs import embed_content, extract_text, ingest_landing
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.images import check_image
from mmrec_lib.runtime.job import Job, run_job
from mmrec_lib.runtime.main import Command, job_config, make_parser, open_context, parse_command
from tests.benchmarks.processes import tree_cpu_seconds
from tests.conftest import MODELS_ROOT, PROJECT
from tests.data.deliveries import Record
from tests.data.increment import derived_image
from tests.data.reading import images_of, json_records

INGEST: tuple[Job[Any], ...] = (ingest_landing.JOB,)
ENCODE: tuple[Job[Any], ...] = (extract_text.JOB, embed_content.JOB)
_WARM_UP_ITEMS = 8
_FIRST_CHANGE = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Cost:
    """What one run took.

    Attributes:
        num_changed: Items that were new or changed.
        seconds: Of each job.
        cpu_seconds: Processor time of each job, over all processes.
        rows: Texts and media that went through a model, errors among them.
    """

    num_changed: int
    seconds: dict[str, float]
    cpu_seconds: dict[str, float]
    rows: int

    @property
    def encode_seconds(self) -> float:
        """Seconds of the jobs that encode."""
        return sum(self.seconds[job.name] for job in ENCODE)

    @property
    def encode_cpu_seconds(self) -> float:
        """Processor time of the jobs that encode."""
        return sum(self.cpu_seconds[job.name] for job in ENCODE)


@dataclass(frozen=True)
class StoreCosts:
    """What the runs of one store took.

    Attributes:
        full: The first run.
        unchanged: A run with nothing new, and one that was forced to look nevertheless.
        one: Runs after one changed item.
        percent: Runs after one changed item and one per cent of the items.
    """

    full: Cost
    unchanged: list[Cost]
    one: list[Cost]
    percent: list[Cost]

    @property
    def shares(self) -> list[float]:
        """What one per cent of the items costs, as a share of the full run; one value a round."""
        pairs = zip(self.one, self.percent, strict=True)
        return [(percent.encode_seconds - one.encode_seconds) / self.full.encode_seconds for one, percent in pairs]

    @property
    def cpu_shares(self) -> list[float]:
        """`shares` in processor time, which other work on the machine hardly touches."""
        pairs = zip(self.one, self.percent, strict=True)
        extra = [percent.encode_cpu_seconds - one.encode_cpu_seconds for one, percent in pairs]
        return [seconds / self.full.encode_cpu_seconds for seconds in extra]

    def as_json(self) -> dict[str, Any]:
        """All measurements."""
        return {**asdict(self), "shares": self.shares, "cpu_shares": self.cpu_shares}

    def table(self) -> str:
        """All runs for a person."""
        names = [job.name for job in (*INGEST, *ENCODE)]
        lines = [f"{'run':<12}{'items':>7}" + "".join(f"{name:>16}" for name in names) + f"{'CPU s':>9}{'rows':>7}"]
        runs = [("full", self.full), *(("nothing new", cost) for cost in self.unchanged)]
        for one, percent in zip(self.one, self.percent, strict=True):
            runs += [("one", one), ("one and 1 %", percent)]
        for label, cost in runs:
            seconds = "".join(f"{cost.seconds[name]:>14.1f} s" for name in names)
            lines.append(f"{label:<12}{cost.num_changed:>7}{seconds}{cost.encode_cpu_seconds:>9.1f}{cost.rows:>7}")
        return "\n".join(lines)


class ScratchStore:
    """A copy of items with their media, and the store that is made of it."""

    def __init__(self, folder: Path, data: Path, records: Sequence[Record]) -> None:
        """Copy the records and the media that they name."""
        self._landing = folder / "landing"
        self._num_changes = 0
        _copy(data, self._landing, records)
        pairs = (f"store.data={self._landing}", f"store.out={folder / 'out'}", f"models.root={MODELS_ROOT.absolute()}")
        self._command: Command = parse_command(
            make_parser("encode_store", "benchmark"), ["--set", *pairs], PROJECT / "conf"
        )

    def run(self, num_changed: int, *, force: bool = False) -> Cost:
        """Run the jobs as one run of the pipeline does."""
        seconds, cpu_seconds, rows = {}, {}, 0
        with open_context(self._command) as context:
            for job in (*INGEST, *ENCODE):
                start, cpu_start = time.perf_counter(), tree_cpu_seconds(os.getpid())
                run = run_job(job, context, job_config(job, self._command.settings), force=force)
                seconds[job.name] = time.perf_counter() - start
                cpu_seconds[job.name] = tree_cpu_seconds(os.getpid()) - cpu_start
                if job in ENCODE:
                    rows += sum(run.counts.get(name, 0) for name in ("extracted", "encoded", "errors"))
        return Cost(num_changed, seconds, cpu_seconds, rows)

    def change(self, records: Sequence[Record]) -> None:
        """Deliver newer versions of some items: another title, another description, other images."""
        self._num_changes += 1
        number = self._num_changes
        moment = (_FIRST_CHANGE + timedelta(days=number)).isoformat()
        changed = []
        for record in records:
            for image in images_of(record):
                path = self._landing / image
                path.write_bytes(derived_image(path.read_bytes(), 90 + number))
            title, description = f"{record['title']}, edition {number}", f"{record['description']} Edition {number}."
            changed.append({**record, "title": title, "description": description, "updated_at": moment})
        _write(self._landing / f"items-change-{number:03d}.jsonl", changed)

    def run_changed(self, records: Sequence[Record]) -> Cost:
        """Change some items, then run the jobs."""
        self.change(records)
        return self.run(len(records))

    def versions(self) -> dict[str, int]:
        """Number of commits of every table but the ledger of runs."""
        logs = (self._landing.parent / "out" / "tables").glob("*/_delta_log")
        found = {log.parent.name: len(list(log.glob("*.json"))) for log in logs}
        return {name: number for name, number in found.items() if name != "job_run"}


def measure(data: Path, scratch: Path, rounds: int, num_items: int | None = None, seed: int = 0) -> StoreCosts:
    """Costs of a store's runs.

    Args:
        data: Landing folder with items and their images.
        scratch: Empty folder.
        rounds: How often items are changed, other ones each time.
        num_items: How many of the items are used; None uses all.
        seed: Chooses the items.

    Raises:
        SystemExit: When there are too few items, or a run with nothing new wrote a table.
    """
    records = usable_items(data)
    random.Random(seed).shuffle(records)
    records = records[:num_items]
    imaged = [record for record in records if images_of(record)]
    per_cent = max(1, round(len(records) / 100))
    if len(records) < rounds * (per_cent + 2) or len(imaged) < 2 * rounds:
        raise SystemExit(f"{data}: {len(records)} usable items, {len(imaged)} with images, are too few")
    warm_up = ScratchStore(scratch / "warm-up", data, imaged[:_WARM_UP_ITEMS])
    warm_up.run(_WARM_UP_ITEMS)
    warm_up.run_changed(imaged[:1])

    store = ScratchStore(scratch / "store", data, records)
    full = store.run(len(records))
    versions = store.versions()
    unchanged = [store.run(0), store.run(0, force=True)]
    if store.versions() != versions:
        written = {name for name, version in store.versions().items() if versions.get(name) != version}
        raise SystemExit(f"a run with nothing new wrote {', '.join(sorted(written))}")
    firsts = imaged[: 2 * rounds]
    others = iter([record for record in records if record not in firsts])
    one, percent = [], []
    for number in range(rounds):
        # One item with an image is among them each time, so that the same models are loaded.
        one.append(store.run_changed([firsts[2 * number]]))
        percent.append(store.run_changed([firsts[2 * number + 1], *(next(others) for _ in range(per_cent))]))
    return StoreCosts(full, unchanged, one, percent)


def usable_items(data: Path) -> list[Record]:
    """Items with words and no media that are missing or broken; of several versions the last."""
    items = {record["item_id"]: record for record in json_records(data / "items.jsonl") if _is_usable(data, record)}
    return list(items.values())


def _is_usable(data: Path, record: Record) -> bool:
    if not all(isinstance(record.get(name), str) for name in ("item_id", "title", "description")):
        return False
    try:
        for image in images_of(record):
            check_image((data / image).read_bytes())
        return all((data / path).is_file() for path in _media_of(record))
    except (MediaError, OSError):
        return False


def _media_of(record: Record) -> Iterator[str]:
    for name in ("audio", "video"):
        named = record.get(name) or []
        yield from [named] if isinstance(named, str) else named
    yield from images_of(record)


def _copy(data: Path, landing: Path, records: Sequence[Record]) -> None:
    landing.mkdir(parents=True)
    for path in {path for record in records for path in _media_of(record)}:
        target = landing / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((data / path).read_bytes())
    _write(landing / "items.jsonl", records)


def _write(path: Path, records: Sequence[Record]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.encode_store", description=__doc__)
    parser.add_argument("--data", type=Path, default=PROJECT / "tests" / "data" / "store", help="landing folder")
    parser.add_argument("--items", type=int, default=None, help="how many of its items; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="mmrec-store-") as folder:
        costs = measure(options.data, Path(folder), options.rounds, options.items)
    print(costs.table())
    for name, shares in (("seconds", costs.shares), ("processor time", costs.cpu_shares)):
        print(f"1 % of the items / full run, {name}: {', '.join(f'{share:.3f}' for share in shares)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
