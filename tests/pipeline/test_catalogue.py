"""The whole graph in catalogue mode, job by job with the command lines of the bundle, as Databricks runs it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from pyspark.sql import SparkSession

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.contracts.bronze import BRONZE
from mmrec_lib.runtime.graph import load_graph
from mmrec_lib.runtime.main import run_main
from tests.bundle import command_lines
from tests.chaos import SETTINGS
from tests.compare import differences, table_rows
from tests.conftest import PROJECT
from tests.pipeline.conftest import Demo

pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.long]

SCHEMA = "mmrec_catalogue"
MODEL = f"spark_catalog.{SCHEMA}.mmrec_ranker"
PIPELINE = PROJECT / "resources" / "pipeline.job.yml"
MAINTENANCE = PROJECT / "resources" / "maintenance.job.yml"
# Texts alone go through a model here: images and speech take the same way, and path mode has tested it.
CHEAP = (
    "embedding.encode.item.images=null",
    "models.encoders.all-minilm-l6-v2.dtype=float32",
    *(f"embedding.extract.{kind}=null" for kind in ("images.ocr", "images.labels", "audio.transcript", "audio.tags")),
    *(f"embedding.extract.{kind}=null" for kind in ("video.transcript", "video.tags")),
)


@dataclass(frozen=True)
class Cluster:
    """A schema with its folders, and how jobs run on it; its tables lie where those of a path-mode store would."""

    data: Path
    folder: Path
    models: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    def run(self, resource: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
        """Run the tasks of a resource file one by one; the summary of each."""
        lines = command_lines(
            resource, "prod", service_principal="none", catalog="spark_catalog", schema=SCHEMA, landing=str(self.data)
        )
        # A volume is a folder; MLflow is a file.
        here = [
            f"store.staging={self.folder}/work/staging",
            f"store.report_folder={self.folder}/work/report",
            f"models.root={self.models}",
            f"tracking.tracking_uri={self.tracking_uri}",
            "tracking.registry_uri=null",
            *SETTINGS,
            *CHEAP,
        ]
        summaries = {}
        for task in load_graph(resource):
            status = run_main(importlib.import_module(f"jobs.{task.key}").JOB, [*lines[task.key], "--set", *here])
            said = capsys.readouterr()
            assert status == 0, said.err
            summaries[task.key] = json.loads(said.out.splitlines()[-1])
        return summaries


@pytest.fixture(scope="module")
def cluster(spark: SparkSession, demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(demo.data, tmp_path_factory.mktemp("catalogue"), demo.models)
    MlflowClient(made.tracking_uri).create_experiment("/Shared/mmrec", str(made.folder / "mlartifacts"))
    spark.sql(f"CREATE SCHEMA {SCHEMA} LOCATION '{made.out}/tables'")
    yield made
    spark.sql(f"DROP SCHEMA {SCHEMA} CASCADE")


def test_the_whole_graph_runs_job_by_job_in_catalogue_mode(
    cluster: Cluster, demo: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    done = cluster.run(PIPELINE, capsys)
    assert {job: summary["status"] for job, summary in done.items()} == dict.fromkeys(done, "succeeded")
    assert differences(demo.out, cluster.out, [*(contract.name for contract in BRONZE), "user_profile"]) == []

    report = cluster.folder / "work" / "report"
    summary = json.loads((report / "summary.json").read_text(encoding="utf-8"))
    assert (report / "report.html").stat().st_size > 10_000
    assert summary["model"] == {"name": MODEL, "version": "1", "alias": "champion"}
    assert {name: rows for name, rows in summary["tables"].items() if name in demo.expected["tables"]} == (
        demo.expected["tables"]
    )
    version = MlflowClient(cluster.tracking_uri).get_model_version_by_alias(MODEL, "champion")
    lists = table_rows(cluster.out, "user_topk").to_pylist()
    assert {row["user_id"] for row in lists} == {row["user_id"] for row in table_rows(cluster.out, "user").to_pylist()}
    assert {row["model_version"] for row in lists} == {version.version}

    # Nothing stays behind, here or where a folder was not meant.
    assert list((cluster.folder / "work" / "staging").glob("*")) == []
    assert not (PROJECT / "None").exists()


def test_a_second_run_has_nothing_to_do_and_neither_has_one_after_maintenance(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    def commits() -> dict[str, int]:
        made = [name for name in CONTRACTS if name != "job_run" and (cluster.out / "tables" / name).is_dir()]
        return {name: len(list((cluster.out / "tables" / name / "_delta_log").glob("*.json"))) for name in made}

    before = commits()
    again = cluster.run(PIPELINE, capsys)
    assert {job: summary["status"] for job, summary in again.items()} == dict.fromkeys(again, "skipped")
    assert commits() == before
    kept = cluster.run(MAINTENANCE, capsys)
    assert kept["maintain_tables"]["status"] == "succeeded"
    after = cluster.run(PIPELINE, capsys)
    assert {job: summary["status"] for job, summary in after.items()} == dict.fromkeys(after, "skipped")
