"""A tiny store that went through the whole pipeline: made once for all test processes, read by all, never changed."""

from __future__ import annotations

import fcntl
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jobs import ingest_landing, run_pipeline
from mmrec_lib.runtime.main import run_main
from tests.chaos import SETTINGS
from tests.conftest import shared_folder
from tests.data.tiny import write_tiny_store
from tests.spark_jobs import counting_jobs

NEW_STORE = "new store"


@dataclass(frozen=True)
class Demo:
    """A landing folder, its store, and what the generator says must come out."""

    data: Path
    out: Path
    models: Path
    expected: dict[str, Any]
    spark_jobs: dict[str, dict[str, int]] = field(default_factory=dict)

    def run(self, *more: str, noted_as: str = "") -> int:
        """Run the pipeline in this process, note how many Spark jobs each job takes; returns the exit status."""
        with counting_jobs() as counts:
            status = run_pipeline.main([*self._settings, *more])
        self.spark_jobs[noted_as] = dict(counts)
        return status

    def run_ingest(self) -> int:
        """Run the first job alone, as its file does; returns the exit status."""
        return run_main(ingest_landing.JOB, self._settings)

    @property
    def _settings(self) -> list[str]:
        pairs = [f"store.data={self.data}", f"store.out={self.out}", f"models.root={self.models}", *SETTINGS]
        return ["--set", *pairs]

    @property
    def summary(self) -> dict[str, Any]:
        """The store's summary.json."""
        return json.loads((self.out / "summary.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    def copied(self, folder: Path) -> Demo:
        """A copy of landing folder and store side by side, which knows itself as moved; it may be changed."""
        shutil.copytree(self.data.parent, folder, copy_function=shutil.copy2)
        return Demo(folder / self.data.name, folder / self.out.name, self.models, self.expected)


@pytest.fixture(scope="session")
def demo(spark: object, models_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The finished store. Tests only read it; who changes it takes `demo.copied`."""
    folder = shared_folder(tmp_path_factory) / "demo"
    note = folder.with_name("demo.json")
    with folder.with_name("demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if note.exists():
            noted = json.loads(note.read_text(encoding="utf-8"))
            return Demo(folder / "landing", folder / "out", models_root, noted["expected"], noted["spark_jobs"])
        # What a process left that failed here is no store to go on with.
        shutil.rmtree(folder, ignore_errors=True)
        made = Demo(folder / "landing", folder / "out", models_root, write_tiny_store(folder / "landing"))
        assert made.run(noted_as=NEW_STORE) == 0
        noted = {"expected": made.expected, "spark_jobs": made.spark_jobs}
        note.write_text(json.dumps(noted), encoding="utf-8")
        return made


@pytest.fixture
def demo_store(demo: Demo) -> Path:
    """OUT of the finished store."""
    return demo.out
