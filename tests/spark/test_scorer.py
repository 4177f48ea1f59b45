"""The scorer through the tables: texts of a snapshot, and lists by workers as evaluated."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.errors import NoDataError
from mmrec_lib.features.interactions import Cuts
from mmrec_lib.features.item_texts import items_with_texts
from mmrec_lib.features.load import Snapshot, SnapshotItems
from mmrec_lib.features.scorer import snapshot_scorer
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.recipes.scorer import scorer_revision
from mmrec_lib.recipes.scorer_config import ScorerConfig
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.scoring.catalogue import save_catalogue
from mmrec_lib.scoring.config import ListConfig
from mmrec_lib.scoring.profiles import score_profiles, scored_columns
from mmrec_lib.scoring.scorer import with_scorer
from mmrec_lib.scoring.users import ScoringTask, score_batch
from tests.unit.generation.test_likelihood import WORDS, make_judge
from tests.unit.models.checkerboard import SETTINGS
from tests.unit.models.circle import circle
from tests.unit.scoring.test_published_scorer import catalogue_of

pytestmark = pytest.mark.slow
AT = datetime(2026, 3, 1, tzinfo=UTC)
CUTS = Cuts(AT.date(), "by_time", AT, AT)
NO_STEPS = RerankingConfig()
PROFILE = (
    "user_id string, attributes map<string,string>, seen_item_ids array<string>, input_hash long, "
    "history array<struct<item_id: string, weight: double, last_ts: timestamp>>"
)


@pytest.mark.slow
def test_texts_of_a_snapshot_are_judged_alike_here_and_by_workers(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lakehouse(spark, StoreConfig(out=str(tmp_path / "out")), "run-1", AT)

    def frame(name: str, rows: list[dict[str, Any]]) -> DataFrame:
        schema = CONTRACTS[name].input_schema
        return spark.createDataFrame([tuple(row.get(column) for column in schema.names) for row in rows], schema)

    config = ScorerConfig(model=str(tmp_path / "models" / "judge"), num_candidates=6, max_tokens=128, device="cpu")
    ranker = fit_ranker(circle().train, SETTINGS)
    ids = ranker.item_ids.tolist()
    told = {"owner_kind": "item", "kind": "written", "position": 0, "content_id": "c"}
    texts = [
        {**told, "owner_id": one, "field": field, "text": text}
        for n, one in enumerate(ids)
        for field, text in (("title", f"{WORDS[n % 4]} {WORDS[n % 3]}."), ("description", WORDS[n % 11]))
        if n != 3
    ]
    lake.append("owner_text", frame("owner_text", texts))
    items = spark.createDataFrame([(one,) for one in ids], "item_id string")
    assert items_with_texts(lake, items, ScorerConfig()).where("title IS NOT NULL OR document IS NOT NULL").isEmpty()
    of_snapshot = items_with_texts(lake, items, config).select(F.lit("s").alias("snapshot_id"), "*")
    lake.append("training_item", of_snapshot)

    make_judge(tmp_path / "models" / "judge")
    snapshot = Snapshot("s", CUTS, ranker.item_ids[:0], ranker.item_ids, ranker.warm, {}, {}, {})
    scorer = snapshot_scorer(lake, config, snapshot)
    assert scorer is not None and scorer.untried.revision == scorer_revision(config)
    assert scorer.texts.titles[:4].tolist() == ["red red.", "blue blue.", "shoe shoe.", None]
    assert scorer.texts.documents[4] == "red blue. yes" and scorer.texts.documents[3] is None
    with pytest.raises(NoDataError, match="snapshot other has no texts of items"):
        snapshot_scorer(lake, config, replace(snapshot, snapshot_id="other"))

    judged = replace(ranker, scorer=replace(scorer.untried, weight=1.0, deviation=1e-3))
    catalogue = with_scorer(lake, catalogue_of(judged), SnapshotItems("s", CUTS, ranker.item_ids, pa.table({})), config)
    judged.save(tmp_path / "ranker")
    uri = lake.staging_path(f"catalogue-{uuid.uuid4().hex}")
    save_catalogue(catalogue, tmp_path / "ranker", uri)
    people = [
        (f"u{n}", None, ids[n : n + 4], n, [(one, 1.0, AT + timedelta(hours=n)) for one in ids[n : n + 4]])
        for n in range(12)
    ]
    profiles = spark.createDataFrame(people, PROFILE)
    lists, day = ListConfig(k=5, explained_ranks=0), date(2026, 3, 1)
    scored = score_profiles(lake, profiles, ScoringTask(uri, lists, NO_STEPS), day, 1).frame(spark)
    by_workers = {row["user_id"]: row["item_ids"] for row in scored.collect()}
    here = pa.Table.from_batches(lake.stream_arrow("profiles", scored_columns(profiles, day).coalesce(1)))
    (batch,) = here.combine_chunks().to_batches()
    in_process = score_batch(batch, replace(catalogue, scorer=scorer.candidates), lists, NO_STEPS).to_pylist()
    assert {row["user_id"]: row["item_ids"] for row in in_process} == by_workers and len(by_workers) == 12
    unjudged = score_batch(batch, catalogue_of(judged), lists, NO_STEPS).to_pylist()
    assert any(row["item_ids"] != by_workers[row["user_id"]] for row in unjudged)
