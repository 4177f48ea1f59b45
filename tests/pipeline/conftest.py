"""A tiny store that went through the whole pipeline, shared by the tests of this folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jobs import ingest_landing, run_pipeline
from mmrec_lib.runtime.main import run_main
from tests.chaos import SETTINGS
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


@pytest.fixture(scope="session")
def demo(spark: object, models_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    expected = write_tiny_store(folder / "landing")
    made = Demo(folder / "landing", folder / "out", models_root, expected)
    assert made.run(noted_as=NEW_STORE) == 0
    return made


@pytest.fixture
def demo_store(demo: Demo) -> Path:
    """OUT of the finished store."""
    return demo.out
