"""Quality of the ranker, of baselines and of variants on the public protocols P1 to P4, without Spark and stores.

    python -m tests.benchmarks.quality --data <folder of data sets> --out <folder> [--vectors <folder>] [--protocol P1]

`--data` holds ml-100k-mm and lastfm-2k-mm; `--vectors` may hold more item vectors of ml-100k-mm as
`<modality>-<field>.parquet` (item_id, vector). Settings are chosen on validation; test is read once. Each finished run
is a file of `<out>/runs`, and a benchmark that was interrupted goes on; `<out>/quality.json` and the plots are written
after each protocol. `--quick` takes one seed and two settings a reference model.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from mmrec_lib.models.config import RankerSettings, TrainingConfig
from tests.benchmarks.quality.contenders import GROUPS, Contender, Fitted, choose_ranker, contenders
from tests.benchmarks.quality.plots import plot_all
from tests.benchmarks.quality.runs import RunKey, RunResult, finished
from tests.benchmarks.quality.splits import PROTOCOLS, Judge, Protocol, Split, read_data, split_store
from tests.benchmarks.quality.summary import RANKER, Row, summarise

NUM_SETTINGS, NUM_QUICK_SETTINGS = 4, 2


class Benchmark:
    """Runs of one protocol, each done once."""

    def __init__(self, protocol: Protocol, options: argparse.Namespace) -> None:
        self.protocol = protocol
        self.out: Path = options.out
        self.config = TrainingConfig(exclude_content=tuple(options.exclude))
        self.store = read_data(protocol, options.data, options.vectors)
        names = tuple(name for name in sorted(self.store.contents) if name not in options.exclude)
        self.contents = list(names)
        every = contenders(names, self.config, NUM_QUICK_SETTINGS if options.quick else NUM_SETTINGS)
        self.contenders = {
            name: contender
            for name, contender in every.items()
            if name == RANKER or (contender.group in options.groups and (not options.models or name in options.models))
        }
        if unknown := sorted(set(options.models) - set(every)):
            raise SystemExit(f"--models: must be among {', '.join(every)}; got {', '.join(unknown)}")
        self.runs: dict[str, dict[int, RunResult]] = {name: {} for name in self.contenders}

    def run(self, seed: int) -> None:
        """All contenders on one seed; what is finished is read."""
        split = split_store(self.store, self.protocol, seed)
        settings: RankerSettings | None = None
        for name, contender in self.contenders.items():
            if seed != self.protocol.seeds[0] and not (contender.is_random or self.protocol.is_random):
                continue
            key = RunKey(self.protocol.name, seed, name)
            inputs = {"contents": self.contents, **contender.inputs}
            result = finished(self.out, key, inputs)
            if result is None:
                result = self._result(split, contender, inputs, settings)
                result.write(key.path(self.out))
            if name == RANKER:
                settings = RankerSettings.model_validate(result.settings)
            self.runs[name][seed] = result
            _print(key, result)

    def _result(
        self, split: Split, contender: Contender, inputs: Mapping[str, object], settings: RankerSettings | None
    ) -> RunResult:
        reason = contender.reason_against(split.train)
        if reason is not None:
            return RunResult(inputs, {}, None, 0.0, {}, reason)
        started = time.process_time()
        fitted: Fitted = contender.fit(split, settings or choose_ranker(split, self.config))
        values = {name: Judge.of(split.fits[name], split.test).by_user(score) for name, score in fitted.scores.items()}
        seconds = round(time.process_time() - started, 1)
        return RunResult(inputs, fitted.settings, fitted.num_tried, seconds, values, figures=fitted.figures)

    def rows(self) -> list[Row]:
        """The summary of all runs so far."""
        groups = {name: contender.group for name, contender in self.contenders.items()}
        return summarise(self.protocol.name, self.runs, groups, self.protocol.is_random)


def _print(key: RunKey, result: RunResult) -> None:
    figures = [
        f"{fit} {segment} {metric} {values[metric].mean():.4f}"
        for fit, segments in result.values.items()
        for segment, values in segments.items()
        for metric in ("ndcg@10", "recall@20")
        if metric in values
    ]
    figures += [f"{name} {value:.4f}" for name, value in result.figures.items()]
    told = "  ".join(figures) if result.left_out is None else f"left out: {result.left_out}"
    print(f"{key.protocol} seed {key.seed} {key.contender:24s} {told}  {result.seconds:.1f} s", flush=True)


def write_summary(out: Path, benchmarks: Mapping[str, Benchmark]) -> Path:
    """Write `quality.json` and the plots from all runs so far."""
    rows = [row for benchmark in benchmarks.values() for row in benchmark.rows()]
    runs = [
        {
            "protocol": protocol,
            "seed": seed,
            "contender": name,
            "settings": result.settings,
            "num_tried": result.num_tried,
            "seconds": result.seconds,
            "left_out": result.left_out,
            "figures": result.figures,
        }
        for protocol, benchmark in benchmarks.items()
        for name, by_seed in benchmark.runs.items()
        for seed, result in by_seed.items()
    ]
    contents = {protocol: benchmark.contents for protocol, benchmark in benchmarks.items()}
    path = out / "quality.json"
    path.write_text(
        json.dumps({"contents": contents, "rows": [asdict(row) for row in rows], "runs": runs}, indent=1) + "\n"
    )
    plot_all(rows, out)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.quality", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with ml-100k-mm and lastfm-2k-mm")
    parser.add_argument("--out", type=Path, required=True, help="gets runs, quality.json and plots")
    parser.add_argument("--vectors", type=Path, default=None, help="folder with more vectors of ml-100k-mm")
    parser.add_argument("--protocol", nargs="*", choices=list(PROTOCOLS), default=list(PROTOCOLS))
    parser.add_argument("--seed", nargs="*", type=int, default=None, help="seeds; all of the protocol where not given")
    parser.add_argument("--groups", nargs="*", choices=GROUPS, default=list(GROUPS), help="the ranker is always there")
    parser.add_argument("--models", nargs="*", default=[], help="only these of the groups")
    parser.add_argument("--exclude", nargs="*", default=[], help="content blocks to leave out")
    parser.add_argument("--quick", action="store_true", help="one seed, two settings a reference model")
    options = parser.parse_args(arguments)
    if not options.data.is_dir():
        parser.error(f"--data: {options.data} is no folder; give the folder that holds ml-100k-mm and lastfm-2k-mm")
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    benchmarks: dict[str, Benchmark] = {}
    for name in options.protocol:
        benchmark = benchmarks[name] = Benchmark(PROTOCOLS[name], options)
        seeds = PROTOCOLS[name].seeds if options.seed is None else options.seed
        for seed in seeds[:1] if options.quick else seeds:
            benchmark.run(seed)
        print(f"written: {write_summary(options.out, benchmarks)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
