"""Trials of studies as nested runs, with a plot of each study in the run of the candidate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image

from mmrec_lib.models.tuning.study import Study, Trial
from mmrec_lib.tracking.names import sqlite_uri
from mmrec_lib.training.register import STUDIES_FOLDER, log_studies
from tests.registered import open_registry

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")


def test_each_trial_is_a_run_of_its_own(copy_store: Callable[[str], Path], tmp_path: Path) -> None:
    out = copy_store("store")
    trials = (
        Trial({"form": "sum", "dim": 8, "half life": None}, 0.25, 1.5),
        Trial({"form": "gated", "dim": 4}, 0.5, 2),
    )
    studies = [Study("first_stage", trials, {"dim": 0.75, "form": 0.25}), Study("second_stage", reason="no time")]
    registry = open_registry(out)
    with registry.run("train", {}) as run:
        log_studies(run, studies, tmp_path)
    client = MlflowClient(sqlite_uri(str(out / "mlflow.db")))
    parent = client.get_run(run.run_id)
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.run_id}'", order_by=["attributes.start_time"]
    )
    by_name = {child.info.run_name: child for child in children}
    assert sorted(by_name) == ["first_stage 0", "first_stage 1"]
    assert {child.info.status for child in children} == {"FINISHED"}
    assert by_name["first_stage 0"].data.params == {"form": "sum", "dim": "8", "half life": "None"}
    assert by_name["first_stage 1"].data.metrics["seconds"] == 2
    assert 0.5 in by_name["first_stage 1"].data.metrics.values()
    assert sorted(value for name, value in parent.data.metrics.items() if "importance" in name) == [0.25, 0.75]
    with Image.open(client.download_artifacts(run.run_id, f"{STUDIES_FOLDER}/first_stage.png", str(tmp_path))) as image:
        assert image.size[0] > 800
    assert not any("second" in artifact.path for artifact in client.list_artifacts(run.run_id, STUDIES_FOLDER))


def test_without_studies_nothing_is_logged(copy_store: Callable[[str], Path], tmp_path: Path) -> None:
    out = copy_store("store")
    with open_registry(out).run("train", {}) as run:
        log_studies(run, [], tmp_path)
    assert not MlflowClient(sqlite_uri(str(out / "mlflow.db"))).list_artifacts(run.run_id)
