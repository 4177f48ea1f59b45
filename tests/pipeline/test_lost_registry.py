"""Models that are gone, and stores that moved: the pipeline sees it, makes again what is gone and uses its own files.

Everything happens in copies of the finished store, each under a path of its own, so that nothing that MLflow keeps in
this process can help.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from jobs import score_topk
from mmrec_lib.runtime.main import run_main
from tests.compare import content_of, table_rows
from tests.pipeline.conftest import Demo

pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.long]


def ran(demo: Demo, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Run the pipeline; messages of the jobs that had something to do."""
    capsys.readouterr()
    assert demo.run() == 0
    summary = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    return {run["job"]: run["message"] for run in summary["jobs"] if run["status"] == "succeeded"}


def store_copied(demo: Demo, out: Path) -> Demo:
    shutil.copytree(demo.out, out)
    return replace(demo, out=out)


def versions_of_lists(demo: Demo) -> set[str]:
    return {row["model_version"] for row in table_rows(demo.out, "user_topk").to_pylist()}


def test_a_lost_registry_is_made_again_and_a_copy_uses_its_own(
    demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = content_of(demo.out, "user_topk")

    # The database is gone: the same fit is registered again as version 1, evaluated and promoted; its lists are there.
    first = store_copied(demo, tmp_path / "first")
    (first.out / "mlflow.db").unlink()
    found = ran(first, capsys)
    assert set(found) >= {"train_ranker", "evaluate_ranker", "promote_ranker"}
    assert found["promote_ranker"].startswith("version 1: promoted")
    assert content_of(first.out, "user_topk") == lists

    # A copy beside an original whose artifacts are rubbish: nothing new, and a forced job reads the copy's own.
    second = store_copied(first, tmp_path / "second")
    for path in first.out.glob("mlartifacts/**/*"):
        if path.is_file():
            path.write_bytes(b"rubbish")
    assert ran(second, capsys) == {}
    assert run_main(score_topk.JOB, ["--force", *second._settings]) == 0
    assert content_of(second.out, "user_topk") == lists

    # The champion's weights are gone: the same fit takes its place as a new version.
    third = store_copied(second, tmp_path / "third")
    shutil.rmtree(first.out)
    shutil.rmtree(second.out)
    for path in third.out.glob("mlartifacts/models/*/artifacts/artifacts/ranker/model.safetensors"):
        path.unlink()
    found = ran(third, capsys)
    assert set(found) >= {"train_ranker", "evaluate_ranker", "promote_ranker", "score_topk"}
    assert found["promote_ranker"] == "version 2: promoted: the same fit as champion 1, whose files are gone"
    assert versions_of_lists(third) == {"2"}
    assert content_of(third.out, "user_topk").keys() == lists.keys()
    assert ran(third, capsys) == {}
