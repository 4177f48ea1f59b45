"""The whole way at scale: a store with planted tastes through the real jobs, each in a process of its own.

    python -m tests.benchmarks.scale --users 100000 --items 20000 --events 1000000 --out FOLDER

Writes seconds, memory and processor time of each job, and the quality of the lists, to bench/scale.json, one entry a
size; with two sizes in it, bench/scale.png shows their ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from tests.benchmarks.planted import Planted, measure_lists, write_store
from tests.benchmarks.roles import ROLES, RolePeaks, run_watched
from tests.conftest import MODELS_ROOT, PROJECT

STEPS = (
    "generate",
    "ingest_landing",
    "extract_text",
    "embed_content",
    "assemble_snapshot",
    "train_ranker",
    "evaluate_ranker",
    "promote_ranker",
    "score_topk",
    "quality",
)
_MEASURED_USERS = 5_000
_GIB = 2**30


def size_name(planted: Planted) -> str:
    """Key of a size in the file of results."""
    return f"{planted.num_users}x{planted.num_items}x{planted.num_events}"


def job_figures(seconds: float, peaks: RolePeaks, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of one job: seconds of the process and of its work, memory and processor time by role."""
    return {
        "seconds": round(seconds, 1),
        "work_seconds": answer.get("seconds"),
        "peak_gib": {role: round(peaks.peak_bytes[role] / _GIB, 3) for role in ROLES},
        "peak_total_gib": round(peaks.peak_total / _GIB, 3),
        "cpu_seconds": {role: round(value, 1) for role, value in peaks.cpu_seconds.items()},
        "status": answer.get("status"),
        "counts": answer.get("counts"),
        "message": answer.get("message"),
    }


def last_json(output: str) -> dict[str, Any]:
    """The answer of a job: the last line of what it printed."""
    lines = output.strip().splitlines()
    answer: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return answer


def run_job(job: str, folder: Path, extra: Sequence[str]) -> dict[str, Any]:
    """Run a job as its task does, in a process of its own.

    Raises:
        SystemExit: When it fails.
    """
    pairs = [f"store.data={folder / 'landing'}", f"store.out={folder / 'out'}", f"models.root={MODELS_ROOT.absolute()}"]
    command = [sys.executable, str(PROJECT / "jobs" / f"{job}.py"), *extra, "--set", *pairs]
    start = time.monotonic()
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done, peaks = run_watched(command, PROJECT, env)
    figures = job_figures(time.monotonic() - start, peaks, last_json(done.stdout))
    if done.returncode != 0:
        raise SystemExit(f"{job} failed: {json.dumps(figures, indent=1)}")
    return figures


def list_quality(planted: Planted, folder: Path) -> dict[str, Any]:
    """Quality of the published lists of some users of the first block."""
    some = min(_MEASURED_USERS, len(planted.user_blocks[0]))
    last = f"u{some - 1:09d}"
    table = DeltaTable(folder / "out" / "tables" / "user_topk").to_pyarrow_dataset()
    rows = table.to_table(columns=["user_id", "item_id"], filter=pc.field("user_id") <= last)
    users = pc.utf8_slice_codeunits(rows["user_id"], 1).cast(pa.int64()).combine_chunks()
    items = planted.items_of_ids(rows["item_id"].combine_chunks())
    return asdict(measure_lists(planted, 0, np.asarray(users.to_numpy(zero_copy_only=False)), items))


def told(job: str, figures: Mapping[str, Any]) -> str:
    """A line for a person."""
    memory = ", ".join(f"{role} {figures['peak_gib'][role]:.2f}" for role in ROLES)
    processor = ", ".join(f"{role} {figures['cpu_seconds'][role]:.0f}" for role in ROLES)
    return f"{job:<18}{figures['seconds']:>9.1f} s   GiB: {memory}   CPU s: {processor}"


def plot_ratios(results: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Plot seconds and peak memory of the largest size as multiples of the next one, by job."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    small, large = sorted(results, key=lambda name: results[name]["users"])[-2:]
    jobs = [job for job in STEPS if job in results[small]["jobs"] and job in results[large]["jobs"]]
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 0.5 * len(jobs) + 2), sharey=True)
    for axis, name in zip(axes, ("seconds", "peak_total_gib"), strict=True):
        ratios = [results[large]["jobs"][job][name] / max(results[small]["jobs"][job][name], 1e-3) for job in jobs]
        axis.barh(jobs, ratios)
        axis.axvline(results[large]["users"] / results[small]["users"], color="black", linestyle="--")
        axis.set_title(f"{name}: {large} over {small}")
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _save(path: Path, key: str, entry: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    earlier = results.get(key, {})
    jobs = {**earlier.get("jobs", {}), **entry["jobs"]}
    results[key] = {**earlier, **entry, "jobs": jobs}
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if len(results) > 1:
        plot_ratios(results, path.with_suffix(".png"))


def _steps(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := sorted(set(names) - set(STEPS)):
        raise argparse.ArgumentTypeError(f"steps must be among {', '.join(STEPS)}, got {', '.join(unknown)}")
    return tuple(step for step in STEPS if step in names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--dim", type=int, default=64, help="length of the vectors (default: 64)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder of the landing files and the store")
    parser.add_argument("--steps", type=_steps, default=STEPS, help=f"comma-separated, of {','.join(STEPS)}")
    parser.add_argument("--conf", type=Path, action="append", default=[], help="further YAML for the jobs; repeatable")
    parser.add_argument("--json", type=Path, default=PROJECT / "bench" / "scale.json", help="file of the results")
    options = parser.parse_args(arguments)
    planted = Planted(options.users, options.items, options.events, options.dim, options.seed)
    extra = [part for path in options.conf for part in ("--conf", str(path.absolute()))]
    folder = options.out.absolute()
    about = {"users": planted.num_users, "items": planted.num_items, "events": planted.num_events, "dim": planted.dim}
    for step in options.steps:
        entry: dict[str, Any] = {**about, "jobs": {}}
        if step == "generate":
            start = time.monotonic()
            write_store(planted, folder / "landing")
            print(f"{step:<18}{time.monotonic() - start:>9.1f} s", flush=True)
            continue
        if step == "quality":
            entry["lists"] = list_quality(planted, folder)
            print(f"{step:<18}{json.dumps(entry['lists'])}", flush=True)
        else:
            entry["jobs"][step] = run_job(step, folder, extra)
            print(told(step, entry["jobs"][step]), flush=True)
        _save(options.json, size_name(planted), entry)
    return 0


if __name__ == "__main__":
    sys.exit(main())
