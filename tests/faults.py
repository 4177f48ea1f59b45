"""Do on purpose what bad luck does to machines, and look that each fault is told and mended.

    python -m tests.faults [--only NAME …] [--list]

Every case breaks something of a small store, runs the pipeline, and expects one sentence, JSON as the last line, and
after the cause is gone a run that ends as if nothing had happened. Cases that need rights or tools which this machine
does not give are skipped, with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import command, small_disk
from tests.compare import differences
from tests.conftest import PROJECT
from tests.data.tiny import write_tiny_store

# A person reads a screen, not a trace.
_MOST_LINES = 60
_NOBODY = 65_534


class FaultError(AssertionError):
    """Raised when a fault was not told or not mended as it must be."""


class SkipError(Exception):
    """Raised when this machine cannot do a case."""


@dataclass(frozen=True)
class Ended:
    """The end of a run: its status, the JSON of its last line and what a person saw."""

    status: int
    answer: Mapping[str, Any]
    stderr: str

    @property
    def message(self) -> str:
        """The sentence of a failure."""
        return str(self.answer.get("message"))


@dataclass
class Bench:
    """A landing folder, a finished store made from it, and room for broken copies."""

    scratch: Path
    data: Path
    calm: Path
    number: int = field(default=0)

    def new_out(self) -> Path:
        """A place for a store that does not exist yet."""
        self.number += 1
        return self.scratch / f"case-{self.number}" / "out"

    def copy(self) -> Path:
        """A copy of the finished store."""
        out = self.new_out()
        shutil.copytree(self.calm, out, symlinks=True)
        return out


def start(data: Path, out: Path, *more: str, user: int | None = None) -> subprocess.Popen[str]:
    """Start the pipeline in a process group of its own."""
    out.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    if user is not None:
        environment |= {"HOME": str(out.parent), "TMPDIR": str(out.parent), "USER": "nobody"}
    return subprocess.Popen(
        [*command(data, out), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        user=user,
        env=environment,
    )


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for a run; whatever happened to it, it ends with JSON and without a trace."""
    stdout, stderr = process.communicate(timeout=900)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    last = (stdout.strip().splitlines() or [""])[-1]
    try:
        answer = json.loads(last)
    except ValueError:
        raise FaultError(f"the last line is no JSON: {last[:200]!r}; stderr: {stderr[-1500:]}") from None
    trace = re.search(r"Traceback \(most recent call last\)|^\s+at (?:org|java|scala|io)\.", stderr, re.MULTILINE)
    if trace is not None:
        raise FaultError(f"a trace was printed: {stderr[max(0, trace.start() - 300) : trace.start() + 900]}")
    if stderr.count("\n") > _MOST_LINES:
        raise FaultError(f"{stderr.count(chr(10))} lines on standard error, such as {stderr[:600]}")
    return Ended(process.returncode, answer, stderr)


def run(data: Path, out: Path, *more: str, user: int | None = None) -> Ended:
    """Run the pipeline to its end."""
    return finish(start(data, out, *more, user=user))


def require(condition: object, what: str) -> None:
    """Fail a case."""
    if not condition:
        raise FaultError(what)


def require_told(ended: Ended, error: str, pattern: str) -> None:
    """A failed run says what happened, in a sentence that matches."""
    require(ended.status == 1, f"status {ended.status}, 1 is needed: {ended.answer}")
    require(ended.answer.get("error") == error, f"{error} is needed, got {ended.answer}")
    require(re.search(pattern, ended.message), f"{pattern!r} is needed, got {ended.message!r}")


def require_healed(bench: Bench, out: Path, data: Path | None = None, calm: Path | None = None) -> Ended:
    """The next run succeeds, and the store equals one that nothing happened to."""
    ended = run(data or bench.data, out)
    require(ended.status == 0, f"the run after the fault failed: {ended.answer}")
    found = differences(calm or bench.calm, out)
    require(not found, f"the store differs: {'; '.join(found)}")
    return ended


def require_reported(ended: Ended, job: str, words: str) -> None:
    """A job of a whole run reported these words."""
    message = str(next(entry["message"] for entry in ended.answer["jobs"] if entry["job"] == job))
    require(words in message, f"{words!r} is needed from {job}, got {message!r}")


def require_healed_without(bench: Bench, *names: str) -> Ended:
    """A finished store loses tables; the next run makes them anew."""
    out = bench.copy()
    for name in names:
        shutil.rmtree(out / "tables" / name)
    return require_healed(bench, out)


# disks


def small_disk_fills(bench: Bench) -> None:
    """OUT on a disk that fills while the store is made, at several sizes."""
    need = sum(p.stat().st_size for p in bench.calm.rglob("*") if p.is_file()) // 1024
    for share in (0.02, 0.35, 0.75):
        out = bench.new_out()
        with small_disk(out, max(64, int(share * need)), SkipError) as grow:
            require_told(run(bench.data, out), "MachineError", r"disk is full.*B free.*Free space")
            grow(4 * need + 200_000)
            require_healed(bench, out)


def files_may_not_grow(bench: Bench) -> None:
    """A limit on the size of files (ulimit -f), as quotas have it."""
    out = bench.new_out()
    out.parent.mkdir(parents=True)
    limited = ["bash", "-c", 'ulimit -f 48; trap "" XFSZ; exec "$@"', "bash", *command(bench.data, out)]
    process = subprocess.Popen(
        limited, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
    )
    require_told(finish(process), "MachineError", "disk is full, or a file grew")
    require_healed(bench, out)


# tables and logs


def bronze_table_removed(bench: Bench) -> None:
    """A table of records is gone: every landing file is read again."""
    ended = require_healed_without(bench, "item", "event")
    require_reported(ended, "ingest_landing", "made anew: event (gone")


def bronze_table_removed_and_its_files_too(bench: Bench) -> None:
    """A table of records is gone, and so is a file that filled it: named, and mended when the file is back."""
    out = bench.copy()
    shutil.rmtree(out / "tables" / "item")
    file = next(p for p in sorted(bench.data.rglob("items*")) if p.is_file())
    away = bench.scratch / "away"
    file.rename(away)
    try:
        named = re.escape(file.relative_to(bench.data).as_posix())
        require_told(run(bench.data, out), "StoreError", rf"item \(gone.*{named}.*backup.*new OUT")
    finally:
        away.rename(file)
    require_healed(bench, out)


def older_table_restored(bench: Bench) -> None:
    """A table as an old backup has it: what is missing comes again."""
    out = bench.copy()
    log = out / "tables" / "event" / "_delta_log"
    commits = sorted(log.glob("*.json"))
    require(len(commits) > 1, "the table has one commit only")
    for path in log.iterdir():
        if path.name.lstrip(".").startswith(tuple(c.stem for c in commits[1:])):
            path.unlink()
    require_reported(require_healed(bench, out), "ingest_landing", "made anew: event (")


def derived_tables_removed(bench: Bench) -> None:
    """Every table that jobs derive from records is gone, first one half, then the other."""
    names = sorted(p.name for p in (bench.calm / "tables").iterdir())
    bronze = set(bench_bronze())
    derived = [name for name in names if name not in bronze]
    for half in (derived[::2], derived[1::2]):
        require_healed_without(bench, *half)


def ledger_removed(bench: Bench) -> None:
    """The table of runs is gone, and one of records with it: store.json knows of both."""
    ended = require_healed_without(bench, "job_run", "review")
    require("job_run is gone" in ended.stderr, f"not told: {ended.stderr}")


def all_tables_removed(bench: Bench) -> None:
    """All tables are gone."""
    out = bench.copy()
    shutil.rmtree(out / "tables")
    require_healed(bench, out)


def log_folders_without_commit(bench: Bench) -> None:
    """Log folders without a commit, as a run leaves them that is killed while it makes tables."""
    out = bench.new_out()
    shutil.copytree(bench.calm, out, ignore=shutil.ignore_patterns("tables", "mlflow.db", "mlartifacts"))
    for name in ("landing_file", "event", "content_embedding", "user_topk", "job_run"):
        log = out / "tables" / name / "_delta_log"
        log.mkdir(parents=True)
        (log / ".00000000000000000000.json.5f2c.tmp").write_text("{", encoding="utf-8")
    require_healed(bench, out)


def log_cut_short(bench: Bench) -> None:
    """The newest commit of a table is cut: told; moved away, the table is made anew."""
    out = bench.copy()
    newest = max((out / "tables" / "event" / "_delta_log").glob("*.json"))
    newest.write_bytes(newest.read_bytes()[:50])
    require_told(run(bench.data, out), "StoreError", r"Table event: .*damaged.*backup.*made anew")
    (out / "tables" / "event").rename(bench.scratch / f"event-{bench.number}")
    require_healed(bench, out)


def data_file_removed(bench: Bench) -> None:
    """A file of rows is gone: told by name; moved away, the table is made anew."""
    out = bench.copy()
    for path in (out / "tables" / "item").rglob("*.parquet"):
        path.unlink()
    require_told(run(bench.data, out, "--force"), "StoreError", r"Table item: .*(missing or )?damaged.*backup")
    (out / "tables" / "item").rename(bench.scratch / f"item-{bench.number}")
    require_healed(bench, out)


# processes


def java_killed(bench: Bench) -> None:
    """Spark's process is killed in the middle of a run."""
    out = bench.new_out()
    process = start(bench.data, out)
    wait_for_table(out, "event", process)
    for pid in children_of(process.pid, "java"):
        os.kill(pid, signal.SIGKILL)
    require_told(finish(process), "MachineError", "Java: Spark's process ended")
    require_healed(bench, out)


def workers_killed(bench: Bench) -> None:
    """Python workers are killed as soon as they start, until the run gives up."""
    out = bench.new_out()
    process = start(bench.data, out)
    stop = threading.Event()

    def hunt() -> None:
        while not stop.wait(0.02):
            for pid in children_of(process.pid, "pyspark.daemon"):
                if pid != min(children_of(process.pid, "pyspark.daemon"), default=pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        ended = finish(process)
    finally:
        stop.set()
        hunter.join()
    require_told(ended, "MachineError", "Python worker")
    require_healed(bench, out)


def driver_told_to_end(bench: Bench) -> None:
    """SIGTERM, as schedulers send it: it ends soon, says so, and leaves no temporary files."""
    out = bench.new_out()
    process = start(bench.data, out)
    wait_for_table(out, "event", process)
    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    ended = finish(process)
    require_told(ended, "InterruptedRunError", "told to end.*run it again")
    require(time.monotonic() - sent < 60, f"it took {time.monotonic() - sent:.0f} s to end")
    require(not list((out / "staging").glob("*/run-*")), "temporary files stay")
    require_healed(bench, out)


# the landing folder


def landing_files_change(bench: Bench) -> None:
    """A record file is written while it is read: nothing is lost once it is whole."""
    data, out = bench.scratch / f"changing-{bench.number}", bench.new_out()
    shutil.copytree(bench.data, data)
    file = next(p for p in sorted(data.rglob("events/*")) if p.suffix == ".jsonl")
    whole = file.read_bytes()
    stop = threading.Event()

    def rewrite() -> None:
        part = 0
        while not stop.wait(0.05):
            part = (part + 977) % len(whole)
            file.write_bytes(whole[:part])

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        run(data, out)
    finally:
        stop.set()
        writer.join()
    file.write_bytes(whole)
    ended = run(data, out)
    require(ended.status == 0, f"the run after the fault failed: {ended.answer}")
    found = differences(bench.calm, out, ["event"])
    require(not found, f"events differ: {found}")


def landing_holds_pipes_and_devices(bench: Bench) -> None:
    """Pipes and devices stand among the record files: they are named, and nothing waits for them."""
    data, out = bench.scratch / f"pipes-{bench.number}", bench.new_out()
    shutil.copytree(bench.data, data)
    os.mkfifo(data / "events" / "pipe.jsonl")
    os.mkfifo(data / "images" / "pipe.jpg")
    try:
        os.mknod(data / "events" / "zero.jsonl", 0o20666, os.makedev(1, 5))
    except PermissionError as error:
        raise SkipError("device files need the superuser") from error
    ended = run(data, out)
    require(ended.status == 0, f"the run failed: {ended.answer}")
    for name in ("pipe.jsonl", "zero.jsonl"):
        require(name in ended.stderr + json.dumps(ended.answer), f"{name} was passed over without a word")
    found = differences(bench.calm, out, ["event", "item"])
    require(not found, f"the store differs: {found}")


def landing_refuses_access(bench: Bench) -> None:
    """A record file and a folder that this user may not read: named, and the rest goes on."""
    require_superuser()
    data, out = bench.scratch / f"refused-{bench.number}", bench.new_out()
    shutil.copytree(bench.data, data)
    open_to_all(bench.scratch, data)
    out.parent.mkdir(parents=True)
    os.chown(out.parent, _NOBODY, _NOBODY)
    extra = data / "events" / "closed.jsonl"
    extra.write_text("{}\n", encoding="utf-8")
    extra.chmod(0)
    closed = data / "reviews_closed"
    closed.mkdir(mode=0o700)
    (closed / "r.jsonl").write_text("{}\n", encoding="utf-8")
    ended = run(data, out, user=_NOBODY)
    require(ended.status == 0, f"the run failed: {ended.answer}")
    told = ended.stderr + json.dumps(ended.answer)
    for name in ("closed.jsonl", "reviews_closed"):
        require(name in told, f"{name} was passed over without a word")


# OUT


def out_refuses_access(bench: Bench) -> None:
    """OUT belongs to somebody else."""
    require_superuser()
    out = bench.new_out()
    open_to_all(bench.scratch, bench.data)
    out.parent.mkdir(parents=True, mode=0o755)
    ended = run(bench.data, out, user=_NOBODY)
    require_told(ended, "StoreError", "cannot be written.*Choose another OUT")
    require(not out.exists(), "something was written")


def out_moved(bench: Bench) -> None:
    """OUT is moved: the registry and all tables come along."""
    made = bench.new_out()
    require(run(bench.data, made).status == 0, "the first run failed")
    moved = bench.new_out()
    moved.parent.mkdir(parents=True)
    made.rename(moved)
    ended = require_healed(bench, moved)
    require({entry["status"] for entry in ended.answer["jobs"]} == {"skipped"}, f"work was done: {ended.answer}")
    forced = run(bench.data, moved, "--force")
    require(forced.status == 0, f"a forced run failed: {forced.answer}")
    require(not made.exists(), "something was written to the old place")


def registry_removed(bench: Bench) -> None:
    """MLflow's database is gone: the model is registered anew."""
    out = bench.copy()
    (out / "mlflow.db").unlink()
    require_healed(bench, out)


def registry_damaged(bench: Bench) -> None:
    """MLflow's database is damaged: told; moved away, the model is registered anew."""
    out = bench.copy()
    (out / "mlflow.db").write_bytes(b"no database" * 500)
    require_told(run(bench.data, out), "ModelError", r"mlflow\.db cannot be read .*backup.*trains and registers")
    (out / "mlflow.db").rename(out.parent / "mlflow.db.damaged")
    require_healed(bench, out)


def links_planted(bench: Bench) -> None:
    """Links in the place of files of OUT: what they lead to is never written."""
    out = bench.copy()
    victim = out.parent / "victim"
    victim.write_text("precious", encoding="utf-8")
    (out / "store.lock").unlink(missing_ok=True)
    (out / "store.lock").symlink_to(victim)
    require_told(run(bench.data, out), "StoreError", r"store\.lock is not a plain file.*remove it")
    (out / "store.lock").unlink()
    for name in ("report.html", "summary.json"):
        (out / name).unlink()
        (out / name).symlink_to(victim)
    require_healed(bench, out)
    ended = run(bench.data, out, "--force")
    require(ended.status == 0, f"the forced run failed: {ended.answer}")
    require(victim.read_text(encoding="utf-8") == "precious", "a link was followed")


def staging_is_shared(bench: Bench) -> None:
    """`store.staging` holds files of others: they stay, whoever is killed."""
    out, staging = bench.new_out(), bench.scratch / f"staging-{bench.number}"
    precious = [staging / "thesis.tex", staging / "run-1" / "data", staging / "mmrec-other" / "run-1" / "x.parquet"]
    for path in precious:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious", encoding="utf-8")
    flag = f"store.staging={staging}"
    process = start(bench.data, out, "--set", flag)
    wait_for_table(out, "landing_file", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    left = list(staging.glob("mmrec-*/run-2*"))
    require(left, "the killed run left nothing, so that this proves nothing")
    ended = run(bench.data, out, "--set", flag)
    require(ended.status == 0, f"the run after the kill failed: {ended.answer}")
    require(not any(path.exists() for path in left), "what the killed run left is still there")
    require(all(path.read_text(encoding="utf-8") == "precious" for path in precious), "files of others are gone")


def umask_is_strict(bench: Bench) -> None:
    """A process whose files are its own: nobody else can read what it writes, Java's files included."""
    out = bench.new_out()
    before = os.umask(0o077)
    try:
        ended = run(bench.data, out)
    finally:
        os.umask(before)
    require(ended.status == 0, f"the run failed: {ended.answer}")
    open_files = [path for path in (out, *out.rglob("*")) if path.lstat().st_mode & 0o077 and not path.is_symlink()]
    require(not open_files, f"{len(open_files)} files are open to others, such as {open_files[:3]}")


CASES: dict[str, Callable[[Bench], None]] = {
    case.__name__: case
    for case in (
        small_disk_fills,
        files_may_not_grow,
        bronze_table_removed,
        bronze_table_removed_and_its_files_too,
        older_table_restored,
        derived_tables_removed,
        ledger_removed,
        all_tables_removed,
        log_folders_without_commit,
        log_cut_short,
        data_file_removed,
        java_killed,
        workers_killed,
        driver_told_to_end,
        landing_files_change,
        landing_holds_pipes_and_devices,
        landing_refuses_access,
        out_refuses_access,
        out_moved,
        registry_removed,
        registry_damaged,
        links_planted,
        staging_is_shared,
        umask_is_strict,
    )
}


# help


def bench_bronze() -> tuple[str, ...]:
    """Tables that the ingest writes."""
    from mmrec_lib.ingest.run import WRITES

    return (*WRITES, "data_quality_result", "job_run")


def require_superuser() -> None:
    """Skip a case that runs as another user."""
    if os.geteuid() != 0:
        raise SkipError("running as another user needs the superuser")


def open_to_all(*folders: Path) -> None:
    """Let every user enter these folders, those above them, and read what is in them."""
    for folder in folders:
        for place in (folder, *folder.parents):
            if place.stat().st_uid == os.geteuid() and place != Path(place.root):
                place.chmod(place.stat().st_mode | 0o755)
    probe = [sys.executable, "-c", f"import sys; open({str(PROJECT / 'setup.py')!r}).close()"]
    if subprocess.run(probe, user=_NOBODY, capture_output=True, check=False, cwd="/").returncode != 0:
        raise SkipError(f"another user cannot read {PROJECT} or run {sys.executable}")


def children_of(pid: int, name: str) -> list[int]:
    """Processes that a process started, directly or not, whose command line holds a name; Spark's leave its group."""
    parents, named = dict[int, int](), set[int]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(fields[1])
            if name in stat.with_name("cmdline").read_text(errors="replace"):
                named.add(int(stat.parent.name))

    def descends(child: int) -> bool:
        while child in parents:
            child = parents[child]
            if child == pid:
                return True
        return False

    return sorted(child for child in named if descends(child))


def wait_for_table(out: Path, name: str, process: subprocess.Popen[str]) -> None:
    """Wait until a run has made a table."""
    while process.poll() is None:
        if any((out / "tables" / name / "_delta_log").glob("*.json")):
            return
        time.sleep(0.02)
    raise FaultError(f"the run ended before it made {name}: {process.communicate()[1][-600:]}")


@contextlib.contextmanager
def made_bench(kept: Path | None) -> Iterator[Bench]:
    """A tiny store that went through the pipeline; `kept` is where it stays for the next time."""
    with tempfile.TemporaryDirectory(prefix="mmrec-faults-") as folder:
        home = kept or Path(folder)
        bench = Bench(Path(folder), home / "landing", home / "calm" / "out")
        if not bench.data.exists():
            write_tiny_store(bench.data)
        ended = run(bench.data, bench.calm)
        if ended.status != 0:
            raise SystemExit(f"an undisturbed run failed: {ended.answer}\n{ended.stderr[-2000:]}")
        yield bench


def main(argv: list[str] | None = None) -> int:
    """Run the cases; returns 0 when all faults were told and mended."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--keep", type=Path, help="folder where the undisturbed store stays for the next time")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    flags = parser.parse_args(argv)
    if flags.list:
        print("\n".join(f"{name:40} {(case.__doc__ or '').splitlines()[0]}" for name, case in CASES.items()))
        return 0
    outcomes: dict[str, str] = {}
    with made_bench(flags.keep) as bench:
        for name in flags.only:
            began = time.monotonic()
            try:
                CASES[name](bench)
                outcomes[name] = "ok"
            except SkipError as reason:
                outcomes[name] = f"skipped: {reason}"
            except Exception as error:
                outcomes[name] = f"FAILED: {error}"
                if not isinstance(error, FaultError):
                    traceback.print_exc()
            print(f"{name:40} {time.monotonic() - began:5.0f} s  {outcomes[name]}", flush=True)
    failed = sorted(name for name, outcome in outcomes.items() if outcome.startswith("FAILED"))
    print(json.dumps({"cases": len(outcomes), "failed": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
