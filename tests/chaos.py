"""Kill the pipeline at random moments, run it again, and compare with a run that was left alone.

    python -m tests.chaos [--kills 20] [--in-a-row 5] [--births 3] [--seed 0]

Each of a few small stores is killed several times in a row (SIGKILL to the process group), then run to its end. Another
is killed just when a table is being made, between its log folder and its first commit; a third lies on a disk that
fills. All tables must equal those of an undisturbed run in keys and content, audit columns aside.
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
from collections.abc import Callable, Iterator
from pathlib import Path

from mmrec_lib.lakehouse.creation import has_commits
from tests.compare import differences
from tests.conftest import MODELS_ROOT, PROJECT
from tests.data.tiny import write_tiny_store

# A store of 30 items is too small for the gate of the first version to mean anything.
SETTINGS = ("promotion.first_must_beat=[]",)
# A kill comes at latest after this share of an undisturbed run.
_LONGEST = 0.45


def command(data: Path, out: Path) -> list[str]:
    """The pipeline's command line for a store."""
    pairs = [f"store.data={data}", f"store.out={out}", f"models.root={MODELS_ROOT}", *SETTINGS]
    return [sys.executable, str(PROJECT / "jobs" / "run_pipeline.py"), "--set", *pairs]


def run_to_end(data: Path, out: Path) -> float:
    """Run the pipeline undisturbed; returns its seconds."""
    start = time.monotonic()
    result = subprocess.run(command(data, out), capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"a run that nobody killed failed:\n{result.stderr[-3000:]}\n{result.stdout[-1000:]}")
    return time.monotonic() - start


def run_and_kill(data: Path, out: Path, after_seconds: float) -> tuple[bool, str]:
    """Start the pipeline, kill its process group after a while; returns whether it still ran, and what it had done."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command(data, out), stdout=log, stderr=log, start_new_session=True)
        try:
            process.wait(timeout=after_seconds)
            was_running = False
        except subprocess.TimeoutExpired:
            was_running = True
        finally:
            # The whole group: Java and the Python workers too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.seek(0)
        done = [line.split("]")[0] + "]" for line in log if line.startswith("[")]
    if not was_running and process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"a run failed by itself with status {process.returncode}")
    return was_running, f"after {done[-1] if done else 'no job'}"


def run_and_kill_at_birth(data: Path, out: Path, number: int) -> str | None:
    """Kill a run while it makes its table of that number; the table, or None when the run was quicker."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command(data, out), stdout=log, stderr=log, start_new_session=True)
        tables, seen = out / "tables", set[str]()
        while process.poll() is None:
            time.sleep(0.0005)
            with contextlib.suppress(OSError):
                for entry in os.scandir(tables):
                    if entry.name in seen or not (tables / entry.name / "_delta_log").is_dir():
                        continue
                    seen.add(entry.name)
                    if len(seen) >= number:
                        os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    unborn = [p.name for p in tables.iterdir() if p.name in seen and not has_commits(str(p))] if tables.exists() else []
    return unborn[0] if unborn else None


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int, skip: Callable[[str], Exception]) -> Iterator[Callable[[int], None]]:
    """A folder on a disk of its own that is soon full; yields a function that makes it larger.

    Args:
        folder: Where; made.
        kilobytes: Its size.
        skip: Makes what is raised where a disk cannot be mounted, from the reason.
    """

    def mount(*arguments: str) -> None:
        result = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise skip(f"a small disk cannot be mounted here ({result.stderr.strip()}); it needs the superuser")

    folder.mkdir(parents=True)
    if os.geteuid() != 0:
        raise skip("a small disk cannot be mounted here; it needs the superuser")
    mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "none")
    try:
        yield lambda larger: mount("-o", f"remount,size={larger}k")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def fill_disk(data: Path, out: Path, kilobytes: int) -> str:
    """Run on a disk that fills, then on one with room, in place; returns what differs from the calm store."""
    with small_disk(out, kilobytes, RuntimeError) as grow:
        result = subprocess.run(command(data, out), capture_output=True, text=True, check=False)
        answer = json.loads(result.stdout.strip().splitlines()[-1])
        if result.returncode != 1 or "disk is full" not in answer["message"]:
            return f"a full disk ended with status {result.returncode} and {answer}"
        grow(1_000_000)
        run_to_end(data, out)
        return "; ".join(differences(out.parent / "calm", out))


def disturb(data: Path, out: Path, label: str, *, most_kills: int, longest: float, rng: random.Random) -> int:
    """Kill a store's runs one after the other until there is nothing left to run; returns the number of kills."""
    kills = 0
    while kills < most_kills:
        after = rng.uniform(0.05, 1.0) * longest
        was_running, done = run_and_kill(data, out, after)
        print(f"{label}: {'killed' if was_running else 'had ended'} at {after:5.1f} s, {done}", flush=True)
        if not was_running:
            break
        kills += 1
    return kills


def _at_births(data: Path, calm: Path, births: int, rng: random.Random) -> int:
    """Kill one store's runs while they make tables; returns 1 when it did not end equal."""
    out, inside = calm.with_name("unborn"), 0
    for number in sorted(rng.sample(range(1, 13), births)):
        table = run_and_kill_at_birth(data, out, number)
        inside += table is not None
        print(f"birth: killed while table {number} was made, {table or 'which had its commit'}", flush=True)
    if not births:
        return 0
    run_to_end(data, out)
    found = differences(calm, out)
    print(f"birth: {inside} of {births} inside, {'; '.join(found) or 'equal to the undisturbed run'}", flush=True)
    return int(bool(found))


def main(argv: list[str] | None = None) -> int:
    """Run the experiment; returns 0 when every store ended equal."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="runs that are killed before they end")
    parser.add_argument("--in-a-row", type=int, default=5, help="kills of one store, at most")
    parser.add_argument("--births", type=int, default=3, help="tables while whose making a run is killed")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(argv)
    rng = random.Random(flags.seed)
    kills = stores = failures = 0
    with tempfile.TemporaryDirectory(prefix="mmrec-chaos-") as scratch:
        data, calm = Path(scratch) / "landing", Path(scratch) / "calm"
        write_tiny_store(data, seed=flags.seed)
        seconds = run_to_end(data, calm)
        print(f"undisturbed run: {seconds:.0f} s", flush=True)
        while kills < flags.kills:
            out, label = Path(scratch) / f"killed-{stores}", f"store {stores}"
            most = min(flags.in_a_row, flags.kills - kills)
            # A killed run continues where the last one stopped, so that kills in a row walk through the pipeline.
            kills += disturb(data, out, label, most_kills=most, longest=_LONGEST * seconds, rng=rng)
            stores += 1
            last = run_to_end(data, out)
            found = differences(calm, out)
            failures += bool(found)
            print(f"{label}: last run {last:.0f} s, {'; '.join(found) or 'equal to the undisturbed run'}", flush=True)
        failures += _at_births(data, calm, flags.births, rng)
        try:
            found_full = fill_disk(data, Path(scratch) / "small", rng.randint(500, 3_000))
            print(f"small disk: {found_full or 'told, and then equal to the undisturbed run'}", flush=True)
            failures += bool(found_full)
        except RuntimeError as reason:
            print(f"small disk: skipped, {reason}", flush=True)
    print(json.dumps({"kills": kills, "stores": stores, "unequal_stores": failures}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
