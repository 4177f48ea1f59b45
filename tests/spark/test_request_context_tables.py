"""The context of requests from events to what fits and lists see of it: devices, searches and words of items."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.features.assemble import assemble
from mmrec_lib.features.config import FeaturesConfig
from mmrec_lib.features.load import Snapshot, load_snapshot, present_profiles
from mmrec_lib.ingest.config import DEFAULT_EVENT_TYPES
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.second_stage_settings import ContextKind
from mmrec_lib.scoring.affected import with_input_hash
from mmrec_lib.scoring.profiles import scored_columns

START = datetime(2025, 3, 1, tzinfo=UTC)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    """Ten events, one an hour, by two users; user u searches before each of hers."""
    folder: Path = tmp_path_factory.mktemp("context")
    store = StoreConfig(data=str(folder / "landing"), out=str(folder / "out"))
    house = Lakehouse(spark, store, "run-1", datetime(2026, 1, 1, tzinfo=UTC))

    def put(table: str, rows: list[dict[str, object]]) -> None:
        schema = CONTRACTS[table].input_schema
        full = [{**dict.fromkeys(schema.names), **row} for row in rows]
        house.merge(table, spark.createDataFrame(full, schema))

    put("user", [{"user_id": user, "updated_at": START, "is_declared": True} for user in "uv"])
    put("item", [{"item_id": f"i{n}", "available": True, "updated_at": START} for n in range(10)])
    text = {"owner_kind": "item", "field": "title", "kind": "written", "position": 0, "content_id": "c"}
    put("owner_text", [{**text, "owner_id": "i3", "text": "A blue hat"}])
    devices = ({"device": " iOS "}, {"device": "web"}, {}, None)
    seen: list[dict[str, object]] = [
        {
            "event_id": f"e{n}",
            "user_id": "uv"[n % 2],
            "item_id": f"i{n}",
            "event_type": "view",
            "event_ts": START + timedelta(hours=n),
            "attributes": devices[n % 4],
        }
        for n in range(10)
    ]
    searched: list[dict[str, object]] = [
        {
            "event_id": f"s{n}",
            "user_id": "u",
            "event_type": "search",
            "query": words,
            "event_ts": START + timedelta(hours=n - 0.5),
        }
        for n, words in [(0, "red"), (4, "blue hat"), (6, " "), (8, "green"), (25, "tomorrow")]
    ]
    put("event", seen + searched)
    return house


def assembled(lake: Lakehouse, *context: ContextKind, **features: object) -> Snapshot:
    config = FeaturesConfig.model_validate({"train_share": 0.6, "valid_share": 0.2, **features})
    assemble(lake, config, DEFAULT_EVENT_TYPES, date(2025, 3, 2), refit_on_valid=True, context=context)
    return load_snapshot(lake)


def test_nothing_is_kept_of_it_where_nobody_asks(lake: Lakehouse) -> None:
    snapshot = assembled(lake)
    assert snapshot.searches is None and snapshot.item_texts is None and snapshot.device_names == ()
    assert all(part.devices is None for part in snapshot.parts.values())
    assert not lake.read("user_profile").where(F.col("last_search").isNotNull()).count()
    assert snapshot.fit_data("fit1").histories().context is None


def test_fits_know_what_was_before_their_cuts(lake: Lakehouse) -> None:
    plain = assembled(lake)
    snapshot = assembled(lake, "device", "search")
    assert snapshot.data_hash != plain.data_hash
    assert sorted(snapshot.device_names) == ["ios", "web"]
    train = snapshot.fit_data("fit1")
    assert train.interactions.devices is not None
    names = [*train.device_names, None]
    items = [str(snapshot.item_ids[column]) for column in train.interactions.weights.indices]
    told = dict(zip(items, [names[code] for code in train.interactions.devices], strict=True))
    assert told == {"i0": "ios", "i1": "web", "i2": None, "i3": None, "i4": "ios", "i5": "web"}
    assert snapshot.item_texts is not None
    assert [text for text in snapshot.item_texts if text is not None] == ["A blue hat"]
    # Half an hour before the first event of valid (6 o'clock), at 8 for test, and at the as-of date.
    for fit, words in (("fit1", "blue hat"), ("fit2", "green"), ("fit3", "green")):
        context = snapshot.fit_data(fit).histories().context
        assert context is not None
        assert context.searches.tolist() == [words, None], fit
    later = snapshot.parts["valid"].devices
    assert later is not None and len(later) == 2


def test_lists_know_the_last_search_and_follow_from_it(lake: Lakehouse) -> None:
    assembled(lake, "search")
    profiles = present_profiles(lake)
    last = {row["user_id"]: row["last_search"] for row in profiles.select("user_id", "last_search").collect()}
    assert last == {"u": "green", "v": None}

    def hashes(words: str) -> dict[str, int]:
        other = profiles.withColumn("last_search", F.lit(words))
        return {row["user_id"]: row["input_hash"] for row in with_input_hash(other, []).collect()}

    assert hashes("red")["u"] != hashes("blue")["u"]
    without = with_input_hash(profiles.drop("last_search"), [])
    assert "last_search" not in scored_columns(without, date(2025, 3, 2)).columns
    assert "last_search" in scored_columns(with_input_hash(profiles, []), date(2025, 3, 2)).columns


def test_searches_need_parts_that_follow_each_other(lake: Lakehouse) -> None:
    snapshot = assembled(lake, "search", split="random_by_item", split_seed=3)
    assert snapshot.searches is None
    assert not lake.read("user_profile").where(F.col("last_search").isNotNull()).count()
