"""Quality of the ranker on the public protocols P1 to P4, in numpy alone: no Spark, no stores.

    python -m tests.benchmarks.quality --data <folder of data sets> [--vectors <folder>] [--protocol P1] [--seed 0]

`--data` holds ml-100k-mm and lastfm-2k-mm; `--vectors` may hold more item vectors of ml-100k-mm as
`<modality>-<field>.parquet` (item_id, vector). Settings are chosen on validation; test is read once. Each row names its
protocol, model, numbers and seconds. Protocols are those of `tests.benchmarks.protocols`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from mmrec_lib.evaluation.metrics import rank_metrics
from mmrec_lib.models.config import BASELINE_NAMES, BaselineName, TrainingConfig
from mmrec_lib.models.data import FitData, Histories, Interactions
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.tuning.baselines import choose_baseline, fit_baseline
from mmrec_lib.models.tuning.choose import choose_settings
from mmrec_lib.models.tuning.validation import without
from tests.benchmarks.protocols import split_p1, split_p2, split_p3
from tests.benchmarks.store_arrays import StoreArrays, read_store

SEEDS = {"P1": (0, 1, 2, 3, 4), "P2": (0,), "P3": (0, 1, 2), "P4": (0,)}
Scores = Callable[[Histories], np.ndarray]


@dataclass(frozen=True)
class Judge:
    """Test users of one run, with train items masked and users averaged as QUALITY asks."""

    histories: Histories
    relevant: object
    cold_items: np.ndarray

    @classmethod
    def of(cls, fitted: FitData, test: Interactions) -> Judge:
        """Users with something relevant that the fit had not seen."""
        relevant = without(test.weights, fitted.interactions.weights)
        users = np.flatnonzero(np.diff(relevant.indptr) > 0)
        return cls(fitted.histories().rows(users), relevant[users], fitted.interactions.item_counts() == 0)

    def by_user(self, score: Scores) -> dict[str, np.ndarray]:
        """Metrics of each user over the full catalogue; `cold:` ones over users and items without interactions."""
        scores = np.array(score(self.histories))
        weights = self.histories.weights
        scores[np.repeat(np.arange(len(scores)), np.diff(weights.indptr)), weights.indices] = -np.inf
        values = dict(rank_metrics(scores, self.relevant, (10, 20)))
        warm = np.diff(weights.indptr) > 0
        values["warm:ndcg@10"] = values["ndcg@10"][warm]
        values["cold:ndcg@10"] = values["ndcg@10"][~warm]
        cold_relevant = self.relevant[:, np.flatnonzero(self.cold_items)]
        users = np.flatnonzero(np.diff(cold_relevant.indptr) > 0)
        if len(users):
            only = np.ascontiguousarray(scores[users][:, self.cold_items])
            values["cold_items:recall@20"] = rank_metrics(only, cold_relevant[users], (20,))["recall@20"]
            hits = scores[users].copy()
            top = np.argsort(-hits, axis=1, kind="stable")[:, :20]
            dense = self.relevant[users].toarray() > 0
            found = np.take_along_axis(dense & self.cold_items, top, axis=1).sum(axis=1)
            values["cold_items_in_all:recall@20"] = found / np.diff(cold_relevant[users].indptr)
        return values


def parts(store: StoreArrays, protocol: str, seed: int) -> np.ndarray:
    """[events] train, valid or test of a protocol."""
    by_event = np.argsort(store.order, kind="stable")
    items = store.item_ids[store.items]
    split = np.empty(len(items), dtype="<U5")
    if protocol == "P1":
        split[by_event] = split_p1(items[by_event], seed)
    elif protocol == "P2":
        stamps = [datetime.fromtimestamp(seconds, UTC) for seconds in store.times[by_event]]
        split[by_event] = split_p2(stamps, list(store.order[by_event]))
    elif protocol == "P3":
        split[by_event] = split_p3(items[by_event], list(store.item_ids), seed)
    else:
        split = store.split
    return split


def run(
    store: StoreArrays, protocol: str, seed: int, config: TrainingConfig, baselines: Sequence[BaselineName]
) -> Iterator[tuple[str, str, dict[str, np.ndarray], float]]:
    """Rows of (fit, model, metrics by user, seconds) of one protocol and seed."""
    split = parts(store, protocol, seed)
    train, valid = store.fit_data(split == "train"), store.interactions(split == "valid")
    fits: Mapping[str, FitData] = {
        "P1": {"fit2": store.fit_data(split != "test")},
        "P2": {"fit1": train, "fit2": store.fit_data(split != "test")},
        "P3": {"fit2": store.fit_data(split != "test")},
        "P4": {"fit1": train},
    }[protocol]
    test = store.interactions(split == "test")
    started = time.perf_counter()
    settings = choose_settings(train, valid, config)
    print(f"# {protocol} seed {seed}: {settings.model_dump_json()}")
    chosen = time.perf_counter() - started
    for fit, data in fits.items():
        started = time.perf_counter()
        fitted = fit_ranker(data, settings)
        judge = Judge.of(data, test)
        yield fit, "ranker", judge.by_user(fitted.score), chosen + time.perf_counter() - started
    for name in baselines:
        started = time.perf_counter()
        baseline_settings = choose_baseline(name, train, valid, config)
        chosen = time.perf_counter() - started
        for fit, data in fits.items():
            started = time.perf_counter()
            fitted_baseline = fit_baseline(data, baseline_settings)
            judge = Judge.of(data, test)
            yield fit, name, judge.by_user(fitted_baseline.score), chosen + time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.quality", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with ml-100k-mm and lastfm-2k-mm")
    parser.add_argument("--vectors", type=Path, default=None, help="folder with more vectors of ml-100k-mm")
    parser.add_argument("--protocol", choices=[*SEEDS, "all"], default="all")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--baselines", nargs="*", choices=BASELINE_NAMES, default=list(BASELINE_NAMES))
    parser.add_argument("--exclude", nargs="*", default=[], help="content blocks to leave out")
    options = parser.parse_args(arguments)
    if not options.data.is_dir():
        parser.error(f"--data: {options.data} is no folder; give the folder that holds ml-100k-mm and lastfm-2k-mm")
    config = TrainingConfig(exclude_content=tuple(options.exclude))
    for protocol in SEEDS if options.protocol == "all" else [options.protocol]:
        name = "lastfm-2k-mm" if protocol == "P4" else "ml-100k-mm"
        store = read_store(options.data / name, None if protocol == "P4" else options.vectors)
        collected: dict[tuple[str, str], list[dict[str, np.ndarray]]] = {}
        for seed in SEEDS[protocol] if options.seed is None else [options.seed]:
            for fit, model, values, seconds in run(store, protocol, seed, config, options.baselines):
                collected.setdefault((fit, model), []).append(values)
                print(f"{protocol} seed {seed} {fit} {model:18s} {_means(values)}  {seconds:.1f} s", flush=True)
        for (fit, model), runs in collected.items():
            summary = {key: np.array([values[key].mean() for values in runs]) for key in runs[0] if len(runs[0][key])}
            line = "  ".join(f"{key} {np.mean(v):.4f} ± {np.std(v):.4f}" for key, v in summary.items())
            print(f"{protocol} mean {fit} {model:18s} {line}", flush=True)
            if model == "ranker":
                continue
            difference = np.concatenate(
                [a["ndcg@10"] - b["ndcg@10"] for a, b in zip(collected[fit, "ranker"], runs, strict=True)]
            )
            # Seeds share users, so the error of one seed's users is the honest one.
            error = difference.std() / np.sqrt(len(difference) / len(runs))
            print(
                f"{protocol} mean {fit} ranker - {model}: ndcg@10 {difference.mean():+.4f} ± {1.96 * error:.4f} (95 %)"
            )
    return 0


def _means(values: Mapping[str, np.ndarray]) -> str:
    return "  ".join(f"{key} {value.mean():.4f}" for key, value in values.items() if len(value))


if __name__ == "__main__":
    raise SystemExit(main())
