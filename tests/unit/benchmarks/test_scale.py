from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.benchmarks.planted import Planted
from tests.benchmarks.roles import Process, RolePeaks, run_watched, tree_of
from tests.benchmarks.scale import last_json, main, plot_ratios, size_name

MIB = 2**20


def processes(worker_mib: int) -> list[Process]:
    return [
        Process(1, 0, "init", 900 * MIB, 9.0),
        Process(10, 1, "/x/python\0jobs/train_ranker.py", 100 * MIB, 5.0),
        Process(11, 10, "/usr/bin/java\0-cp\0pyspark", 300 * MIB, 7.0),
        Process(12, 11, "/x/python\0-m\0pyspark.daemon", 20 * MIB, 1.0),
        Process(13, 12, "/x/python\0-m\0pyspark.daemon", worker_mib * MIB, 2.0),
    ]


def test_peaks_are_of_sums_by_role_at_one_moment() -> None:
    peaks = RolePeaks()
    peaks.look(10, processes(80))
    peaks.look(10, processes(30))
    assert {role: size // MIB for role, size in peaks.peak_bytes.items()} == {
        "driver": 100,
        "jvm": 300,
        "workers": 100,
        "others": 0,
    }
    assert peaks.peak_total == 500 * MIB
    assert peaks.cpu_seconds == {"driver": 5.0, "jvm": 7.0, "workers": 3.0, "others": 0}


def test_what_a_process_took_stays_with_its_role_when_it_has_ended() -> None:
    peaks, (*others, worker) = RolePeaks(), processes(80)
    peaks.look(10, [*others, worker])
    peaks.look(10, [*others, Process(worker.pid, worker.parent, "", 0, 6.0)])
    assert peaks.cpu_seconds == {"driver": 5.0, "jvm": 7.0, "workers": 7.0, "others": 0}


def test_processes_of_others_are_left_out() -> None:
    assert [process.pid for process in tree_of(10, processes(1))] == [10, 11, 12, 13]


def test_a_watched_command_keeps_its_output_and_its_memory() -> None:
    code = "import time; x = bytearray(200 << 20); time.sleep(0.5); print('{\"a\": 1}')"
    done, peaks = run_watched([sys.executable, "-c", code], Path.cwd(), os.environ, interval=0.05)
    assert last_json(done.stdout) == {"a": 1}
    assert 200 * MIB < peaks.peak_bytes["driver"] < 400 * MIB


def test_an_unknown_step_is_refused() -> None:
    with pytest.raises(SystemExit):
        main(["--users", "9", "--items", "20", "--events", "9", "--out", "x", "--steps", "ingest"])


def test_two_sizes_make_a_plot(tmp_path: Path) -> None:
    job = {"seconds": 10.0, "peak_total_gib": 1.0}
    sizes = [Planted(users, 20, 10) for users in (10, 100)]
    results = {size_name(size): {"users": size.num_users, "jobs": {"train_ranker": job}} for size in sizes}
    plot_ratios(results, tmp_path / "scale.png")
    assert (tmp_path / "scale.png").stat().st_size > 1_000
