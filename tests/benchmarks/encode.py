"""Speed of the encode engine as ratios: Spark jobs against bare loops and what is commonly published, in the same run.

    python -m tests.benchmarks.encode [--data <folder>] [--images 5000] [--texts 10000] [--rounds 3] [--out bench]

Both sides of a ratio run on one core with the same number of threads (the JVM has the other core), one after the other,
several rounds; a ratio is the median over rounds. Inputs are repeated under other keys up to the number asked for, and
nothing is de-duplicated. Jobs read from and write to Delta; what a job of one row takes to write and commit is taken
off and reported beside, as are the starts of session and worker. Naive loops run over a sample. Writes `encode.json`
and `encode.png`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmrec_lib.media.audio import SAMPLE_RATE_HZ, decode_audio
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.images import check_image
from tests.benchmarks import encode_store, ocr
from tests.conftest import MODELS_ROOT, PROJECT

SAMPLE_STORE = PROJECT / "tests" / "data" / "store"
_NAIVE_TEXTS, _NAIVE_IMAGES = 1000, 300
_OCR_IMAGES, _OCR_LABELS = 120, 100
_MEMORY_ROWS = (500, 50_000)
_PARTS = ("text", "image", "slots", "speech", "ocr", "memory", "store")


@dataclass
class Side:
    """A process that runs one side; see `tests.benchmarks.encode_sides`."""

    process: subprocess.Popen[str]
    log: Path

    @classmethod
    def start(cls, options: dict[str, Any], log: Path) -> Side:
        """Start the process and wait until it is ready; what it says on the way goes to a log."""
        command = [sys.executable, "-m", "tests.benchmarks.encode_sides", json.dumps(options)]
        with log.open("w", encoding="utf-8") as said:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, cwd=PROJECT
            )
        side = cls(process, log)
        side._answer()
        return side

    def ask(self) -> None:
        """Start a run."""
        assert self.process.stdin is not None
        self.process.stdin.write("run\n")
        self.process.stdin.flush()

    def result(self) -> dict[str, float]:
        """Wait for the end of a run."""
        found: dict[str, float] = json.loads(self._answer())
        return found

    def stop(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a side ended by itself:\n{self.log.read_text(encoding='utf-8')[-3000:]}")
        return line


@dataclass
class Bench:
    """What is measured with, and what was measured.

    Attributes:
        scratch: Folder for inputs and tables.
        rounds: How often each ratio is taken.
        results: Measurements by name.
    """

    scratch: Path
    rounds: int
    results: dict[str, Any] = field(default_factory=dict)

    @contextlib.contextmanager
    def sides(self, **wanted: dict[str, Any]) -> Iterator[dict[str, Side]]:
        """Processes for some sides, ended afterwards."""
        common = {"models": str(MODELS_ROOT.absolute()), "scratch": str(self.scratch), "cores": [0]}
        started: dict[str, Side] = {}
        try:
            for name, options in wanted.items():
                started[name] = Side.start({**common, **options}, self.scratch / f"{name}.log")
            yield started
        finally:
            for side in started.values():
                side.stop()

    def compare(self, kind: str, rows: Path, num_rows: int, **others: dict[str, Any]) -> None:
        """Rows a second of the job and of its references, one after the other in each round."""
        same = {"kind": kind, "rows": str(rows), "num_rows": num_rows}
        wanted = {"job": {"side": "job", **same}, **{name: {**same, **options} for name, options in others.items()}}
        with self.sides(**wanted) as sides:
            rates: dict[str, list[float]] = {name: [] for name in sides}
            jobs = []
            for _ in range(self.rounds):
                for name, side in sides.items():
                    side.ask()
                    found = side.result()
                    rates[name].append(_rows_a_second(found))
                    jobs += [found] if name == "job" else []
        self.results[kind] = {
            "rows_per_second": rates,
            "job": {key: [found[key] for found in jobs] for key in jobs[0]},
        }
        for name in others:
            self.add_ratio(f"{kind}: job / {name}", [a / b for a, b in zip(rates["job"], rates[name], strict=True)])

    def compare_slots(self, rows: Path, num_rows: int) -> None:
        """What a second task slot brings, as a share of what a second bare process on its own core brings."""
        same = {"kind": "text", "rows": str(rows), "num_rows": num_rows}
        wanted: dict[str, dict[str, Any]] = {
            "one_slot": {"side": "job", **same},
            "two_slots": {"side": "job", **same, "cores": [0, 1]},
            "first": {"side": "bare", **same},
            "second": {"side": "bare", **same, "cores": [1]},
        }
        shares, rates = [], []
        with self.sides(**wanted) as sides:
            for _ in range(self.rounds):
                rate = {name: _rate([sides[name]]) for name in ("one_slot", "two_slots", "first")}
                rate["both"] = _rate([sides["first"], sides["second"]])
                rates.append(rate)
                shares.append((rate["two_slots"] / rate["one_slot"]) / (rate["both"] / rate["first"]))
        self.results["slots"] = {"rows_per_second": {name: [rate[name] for rate in rates] for name in rates[0]}}
        self.add_ratio("text: two slots / one, as a share of two bare processes / one", shares)

    def measure_speech(self, rows: Path, num_rows: int, sound_seconds: float) -> None:
        """Seconds of sound a second on one core."""
        with self.sides(job={"side": "job", "kind": "speech", "rows": str(rows), "num_rows": num_rows}) as sides:
            rates = []
            for _ in range(self.rounds):
                sides["job"].ask()
                rates.append(_rows_a_second(sides["job"].result()))
        self.add_ratio("speech: seconds of sound / second", [rate * sound_seconds / num_rows for rate in rates])

    def measure_ocr(self, images: Sequence[ocr.ItemImage], num_labels: int) -> None:
        """Reading text against rapidocr with ONNX Runtime: seconds an image, and words of labels."""
        sides = ocr.make_sides()
        labels = ocr.measure_labels(sides, num_labels)
        found = ocr.measure_images(sides, images)
        self.results["ocr"] = {"labels": labels, "images": found}
        for name, figures in self.results["ocr"].items():
            print(f"ocr, {name}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()), flush=True)
        self.add_ratio("ocr: images a second / rapidocr with ONNX Runtime", [found["speedup"]])
        accuracy = labels["word_accuracy"] / labels["reference_word_accuracy"]
        self.add_ratio("ocr: words of labels read / rapidocr with ONNX Runtime", [accuracy])

    def measure_memory(self, rows: Path) -> None:
        """Peak memory of a worker with many rows over that with few."""
        peaks = []
        for num_rows in _MEMORY_ROWS:
            with self.sides(job={"side": "job", "kind": "text", "rows": str(rows), "num_rows": num_rows}) as sides:
                sides["job"].ask()
                peaks.append(sides["job"].result()["worker_peak_mb"])
        self.results["worker_peak_mb"] = dict(zip(map(str, _MEMORY_ROWS), peaks, strict=True))
        self.add_ratio(f"memory of a worker: {_MEMORY_ROWS[1]:,} / {_MEMORY_ROWS[0]:,} rows", [peaks[1] / peaks[0]])

    def measure_store(self, data: Path, num_items: int | None) -> None:
        """What a store costs that changes a little or not at all."""
        costs = encode_store.measure(data, self.scratch, self.rounds, num_items)
        print(costs.table(), flush=True)
        self.results["store"] = costs.as_json()
        self.add_ratio("store: 1 % of the items / full run", costs.shares)
        self.add_ratio("store: rows encoded with nothing new", [float(cost.rows) for cost in costs.unchanged])

    def add_ratio(self, name: str, values: Sequence[float]) -> None:
        """Note a ratio and print it."""
        bound, wanted = TARGETS[name]
        median = float(np.median(values))
        met = median >= wanted if bound == "at least" else median <= wanted
        self.results.setdefault("ratios", {})[name] = {
            "median": median,
            "rounds": list(values),
            bound: wanted,
            "met": met,
        }
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{name}: {median:.2f} ({spread}), {bound} {wanted:g}: {'met' if met else 'missed'}", flush=True)


TARGETS: dict[str, tuple[str, float]] = {
    "text: job / naive": ("at least", 6.0),
    "text: job / bare": ("at least", 0.90),
    "image: job / naive": ("at least", 3.0),
    "image: job / bare": ("at least", 0.90),
    "image: job / pattern": ("at least", 4.0),
    "text: two slots / one, as a share of two bare processes / one": ("at least", 0.95),
    "speech: seconds of sound / second": ("at least", 12.0),
    "ocr: images a second / rapidocr with ONNX Runtime": ("at least", 4.0),
    "ocr: words of labels read / rapidocr with ONNX Runtime": ("at least", 1.0),
    f"memory of a worker: {_MEMORY_ROWS[1]:,} / {_MEMORY_ROWS[0]:,} rows": ("at most", 1.1),
    "store: 1 % of the items / full run": ("at most", 0.05),
    "store: rows encoded with nothing new": ("at most", 0.0),
}


def _rate(sides: Sequence[Side]) -> float:
    for side in sides:
        side.ask()
    return sum(_rows_a_second(found) for found in [side.result() for side in sides])


def _rows_a_second(found: dict[str, float]) -> float:
    """Without the fixed cost of a commit, which a job of one row has, too, and which stands beside in the results."""
    return found["rows"] / (found["seconds"] - found.get("commit_seconds", 0.0))


def texts_of(data: Path) -> list[str]:
    """Titles with descriptions of a landing folder's items."""
    items = []
    for line in (data / "items.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError):  # the sample store has broken lines
            items.append(json.loads(line))
    named = [item for item in items if isinstance(item, dict) and isinstance(item.get("title"), str)]
    return [f"{item['title']}. {item.get('description') or ''}" for item in named]


def readable(paths: Sequence[Path], check: Callable[[bytes], object]) -> list[bytes]:
    """Contents of the files that can be decoded: folders may hold texts, and the sample store holds broken media."""
    contents = []
    for path in paths:
        content = path.read_bytes()
        with contextlib.suppress(MediaError):
            check(content)
            contents.append(content)
    return contents


def write_inputs(path: Path, values: Sequence[str | bytes], number: int) -> Path:
    """Values repeated under other keys up to a number of rows."""
    column = "text" if isinstance(values[0], str) else "content"
    repeated = [values[row % len(values)] for row in range(number)]
    keys = [f"{row:08d}" for row in range(number)]
    pq.write_table(pa.table({"content_id": keys, column: repeated}), path, row_group_size=1000)
    return path


def plot(results: dict[str, Any], path: Path) -> None:
    """Each ratio over its target, with the spread over rounds."""
    ratios = results["ratios"]
    names = list(ratios)[::-1]
    figure, axes = plt.subplots(figsize=(9, 0.55 * len(names) + 1.2))
    for row, name in enumerate(names):
        found = ratios[name]
        target = found.get("at least", found.get("at most"))
        scale = target or 1.0  # a target of nothing is shown by what there is
        values = np.array(found["rounds"]) / scale
        middle = found["median"] / scale
        axes.barh(row, middle, color="#2a6f97" if found["met"] else "#c1666b", height=0.6)
        axes.errorbar(middle, row, xerr=[[middle - values.min()], [values.max() - middle]], color="black", capsize=3)
        colour = "white" if middle > 0.2 else "black"
        axes.text(0.02, row, f"{found['median']:.2f}", color=colour, va="center", fontsize=9)
    axes.axvline(1.0, color="black", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("measured / asked (memory and store: lower is better)")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.encode", description=__doc__)
    parser.add_argument("--data", type=Path, default=SAMPLE_STORE, help="landing folder with items and images")
    parser.add_argument(
        "--speech", type=Path, default=None, help="folder of sounds; default: those of the sample store"
    )
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--sounds", type=int, default=40)
    parser.add_argument("--store-items", type=int, default=None, help="items of the store; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=_PARTS, default=None)
    parser.add_argument("--out", type=Path, default=PROJECT / "bench")
    options = parser.parse_args(arguments)
    wanted = set(options.only or _PARTS)
    texts = texts_of(options.data)
    images = readable(sorted((options.data / "images").rglob("*.jpg")), check_image)
    sounds = readable(sorted((options.speech or SAMPLE_STORE / "audio").iterdir()), decode_audio)
    sound_seconds = [len(decode_audio(content)) / SAMPLE_RATE_HZ for content in sounds]
    with tempfile.TemporaryDirectory(prefix="mmrec-bench-") as folder:
        bench = Bench(Path(folder), options.rounds)
        text_rows = write_inputs(bench.scratch / "texts.parquet", texts, max(options.texts, _MEMORY_ROWS[1]))
        if "text" in wanted:
            naive = {"side": "naive_text", "num_rows": min(_NAIVE_TEXTS, options.texts)}
            bench.compare("text", text_rows, options.texts, naive=naive, bare={"side": "bare"})
        if "image" in wanted:
            rows = write_inputs(bench.scratch / "images.parquet", images, options.images)
            sample = min(_NAIVE_IMAGES, options.images)
            bench.compare(
                "image",
                rows,
                options.images,
                naive={"side": "naive_image", "num_rows": sample},
                bare={"side": "bare"},
                pattern={"side": "pattern", "num_rows": sample},
            )
        if "slots" in wanted:
            bench.compare_slots(text_rows, options.texts)
        if "speech" in wanted:
            rows = write_inputs(bench.scratch / "sounds.parquet", sounds, options.sounds)
            total = sum(sound_seconds[number % len(sounds)] for number in range(options.sounds))
            bench.measure_speech(rows, options.sounds, total)
        if "ocr" in wanted:
            bench.measure_ocr(ocr.item_images(options.data, _OCR_IMAGES), _OCR_LABELS)
        if "memory" in wanted:
            bench.measure_memory(text_rows)
        if "store" in wanted:
            bench.measure_store(options.data, options.store_items)
    bench.results["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "python": sys.version.split()[0],
    }
    bench.results["inputs"] = {"images": options.images, "texts": options.texts, "sounds": options.sounds}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "encode.json").write_text(json.dumps(bench.results, indent=1), encoding="utf-8")
    plot(bench.results, options.out / "encode.png")
    print(f"{options.out / 'encode.json'} and {options.out / 'encode.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
