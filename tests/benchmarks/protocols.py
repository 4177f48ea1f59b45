"""Write the public protocols P1 to P3 as landing folders whose events carry their split.

    python -m tests.benchmarks.protocols --data <ml-100k-mm> --out <folder> [--protocol P1] [--seed 0]

makes `<folder>/P1-seed0` to `P1-seed4`, `P2` and `P3-draw0` to `P3-draw2`, or only those asked for. Each runs with
`make demo DATA=<folder>/P1-seed0`. All ratings are positives, and all ranking is over the full catalogue.

- **P1** random, by item: each item's ratings are shuffled, the first 75 % are for training, the rest is test. Training
  is divided once more by the same rule into train and valid. Seeds 0 to 4.
- **P2** global time: by (ts, event_id) the first 80 % of events are train, the next 10 % valid, the last 10 % test.
- **P3** new items: 17 % of all items are hidden, all their ratings are test. The ratings of the others are divided as
  in P1. So that settings for new items can be chosen without test, valid repeats this inside training: 17 % of the
  items that are left have all their training ratings in valid. Draws 0 to 2.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TRAIN_SHARE = 0.75
HIDDEN_SHARE = 0.17
SEEDS = {"P1": (0, 1, 2, 3, 4), "P2": (0,), "P3": (0, 1, 2)}
MEDIA_FOLDERS = ("images", "audio", "video")

Split = NDArray[np.str_]


class ProtocolError(Exception):
    """Raised when a protocol cannot be written; the message says what to do."""


@dataclass(frozen=True)
class EventLine:
    """One event as delivered, with the file it stands in."""

    file: str
    record: dict[str, object]


def split_at_random(items: NDArray[np.str_], rng: np.random.Generator, names: tuple[str, str]) -> Split:
    """[n] first or second name: 75/25 of each item's events at random, rounded half to even.

    Args:
        items: [n] item of each event.
        rng: Drawn from item by item, in the order of their ids.
        names: For the first 75 % and for the rest.
    """
    split = np.full(items.size, names[1], dtype="<U5")
    order = np.argsort(items, kind="stable")
    for places in np.split(order, np.flatnonzero(items[order][1:] != items[order][:-1]) + 1):
        shuffled = rng.permutation(places)
        split[shuffled[: round(TRAIN_SHARE * places.size)]] = names[0]
    return split


def split_p1(items: NDArray[np.str_], seed: int) -> Split:
    """[n] train, valid or test of P1."""
    rng = np.random.default_rng([1, seed])
    split = split_at_random(items, rng, ("train", "test"))
    inner = split == "train"
    split[inner] = split_at_random(items[inner], rng, ("train", "valid"))
    return split


def split_p2(times: Sequence[datetime], event_ids: Sequence[str]) -> Split:
    """[n] train, valid or test of P2, by time and then event_id."""
    order = np.lexsort((np.asarray(event_ids), np.array([time.timestamp() for time in times])))
    split = np.full(order.size, "test", dtype="<U5")
    split[order[: order.size * 9 // 10]] = "valid"
    split[order[: order.size * 8 // 10]] = "train"
    return split


def split_p3(items: NDArray[np.str_], catalogue: Sequence[str], draw: int) -> Split:
    """[n] train, valid or test of P3.

    Args:
        items: [n] item of each event.
        catalogue: All items, also those without an event.
        draw: Which draw of hidden items.
    """
    rng = np.random.default_rng([3, draw])
    shuffled = rng.permutation(np.array(sorted(catalogue)))
    hidden, visible = np.split(shuffled, [round(HIDDEN_SHARE * shuffled.size)])
    hidden_in_valid = visible[: round(HIDDEN_SHARE * visible.size)]
    split = split_at_random(items, rng, ("train", "test"))
    split[np.isin(items, hidden)] = "test"
    inner = split == "train"
    split[inner] = split_at_random(items[inner], rng, ("train", "valid"))
    split[inner & np.isin(items, hidden_in_valid)] = "valid"
    return split


def write_protocol(data: Path, out: Path, protocol: str, seed: int = 0, media: str = "link") -> dict[str, int]:
    """Write one protocol as a landing folder, whole or not at all.

    Args:
        data: The folder ml-100k-mm.
        out: Folder to make; must not exist yet.
        protocol: P1, P2 or P3.
        seed: Seed of P1, draw of P3; P2 has only 0.
        media: `link` (hard links; copies where the file system refuses), `copy` or `none`.

    Returns:
        Number of events by split.

    Raises:
        ProtocolError: When the data are not what the protocol needs, or `out` exists.
    """
    events = _read_events(data)
    if out.exists():
        raise ProtocolError(f"--out: {out} exists already; remove it or name another folder")
    split = _split(protocol, seed, events, data)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        _write_events(events, split, staging)
        _copy_the_rest(data, staging, media)
        counts = {name: int((split == name).sum()) for name in ("train", "valid", "test")}
        note = {"protocol": protocol, "seed": seed, "events": counts}
        (staging / "protocol.json").write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
        staging.chmod(0o755)
        staging.rename(out)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return counts


def _split(protocol: str, seed: int, events: Sequence[EventLine], data: Path) -> Split:
    if protocol == "P2":
        times = [_time(event) for event in events]
        return split_p2(times, [str(event.record["event_id"]) for event in events])
    items = np.array([str(event.record["item_id"]) for event in events])
    if protocol == "P1":
        return split_p1(items, seed)
    lines = (data / "items.jsonl").read_text(encoding="utf-8").splitlines()
    return split_p3(items, [str(json.loads(line)["item_id"]) for line in lines if line.strip()], seed)


def _time(event: EventLine) -> datetime:
    """Time of an event; one without an offset is UTC."""
    try:
        time = datetime.fromisoformat(str(event.record["ts"]))
    except ValueError as error:
        raise ProtocolError(f"--data: P2 needs ISO 8601 times, but an event in events/{event.file}: {error}") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _read_events(data: Path) -> list[EventLine]:
    """All events, by event_id, so that draws do not hang on the order of files."""
    if not data.is_dir():
        raise ProtocolError(f"--data: {data} is no folder; give the path of ml-100k-mm")
    files = sorted((data / "events").glob("*.jsonl"))
    has_items = (data / "items.jsonl").is_file()
    missing = [name for name, found in (("events/*.jsonl", files), ("items.jsonl", has_items)) if not found]
    if missing:
        raise ProtocolError(f"--data: {data} has no {' and no '.join(missing)}; give the path of ml-100k-mm")
    events = [
        EventLine(file.name, json.loads(line))
        for file in files
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    for event in events:
        lacking = {"event_id", "item_id", "ts"} - event.record.keys()
        if lacking:
            raise ProtocolError(f"--data: an event in events/{event.file} lacks {', '.join(sorted(lacking))}")
    return sorted(events, key=lambda event: str(event.record["event_id"]))


def _write_events(events: Sequence[EventLine], split: Split, out: Path) -> None:
    folder = out / "events"
    folder.mkdir()
    lines: dict[str, list[str]] = {}
    for event, part in zip(events, split, strict=True):
        lines.setdefault(event.file, []).append(json.dumps({**event.record, "split": str(part)}, ensure_ascii=False))
    for name, content in lines.items():
        (folder / name).write_text("\n".join(content) + "\n", encoding="utf-8")


def _copy_the_rest(data: Path, out: Path, media: str) -> None:
    for source in sorted(data.rglob("*")):
        target = out / source.relative_to(data)
        top = source.relative_to(data).parts[0]
        if not source.is_file() or top == "events" or (top in MEDIA_FOLDERS and media == "none"):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if top in MEDIA_FOLDERS and media == "link":
            try:
                # Hard links, because a landing folder may not point outside itself.
                os.link(source, target)
                continue
            except OSError:
                pass
        shutil.copy2(source, target)


def folder_name(protocol: str, seed: int) -> str:
    """Name of the landing folder of a protocol."""
    return {"P1": f"P1-seed{seed}", "P2": "P2", "P3": f"P3-draw{seed}"}[protocol]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.protocols",
        description="Write the public protocols P1 to P3 as landing folders whose events carry their split.",
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder ml-100k-mm")
    parser.add_argument("--out", type=Path, required=True, help="gets one landing folder a protocol and seed")
    parser.add_argument("--protocol", choices=[*SEEDS, "all"], default="all")
    parser.add_argument("--seed", type=int, default=None, help="seed of P1, draw of P3; default: all of the protocol")
    parser.add_argument("--media", choices=["link", "copy", "none"], default="link", help="what to do with media files")
    options = parser.parse_args(arguments)
    protocols = list(SEEDS) if options.protocol == "all" else [options.protocol]
    try:
        for protocol in protocols:
            for seed in SEEDS[protocol] if options.seed is None or protocol == "P2" else (options.seed,):
                out = options.out / folder_name(protocol, seed)
                counts = write_protocol(options.data, out, protocol, seed, options.media)
                print(f"{out}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    except ProtocolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
