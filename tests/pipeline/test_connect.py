"""Jobs in Spark Connect mode, in a process of its own: two kinds of session do not fit into one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mmrec_lib.contracts.bronze import BRONZE
from tests.compare import differences, table_rows
from tests.conftest import PROJECT
from tests.pipeline.conftest import Demo

pytestmark = [pytest.mark.models, pytest.mark.slow]
BRONZE_TABLES = [contract.name for contract in BRONZE]


def run_on_connect(demo: Demo, out: Path, *jobs: str) -> None:
    """Run jobs over the landing folder of the finished store, into a store of its own."""
    pairs = [
        f"store.data={demo.data}",
        f"store.out={out}",
        f"models.root={demo.models}",
        "spark.master=null",
        "spark.remote=local[2]",
        # Texts alone go through a model here: images and speech take the same way.
        "embedding.encode.item.images=null",
        *(f"embedding.extract.images.{kind}=null" for kind in ("ocr", "labels")),
        *(f"embedding.extract.{media}.{kind}=null" for media in ("audio", "video") for kind in ("transcript", "tags")),
    ]
    command = [sys.executable, "-m", "tests.pipeline.connect_core", *jobs, "--set", *pairs]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    assert result.returncode == 0, result.stderr[-3000:]


def test_an_ingest_gives_the_same_tables_in_connect_mode(demo: Demo, tmp_path: Path) -> None:
    run_on_connect(demo, tmp_path, "ingest_landing")
    assert differences(demo.out, tmp_path, BRONZE_TABLES) == []


@pytest.mark.long
def test_the_core_of_the_jobs_gives_the_same_tables_in_connect_mode(demo: Demo, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_on_connect(demo, out, "ingest_landing", "extract_text", "embed_content", "assemble_snapshot")
    assert differences(demo.out, out, [*BRONZE_TABLES, "user_profile"]) == []
    # The ids of snapshots differ, because the images are missing here; what they hold does not.
    pairs_of = [_pairs(store) for store in (demo.out, out)]
    assert pairs_of[0] == pairs_of[1]


def _pairs(out: Path) -> set[tuple[object, ...]]:
    rows = table_rows(out, "training_interaction").to_pylist()
    return {(r["user_id"], r["item_id"], r["train_weight"], r["valid_weight"], r["test_weight"]) for r in rows}
