"""Time and memory of choosing settings and fitting, in numpy alone: a store with planted tastes of any size, or arrays.

    python -m tests.benchmarks.training --users 9300 --items 6700 --events 60000

Prints seconds and processor seconds of each step of the job `train_ranker` (settings of the ranker and of each
baseline, one fit), the peak of memory, the chosen settings, and nDCG@10 on the last tenth of the events. Steps of each
size go to bench/training.json; with two sizes in it, bench/training.png shows time and memory against interactions.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mmrec_lib.models.config import BASELINE_NAMES, TrainingConfig
from mmrec_lib.models.data import Content, FitData, Interactions
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.tuning.baselines import choose_baseline, fit_baseline, possible_baselines
from mmrec_lib.models.tuning.choose import choose_settings
from mmrec_lib.models.tuning.validation import ValidationUsers
from tests.benchmarks.planted import Planted
from tests.conftest import PROJECT

ResultT = TypeVar("ResultT")
Steps = dict[str, dict[str, float]]
"""Seconds, processor seconds and the peak of memory so far of each step."""
_NOISY_DIM = 384


def planted_parts(planted: Planted) -> tuple[FitData, Interactions, Interactions]:
    """Train, valid and test of a planted store: 80, 10 and 10 % of the events, at random.

    Contents are the planted vectors, the same under much noise, tokens of the cluster that are wrong for many items,
    and tokens that tell nothing.
    """
    rng = np.random.default_rng(planted.seed)
    users, items, starts = [], [], [block.start for block in planted.user_blocks]
    for block, start in enumerate(starts):
        rows, columns = planted.interactions(block)
        users.append(rows + start)
        items.append(columns)
    rows, columns = np.concatenate(users), np.concatenate(items)
    shape = (planted.num_users, planted.num_items)
    times = 1.7e9 + rng.random(len(rows)) * 86_400 * 120
    draws = rng.random(len(rows))
    parts = [(draws >= low) & (draws < high) for low, high in ((0.0, 0.8), (0.8, 0.9), (0.9, 1.0))]
    train, valid, test = (Interactions.from_rows(rows[part], columns[part], shape, times=times[part]) for part in parts)
    contents = _contents(planted, rng)
    item_ids = np.array([f"i{position:09d}" for position in range(planted.num_items)])
    return FitData(item_ids, train, {content.name: content for content in contents}), valid, test


def _contents(planted: Planted, rng: np.random.Generator) -> list[Content]:
    at = np.arange(planted.num_items)
    clusters = planted.clusters_of(at)
    centres = rng.standard_normal((planted.num_clusters, planted.dim))
    noise = rng.standard_normal((planted.num_items, _NOISY_DIM)).astype(np.float32)
    clear = (centres[clusters] + 0.7 * noise[:, : planted.dim]).astype(np.float32)
    noisy = noise + 0.3 * (clear @ rng.standard_normal((planted.dim, _NOISY_DIM)) / planted.dim**0.5)
    shown = np.where(rng.random(len(at)) < 0.5, clusters, rng.integers(planted.num_clusters, size=len(at)))
    words = rng.integers(planted.num_items // 4 + 1, size=(len(at), 6))
    return [
        Content.from_vectors("image:planted", clear),
        Content.from_vectors("text:noisy", noisy),
        Content.from_tokens("attribute:categories", [[f"c{cluster}"] for cluster in shown]),
        Content.from_tokens("attribute:maker", [[f"m{maker}"] for maker in rng.integers(len(at) // 20, size=len(at))]),
        Content.from_tokens("text:ocr", [[f"w{word}" for word in row] for row in words]),
    ]


def timed(steps: Steps, name: str, work: Callable[[], ResultT]) -> ResultT:
    """The result of some work, after a line that tells what it took."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    step = {
        "seconds": round(time.perf_counter() - wall, 1),
        "processor_seconds": round(time.process_time() - processor, 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    steps[name] = step
    print("{:30s} {:8.1f} s {:8.1f} processor s {:6.2f} GiB at most".format(name, *step.values()), flush=True)
    return result


def measure(train: FitData, valid: Interactions, test: Interactions, config: TrainingConfig, steps: Steps) -> None:
    """Choose settings of the ranker and of each baseline, fit the ranker, and print the steps and the quality."""
    settings = timed(steps, "settings of ranker", partial(choose_settings, train, valid, config))
    print(settings.model_dump_json())
    fitted = timed(steps, "fit of ranker", partial(fit_ranker, train, settings))
    users = ValidationUsers.of(train, test, config)
    print(f"ranker ndcg@10 {users.ndcg(fitted.score(users.histories)):.4f}", flush=True)
    for name in BASELINE_NAMES:
        if name in possible_baselines(train, config):
            chosen = timed(steps, f"settings of {name}", partial(choose_baseline, name, train, valid, config, settings))
            baseline = timed(steps, f"fit of {name}", partial(fit_baseline, train, chosen, fitted))
            print(f"{name} ndcg@10 {users.ndcg(baseline.score(users.histories)):.4f}", flush=True)


def plot_sizes(results: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Plot processor seconds of search and fit, and the peak of memory, against the number of interactions."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (times, memory) = pyplot.subplots(1, 2, figsize=(10, 4))
    for num_items in sorted({result["items"] for result in results.values()}):
        sizes = sorted((r for r in results.values() if r["items"] == num_items), key=lambda r: int(r["events"]))
        events = [result["events"] for result in sizes]
        for step, style in (("settings of ranker", "-"), ("fit of ranker", "--")):
            seconds = [result["steps"][step]["processor_seconds"] for result in sizes]
            times.plot(events, seconds, style, marker="o", label=f"{step}, {num_items:,} items")
        peaks = [max(step["peak_gib"] for step in result["steps"].values()) for result in sizes]
        memory.plot(events, peaks, marker="o", label=f"{num_items:,} items")
    times.set(xscale="log", yscale="log", xlabel="interactions", ylabel="processor seconds")
    memory.set(xscale="log", xlabel="interactions", ylabel="peak of memory, GiB")
    memory.set_ylim(0, 1.15 * memory.dataLim.ymax)
    for axes in (times, memory):
        axes.legend(fontsize="small", frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def save(path: Path, planted: Planted, steps: Steps) -> None:
    """Add a size to the file of results, and plot all of them where there are two."""
    path.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    about = {"users": planted.num_users, "items": planted.num_items, "events": planted.num_events}
    results["x".join(map(str, about.values()))] = {**about, "steps": steps}
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if len(results) > 1:
        plot_sizes(results, path.with_suffix(".png"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.training", description=__doc__)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=PROJECT / "bench" / "training.json", help="file of the results")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    planted = Planted(options.users, options.items, options.events, seed=options.seed)
    steps: Steps = {}
    train, valid, test = timed(steps, "data", partial(planted_parts, planted))
    measure(train, valid, test, TrainingConfig(), steps)
    save(options.json, planted, steps)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
