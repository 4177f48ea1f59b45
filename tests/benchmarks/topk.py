"""Exact top-k against named references in the same run.

    python -m tests.benchmarks.topk [--data <folder>] [--items 100000] [--users 2048] [--rounds 5] [--out bench]
        [--approximate]

Sides of a ratio run one after the other in each round; a ratio is the median over rounds. Figures of one core are
seconds of the processor, figures of two are seconds of the clock. Real item vectors are those that the linear sources
learn from the events of a landing folder; as public folders are small, they are also drawn with replacement up to the
number of items, each scaled by .5 to 1, with noise of .3 standard deviations a dimension. implicit is measured where
it is installed (`pip install implicit`). Writes `topk.json` and `topk.png`; with `--approximate` instead recall and
speed of the indexes of faiss against exact search, in `approximate.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl
from scipy import sparse

from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.data import FitData, Interactions
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.topk import exact_top
from mmrec_lib.topk.approximate import ApproximateConfig, IndexKind, build_index, recall
from mmrec_lib.topk.compiled_search import has_int8, search_compiled
from mmrec_lib.topk.items import PreparedItems, UserBatch, check_users, prepare_items
from mmrec_lib.topk.numpy_search import search_with_numpy
from tests.conftest import PROJECT

SAMPLE_STORE = PROJECT / "tests" / "data" / "store"
EFFORTS: dict[IndexKind, tuple[int, ...]] = {"ivf": (16, 64, 256), "hnsw": (64, 256, 1024), "pq": (16, 64, 256)}
Work = Callable[[], object]
TARGETS: dict[str, tuple[str, float]] = {
    "seconds: blocked numpy / exact_top, items prepared anew": ("at least", 3.5),
    "pairs a second / matmul alone, random, one core": ("at least", 0.7),
    "pairs a second / matmul alone, random, one core, items prepared anew": ("at least", 0.7),
    "pairs a second / matmul alone, random, one core, float32 screen": ("at least", 0.7),
    "pairs a second / matmul alone, random, two cores": ("at least", 0.6),
    "pairs a second / matmul alone, random, two cores, float32 screen": ("at least", 0.6),
    "pairs a second / matmul alone, drawn from real, one core": ("at least", 1.5),
    "pairs a second / matmul alone, drawn from real, one core, float32 screen": ("at least", 1.5),
    "seconds: implicit / exact_top, items prepared anew": ("at least", 1.6),
    "seconds: implicit / exact_top, two cores": ("at least", 1.6),
    "seconds: seen items and 10 groups / none": ("at most", 1.3),
    "seconds: seen items and 10 groups / none, float32 screen": ("at most", 1.3),
}


@dataclass
class Bench:
    """Measures sides in turns.

    Attributes:
        rounds: How often.
        results: Seconds and ratios by name.
    """

    rounds: int
    results: dict[str, Any] = field(default_factory=lambda: {"seconds": {}, "ratios": {}})

    def seconds(self, group: str, sides: dict[str, Work], clock: Callable[[], float]) -> dict[str, list[float]]:
        """Seconds of each side in each round, after one run that is not counted."""
        for work in sides.values():
            work()
        found: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(self.rounds):
            for name, work in sides.items():
                start = clock()
                work()
                found[name].append(clock() - start)
        self.results["seconds"][group] = found
        for name, values in found.items():
            print(f"  {group}: {name}: {np.median(values):.3f} s", flush=True)
        return found

    def add_ratio(self, name: str, above: Sequence[float], below: Sequence[float]) -> None:
        """Note a ratio of two sides and print it."""
        values = [a / b for a, b in zip(above, below, strict=True)]
        bound, wanted = TARGETS[name]
        median = float(np.median(values))
        met = median >= wanted if bound == "at least" else median <= wanted
        self.results["ratios"][name] = {"median": median, "rounds": values, bound: wanted, "met": met}
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{name}: {median:.2f} ({spread}), {bound} {wanted:g}: {'met' if met else 'missed'}", flush=True)


def product_alone(users: np.ndarray, items: np.ndarray, threads: int) -> Work:
    """The matrix product in blocks into reused buffers, in the fastest of some block sizes."""
    if threads > 1:
        works = [product_alone(np.ascontiguousarray(users[part::threads]), items, 1) for part in range(threads)]
        pool = ThreadPoolExecutor(threads)
        return lambda: list(pool.map(lambda work: work(), works))

    def run(user_block: int, item_block: int, buffer: np.ndarray) -> None:
        for start in range(0, len(users), user_block):
            for first in range(0, len(items), item_block):
                block = items[first : first + item_block]
                rows = users[start : start + user_block]
                np.matmul(rows, block.T, out=buffer[: len(rows), : len(block)])

    works = []
    for user_block, item_block in ((256, len(items)), (512, 1024), (1024, 1024), (1024, 2048), (1024, 8192)):
        shape = (min(user_block, len(users)), min(item_block, len(items)))
        works.append(functools.partial(run, *shape, np.empty(shape, np.float32)))
    return min(works, key=lambda work: min(timed(work) for _ in range(2)))


def blocked_numpy(users: np.ndarray, items: np.ndarray, k: int) -> Work:
    """Product into a reused buffer, argpartition, sort."""
    buffer = np.empty((min(256, len(users)), len(items)), np.float32)

    def run() -> None:
        for start in range(0, len(users), 256):
            rows = users[start : start + 256]
            scores = np.matmul(rows, items.T, out=buffer[: len(rows)])
            best = np.argpartition(scores, len(items) - k, axis=1)[:, len(items) - k :]
            values = np.take_along_axis(scores, best, axis=1)
            np.take_along_axis(best, np.argsort(-values, axis=1), axis=1)

    return run


def timed(work: Work, clock: Callable[[], float] = time.process_time) -> float:
    """Seconds of one run."""
    start = clock()
    work()
    return clock() - start


def compiled(items: PreparedItems, users: UserBatch, threads: int, *, use_int8: bool) -> Work:
    """Our search of prepared items."""
    return functools.partial(search_compiled, items, users, use_int8=use_int8, num_threads=threads)


def batch(items: PreparedItems, users: np.ndarray, k: int) -> UserBatch:
    """Users without filters."""
    return check_users(items, users, k, None, None)


def measure_random(bench: Bench, users: np.ndarray, items: np.ndarray, k: int) -> None:
    """Random vectors: the hard case, in which no product can be skipped by lengths."""
    prepared = prepare_items(items)
    own = batch(prepared, users, k)
    implicit_top = load_implicit()
    for threads, core in ((1, "one core"), (2, "two cores")):
        # implicit starts threads of its own, which call BLAS.
        with threadpoolctl.threadpool_limits(1):
            sides: dict[str, Work] = {
                "matmul alone": product_alone(users, items, threads),
                "exact_top": compiled(prepared, own, threads, use_int8=has_int8()),
                "exact_top, float32 screen": compiled(prepared, own, threads, use_int8=False),
            }
            if threads == 1:
                sides["blocked numpy"] = blocked_numpy(users, items, k)
                sides["exact_top, items prepared anew"] = lambda: exact_top(users, items, k, num_threads=1)
            if implicit_top is not None:
                sides["implicit"] = functools.partial(implicit_top, items, users, k, num_threads=threads)
            clock = time.process_time if threads == 1 else time.perf_counter
            found = bench.seconds(f"random, {core}", sides, clock)
        matmul, anew = found["matmul alone"], found.get("exact_top, items prepared anew", [])
        share = f"pairs a second / matmul alone, random, {core}"
        bench.add_ratio(share, matmul, found["exact_top"])
        bench.add_ratio(f"{share}, float32 screen", matmul, found["exact_top, float32 screen"])
        if threads == 1:
            bench.add_ratio(f"{share}, items prepared anew", matmul, anew)
            bench.add_ratio("seconds: blocked numpy / exact_top, items prepared anew", found["blocked numpy"], anew)
        if implicit_top is not None and threads == 1:
            bench.add_ratio("seconds: implicit / exact_top, items prepared anew", found["implicit"], anew)
        elif implicit_top is not None:
            bench.add_ratio("seconds: implicit / exact_top, two cores", found["implicit"], found["exact_top"])


def measure_filters(bench: Bench, users: np.ndarray, items: np.ndarray, k: int) -> None:
    """100 seen items a user, and 10 groups that may get half of the items each."""
    rng = np.random.default_rng(1)
    shape = (len(users), len(items))
    columns = rng.integers(0, len(items), len(users) * 100)
    seen = sparse.csr_matrix((np.ones(len(columns), np.bool_), columns, np.arange(0, len(columns) + 1, 100)), shape)
    plain, limited = prepare_items(items), prepare_items(items, allowed=rng.random((10, len(items))) < 0.5)
    own = batch(plain, users, k)
    filtered = check_users(limited, users, k, seen, rng.integers(0, 10, len(users)))
    with threadpoolctl.threadpool_limits(1):
        for suffix, use_int8 in (("", has_int8()), (", float32 screen", False)):
            sides = {
                "none": compiled(plain, own, 1, use_int8=use_int8),
                "seen items and 10 groups": compiled(limited, filtered, 1, use_int8=use_int8),
            }
            found = bench.seconds(f"filters{suffix}", sides, time.process_time)
            name = f"seconds: seen items and 10 groups / none{suffix}"
            bench.add_ratio(name, found["seen items and 10 groups"], found["none"])


def measure_real(bench: Bench, folder: Path, num_users: int, num_items: int) -> None:
    """Vectors of a fit: as they are, and drawn up to a large catalogue."""
    users, items, drawn = drawn_vectors(folder, num_users, num_items)
    bench.results["real"] = {"data": folder.name, "items": len(items), "drawn": num_items, "dim": items.shape[1]}
    with threadpoolctl.threadpool_limits(1):
        for label, vectors, k in (("real", items, 20), ("drawn from real", drawn, 100)):
            prepared = prepare_items(vectors)
            own = batch(prepared, users, k)
            sides = {
                "matmul alone": product_alone(users, vectors, 1),
                "exact_top": compiled(prepared, own, 1, use_int8=has_int8()),
                "exact_top, float32 screen": compiled(prepared, own, 1, use_int8=False),
                "numpy path": functools.partial(search_with_numpy, prepared, own),
            }
            group = f"{label}, {len(vectors)} items, k {k}, one core"
            found = bench.seconds(group, sides, time.process_time)
            if label != "real":
                for suffix in ("", ", float32 screen"):
                    name = f"pairs a second / matmul alone, {label}, one core{suffix}"
                    bench.add_ratio(name, found["matmul alone"], found[f"exact_top{suffix}"])


def fitted_vectors(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of users and items that the linear sources learn from the events of a landing folder."""
    events = []
    for path in sorted((folder / "events").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):  # the sample store has broken lines
                events.append(json.loads(line))
    pairs = [
        (event["user_id"], event["item_id"])
        for event in events
        if isinstance(event, dict) and isinstance(event.get("user_id"), str) and isinstance(event.get("item_id"), str)
    ]
    (user_ids, users), (item_ids, items) = (np.unique(ids, return_inverse=True) for ids in zip(*pairs, strict=True))
    interactions = Interactions.from_rows(users, items, (len(user_ids), len(item_ids)), times=np.zeros(len(pairs)))
    data = FitData(item_ids, interactions, {}, {}, float("inf"))
    fitted = fit_ranker(data, RankerSettings(use_content=False))
    return fitted.user_vectors(data.histories()), fitted.item_vectors()


def drawn_vectors(folder: Path, num_users: int, num_items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users and items of a fit, the users repeated, and items drawn from these up to a large catalogue."""
    users, items = fitted_vectors(folder)
    rng = np.random.default_rng(2)
    drawn = items[rng.integers(0, len(items), num_items)] * rng.uniform(0.5, 1.0, (num_items, 1))
    drawn += 0.3 * items.std(axis=0) * rng.standard_normal(drawn.shape)
    return np.resize(users, (num_users, users.shape[1])), items, drawn.astype(np.float32)


def measure_approximate(bench: Bench, name: str, users: np.ndarray, items: np.ndarray, k: int) -> None:
    """Recall and speed of each index of faiss at several efforts, against exact search; one core."""
    prepared = prepare_items(items)
    exact = batch(prepared, users, k)
    wanted = search_compiled(prepared, exact, num_threads=1)
    seconds = timed(lambda: search_compiled(prepared, exact, num_threads=1))
    found = bench.results.setdefault("approximate", {}).setdefault(name, {})
    for kind, efforts in EFFORTS.items():
        start = time.process_time()
        index = build_index(prepared, kind, ApproximateConfig(effort=max(efforts)))
        built = time.process_time() - start
        for effort in efforts:
            index.set_effort(effort)
            top = index.search(prepared, users, k)
            own = timed(lambda: index.search(prepared, users, k))  # noqa: B023 called at once
            found[f"{kind} {effort}"] = {
                "recall": recall(top.indices, wanted.indices),
                "exact / approximate seconds": seconds / own,
                "users_a_second": len(users) / own,
                "build_seconds": built,
            }
            print(
                f"  {name}, {kind} {effort}: " + ", ".join(f"{n} {v:.4g}" for n, v in found[f"{kind} {effort}"].items())
            )


def load_implicit() -> Callable[..., object] | None:
    """implicit's exact search, or None where it is not installed."""
    try:
        from implicit.cpu.topk import topk
    except ImportError:
        print("implicit is not installed, so it is not compared with; pip install implicit", flush=True)
        return None
    found: Callable[..., object] = topk
    return found


def plot(results: dict[str, Any], path: Path) -> None:
    """Each ratio over its target, with the spread over rounds."""
    ratios = results["ratios"]
    names = list(ratios)[::-1]
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(names) + 1.2))
    for row, name in enumerate(names):
        found = ratios[name]
        scale = found.get("at least", found.get("at most"))
        values = np.array(found["rounds"]) / scale
        middle = found["median"] / scale
        axes.barh(row, middle, color="#2a6f97" if found["met"] else "#c1666b", height=0.6)
        axes.errorbar(middle, row, xerr=[[middle - values.min()], [values.max() - middle]], color="black", capsize=3)
        axes.text(0.03, row, f"{found['median']:.2f}", color="white", va="center", fontsize=9)
    axes.axvline(1.0, color="black", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("measured / asked (filters: lower is better)")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.topk", description=__doc__)
    for name, default in (("items", 100_000), ("users", 2048), ("dim", 128), ("k", 100), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--data", type=Path, default=SAMPLE_STORE, help="landing folder whose events are fitted")
    parser.add_argument("--approximate", action="store_true", help="only the indexes of faiss (extra mmrec[search])")
    parser.add_argument("--out", type=Path, default=PROJECT / "bench")
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    users = rng.standard_normal((options.users, options.dim)).astype(np.float32)
    items = rng.standard_normal((options.items, options.dim)).astype(np.float32)
    bench = Bench(options.rounds)
    print(f"{options.users:,} users x {options.items:,} items, {options.dim} dimensions, k = {options.k}", flush=True)
    if options.approximate:
        measure_approximate(bench, "random", users, items, options.k)
        real_users, _, drawn = drawn_vectors(options.data, options.users, options.items)
        measure_approximate(bench, "drawn from real", real_users, drawn, options.k)
    else:
        measure_random(bench, users, items, options.k)
        measure_filters(bench, users, items, options.k)
        measure_real(bench, options.data, options.users, options.items)
    bench.results["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "int8": has_int8(),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
    }
    bench.results["inputs"] = {name: getattr(options, name) for name in ("items", "users", "dim", "k", "rounds")}
    options.out.mkdir(parents=True, exist_ok=True)
    name = "approximate" if options.approximate else "topk"
    (options.out / f"{name}.json").write_text(json.dumps(bench.results, indent=1), encoding="utf-8")
    if not options.approximate:
        plot(bench.results, options.out / "topk.png")
    print(f"results in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
