"""Kill the pipeline at random moments, run it again, and compare with a run that was left alone.

    python -m tests.chaos [--kills 20] [--stores 4] [--seed 0]

Each of a few small stores is killed several times in a row (SIGKILL to the process group), then run to its end. All its
tables must equal those of an undisturbed run in keys and content, audit columns aside.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.compare import differences
from tests.conftest import MODELS_ROOT, PROJECT, QUICK
from tests.data.tiny import write_tiny_store

# A store of 30 items is too small for the gate of the first version to mean anything.
SETTINGS = ("promotion.first_must_beat=[]",)


def command(data: Path, out: Path) -> list[str]:
    """The pipeline's command line for a store."""
    quick = out.parent / "quick.yaml"
    quick.write_text(json.dumps({"spark": {"conf": QUICK}}), encoding="utf-8")
    pairs = [f"store.data={data}", f"store.out={out}", f"models.root={MODELS_ROOT}", *SETTINGS]
    return [sys.executable, str(PROJECT / "jobs" / "run_pipeline.py"), "--conf", str(quick), "--set", *pairs]


def run_to_end(data: Path, out: Path) -> float:
    """Run the pipeline undisturbed; returns its seconds."""
    start = time.monotonic()
    result = subprocess.run(command(data, out), capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"a run that nobody killed failed:\n{result.stderr[-3000:]}\n{result.stdout[-1000:]}")
    return time.monotonic() - start


def run_and_kill(data: Path, out: Path, after_seconds: float) -> str:
    """Start the pipeline, kill its process group after a while; returns what was going on."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command(data, out), stdout=log, stderr=log, start_new_session=True)
        try:
            process.wait(timeout=after_seconds)
            ended = "had ended"
        except subprocess.TimeoutExpired:
            ended = "killed"
        finally:
            # The whole group: Java and the Python workers too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.seek(0)
        done = [line.split("]")[0] + "]" for line in log if line.startswith("[")]
    if ended == "had ended" and process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"a run failed by itself with status {process.returncode}")
    return f"{ended} after {done[-1] if done else 'no job'}"


def main(argv: list[str] | None = None) -> int:
    """Run the experiment; returns 0 when every store ended equal."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--stores", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(argv)
    rng = random.Random(flags.seed)
    with tempfile.TemporaryDirectory(prefix="mmrec-chaos-") as scratch:
        data, calm = Path(scratch) / "landing", Path(scratch) / "calm"
        write_tiny_store(data, seed=flags.seed)
        seconds = run_to_end(data, calm)
        print(f"undisturbed run: {seconds:.0f} s", flush=True)
        failures = 0
        for store in range(flags.stores):
            out = Path(scratch) / f"killed-{store}"
            kills = flags.kills // flags.stores + (store < flags.kills % flags.stores)
            for number in range(kills):
                after = rng.uniform(0.05, 0.95) * seconds
                print(
                    f"store {store}, kill {number + 1} at {after:5.1f} s: {run_and_kill(data, out, after)}", flush=True
                )
            last = run_to_end(data, out)
            found = differences(calm, out)
            failures += bool(found)
            print(
                f"store {store}: last run {last:.0f} s, {'; '.join(found) or 'equal to the undisturbed run'}",
                flush=True,
            )
    print(json.dumps({"kills": flags.kills, "stores": flags.stores, "unequal_stores": failures}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
