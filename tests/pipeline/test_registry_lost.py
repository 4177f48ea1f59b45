"""Models that are gone, and stores that moved: the pipeline sees it, makes again what is gone and uses its own files.

Every step is a program of its own, as in life: nothing that MLflow keeps in a process can help.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import SETTINGS
from tests.compare import content_of, table_rows
from tests.conftest import PROJECT, QUICK
from tests.data.tiny import write_tiny_store
from tests.pipeline.test_hostile_names import ENCODERS

pytestmark = [pytest.mark.models, pytest.mark.slow]


class Store:
    """A landing folder and its store."""

    def __init__(self, folder: Path, models: Path) -> None:
        self.data, self.out, self._models = folder / "landing", folder / "out", models

    def run(self, job: str = "run_pipeline", *more: str) -> dict[str, Any]:
        """Run a job as a program; returns its last line."""
        quick = self.out.parent / "quick.yaml"
        quick.write_text(json.dumps({"spark": {"conf": QUICK}}), encoding="utf-8")
        pairs = [f"store.data={self.data}", f"store.out={self.out}", f"models.root={self._models}"]
        command = [sys.executable, str(PROJECT / "jobs" / f"{job}.py"), *more, "--conf", str(quick)]
        command += ["--set", *pairs, *SETTINGS, *ENCODERS]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
        assert result.returncode == 0, f"{result.stdout[-1500:]}\n{result.stderr[-1500:]}"
        return dict(json.loads(result.stdout.splitlines()[-1]))

    def succeeded(self, summary: dict[str, Any]) -> set[str]:
        """Jobs of a pipeline run that had something to do."""
        return {run["job"] for run in summary["jobs"] if run["status"] == "succeeded"}

    @property
    def model_version(self) -> str:
        """Version of the lists."""
        return str({row["model_version"] for row in table_rows(self.out, "user_topk").to_pylist()})


def test_what_the_registry_lost_is_made_again_and_a_moved_store_uses_its_own(models_root: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    store = Store(first, models_root)
    write_tiny_store(store.data)
    store.run()
    lists = content_of(store.out, "user_topk")
    assert store.model_version == "{'1'}"

    # The database is gone: the same fit is made again as version 1, judged and promoted; its lists are there already.
    (store.out / "mlflow.db").unlink()
    assert store.succeeded(store.run()) >= {"train_ranker", "evaluate_ranker", "promote_ranker"}
    assert content_of(store.out, "user_topk") == lists
    assert store.succeeded(store.run()) == set()

    # The champion's weights are gone: a new version takes its place, without a gate between equals.
    next(store.out.glob("mlartifacts/models/*/artifacts/artifacts/ranker/model.safetensors")).unlink()
    summary = store.run()
    assert store.succeeded(summary) >= {"train_ranker", "evaluate_ranker", "promote_ranker", "score_topk"}
    (promoted,) = [run["message"] for run in summary["jobs"] if run["job"] == "promote_ranker"]
    assert promoted == "version 2: promoted: the same fit as champion 1, whose files are gone"
    assert store.model_version == "{'2'}"
    assert {key: row for key, row in lists.items()}.keys() == content_of(store.out, "user_topk").keys()

    # A copy next to an original whose artifacts are rubbish: nothing new, and a forced run reads its own.
    second = tmp_path / "second"
    shutil.copytree(first, second)
    for path in store.out.glob("mlartifacts/**/*"):
        if path.is_file():
            path.write_bytes(b"rubbish")
    copy = Store(second, models_root)
    assert copy.succeeded(copy.run()) == set()
    assert copy.run("score_topk", "--force")["status"] == "succeeded"

    # Without the original at all.
    shutil.rmtree(first)
    assert copy.run("score_topk", "--force")["status"] == "succeeded"
    assert copy.model_version == "{'2'}"
