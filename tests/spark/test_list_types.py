"""Lists by item and by audience over tables: counting on small frames, and a planted store with known answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.score_lists import JOB
from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.errors import PublishingError
from mmrec_lib.features.acts import NO_TIME
from mmrec_lib.features.interactions import Cuts
from mmrec_lib.ingest.config import DEFAULT_EVENT_TYPES, EventTypeConfig
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.job_tables import JobTables
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.list_types.events import list_events
from mmrec_lib.list_types.pairs import basket_pairs, transition_pairs
from mmrec_lib.list_types.run import make_lists
from mmrec_lib.listing.config import (
    BoughtTogetherConfig,
    ContinueWithConfig,
    ListsConfig,
    PopularLikeYouConfig,
)
from mmrec_lib.publishing.exports import lists_by_key
from mmrec_lib.publishing.slices import current_rows
from mmrec_lib.scoring.list_rules import KnownItems
from mmrec_lib.showing.config import ShowingConfig
from tests.conftest import PROJECT

DAY = date(2026, 3, 1)
END = datetime(2026, 3, 1, tzinfo=UTC)
EVENTS = "user_id string, item_id string, event_ts timestamp, basket string"


# counting


def events(spark: SparkSession, *rows: tuple[str, str, float | None, str | None]) -> DataFrame:
    """Rows of (user, item, hours before the end or None without a time, basket)."""
    full = [
        (user, item, datetime(1970, 1, 1, tzinfo=UTC) if hours is None else END - timedelta(hours=hours), basket)
        for user, item, hours, basket in rows
    ]
    return spark.createDataFrame(full, EVENTS)


def counts(rows: DataFrame) -> dict[tuple[str | None, str | None], tuple[int, int]]:
    return {(r["item_id"], r["related_item_id"]): (r["num_pairs"], r["num_reversed"]) for r in rows.collect()}


def test_a_basket_ends_after_a_pause_and_named_ones_are_kept_apart(spark: SparkSession) -> None:
    rows = events(
        spark,
        ("u", "a", 100, None),
        ("u", "b", 90, None),
        ("u", "b", 89, None),
        ("u", "c", 10, None),
        ("v", "a", 100, "order-1"),
        ("v", "c", 1, "order-1"),
        ("v", "b", 100, "order-2"),
        ("v", "a", None, None),
        *(("w", item, 5, None) for item in "abcd"),
    )
    found = counts(basket_pairs(rows, BoughtTogetherConfig(min_support=1, basket_hours=24, max_basket_items=3)))
    assert found == {
        ("a", "b"): (1, 1),
        ("b", "a"): (1, 1),
        ("a", "c"): (1, 1),
        ("c", "a"): (1, 1),
        ("a", None): (2, 2),
        ("b", None): (2, 2),
        ("c", None): (2, 2),
        (None, None): (4, 4),
    }, "the basket of four items is too large, and what has no time and no basket is in none"


def test_the_next_item_is_the_first_one_after_it_within_days(spark: SparkSession) -> None:
    rows = events(
        spark,
        ("u", "a", 50, None),
        ("u", "b", 40, None),
        ("u", "a", 30, None),
        ("u", "c", 20, None),
        ("v", "b", 50, None),
        ("v", "a", 40, None),
        ("w", "a", 24 * 40, None),
        ("w", "b", 10, None),
        ("x", "a", 5, None),
        ("x", "b", 5, None),
        ("y", "a", None, None),
    )
    found = counts(transition_pairs(rows, ContinueWithConfig(min_support=1, max_days=30)))
    assert found == {
        ("a", "b"): (1, 1),
        ("b", "a"): (1, 1),
        ("b", "c"): (1, 0),
        ("a", None): (1, 1),
        ("b", None): (2, 1),
        ("c", None): (0, 1),
        (None, None): (3, 3),
    }


# a planted store: an order of phone and case, phones that are alike, a series of books, a hat in fashion in DE


@dataclass(frozen=True)
class Shop:
    lakehouse: Lakehouse
    config: ListsConfig
    showing: ShowingConfig

    def make(self, run: str = "run-2", **config: Any) -> dict[str, int]:
        store = self.lakehouse
        lakehouse = Lakehouse(store.spark, store.store, run, datetime(2026, 3, 2, tzinfo=UTC))
        tables = JobTables(lakehouse, JOB.name, reads=JOB.reads, writes=JOB.writes)
        settings = self.config.model_copy(update=config)
        return make_lists(tables, settings, self.showing, DEFAULT_EVENT_TYPES)

    def lists(self, name: str, list_type: str) -> dict[str, list[str]]:
        owner, item = ("item_id", "related_item_id") if name == "item_topk" else ("audience", "item_id")
        rows = current_rows(self.fresh(), name).where(F.col("list_type") == list_type).orderBy("rank").collect()
        found: dict[str, list[str]] = {}
        for row in rows:
            found.setdefault(row[owner], []).append(row[item])
            assert row["rank"] == len(found[row[owner]])
        return found

    def fresh(self) -> Lakehouse:
        """The store as another run sees it."""
        return Lakehouse(self.lakehouse.spark, self.lakehouse.store, "run-9", self.lakehouse.written_at)


ITEMS: dict[str, dict[str, Any]] = {
    "book-1": {"categories": ["books"], "attributes": {"series": "saga", "part": "1"}},
    "book-2": {"categories": ["books"], "attributes": {"series": "saga", "part": "2"}},
    "case": {"categories": ["cases"]},
    "hat": {"categories": ["hats"], "markets": ["DE"]},
    "lamp": {"categories": ["lamps"]},
    "mug": {"categories": ["mugs"]},
    "phone-a": {"categories": ["phones"]},
    "phone-b": {"categories": ["phones"]},
    "sold-out": {"categories": ["lamps"], "available": False},
}
LOOKS = {"phone-a": [1.0, 0.1, 0.0], "phone-b": [1.0, 0.0, 0.1], "case": [0.0, 1.0, 0.0], "lamp": [0.0, 0.0, 1.0]}
USERS = {f"u{n:02d}": {"country": "DE" if n % 2 else "FR", "age": "21" if n < 20 else "58"} for n in range(40)}


def planted_events() -> Iterator[tuple[str, str, str, float]]:
    """User, item, type and days before the end."""
    users = sorted(USERS)
    for n, user in enumerate(users):
        # Everybody buys something alone, long ago and lately, so that nothing is bought by all in one basket.
        yield user, "mug", "purchase", 20 + n / 100
        yield user, "lamp", "purchase", 6 + n / 100
        if n < 8:
            yield user, "phone-a", "purchase", 12 + n / 100
            yield user, "case", "purchase", 12.01 + n / 100
            yield user, "phone-b", "purchase", 12.02 + n / 100
            yield user, "sold-out", "purchase", 12.03 + n / 100
        if 8 <= n < 18:
            yield user, "sold-out", "view", 3 + n / 100
            yield user, "book-2", "view", 2 + n / 100
        if n % 2:
            yield user, "hat", "view", 1 + n / 100
    yield "gone", "mug", "purchase", 1.0
    yield "u00", "hat", "purchase", -1.0


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    out = tmp_path_factory.mktemp("lists") / "out" / "demo"
    lakehouse = Lakehouse(spark, StoreConfig(data=str(out / "landing"), out=str(out)), "run-1", END)
    at = END - timedelta(days=400)

    def write(name: str, rows: list[dict[str, Any]]) -> None:
        schema = CONTRACTS[name].input_schema
        values = [tuple(row.get(column) for column in schema.names) for row in rows]
        lakehouse.append(name, spark.createDataFrame(values, schema))

    write("item", [{"item_id": i, "available": True, "updated_at": at, **fields} for i, fields in ITEMS.items()])
    write("user", [{"user_id": u, "updated_at": at, "is_declared": True, "attributes": a} for u, a in USERS.items()])
    told = [
        {"event_id": f"e{n}", "user_id": u, "item_id": i, "event_type": kind, "event_ts": END - timedelta(days=days)}
        for n, (u, i, kind, days) in enumerate(planted_events())
    ]
    write("event", told)
    profiles = []
    for user, attributes in USERS.items():
        own = [e for e in told if e["user_id"] == user and e["event_ts"] < END]
        history = [(e["item_id"], 1.0, e["event_ts"]) for e in own if user != "u39"]
        known = {"num_events": len(own), "event_counts": {}, "history": history, "seen_item_ids": []}
        profiles.append({"user_id": user, "attributes": attributes, **known})
    write("user_profile", profiles)
    write("training_item", [{"snapshot_id": "s1", "item_id": i} for i in ITEMS])
    looks = [
        {"snapshot_id": "s1", "fit": "all", "feature": "image:images", "item_id": i, "vector": v}
        for i, v in LOOKS.items()
    ]
    write("training_content", looks)
    numbers = {"num_users": 40, "num_items": 9, "num_interactions": 100, "table_versions": {}}
    about = {"snapshot_id": "s1", "as_of_date": DAY, "split_source": "by_time", "is_current": True}
    write("training_snapshot", [{**about, **numbers}])
    config = ListsConfig(
        k=3,
        bought_together=BoughtTogetherConfig(min_llr=3),
        popular_like_you=PopularLikeYouConfig(min_users=5, prior=2),
    )
    made = Shop(lakehouse, config, ShowingConfig(market_attribute="country"))
    assert made.make(run="run-1") == {"bought_together": 4, "continue_with": 8, "trending": 2, "popular_like_you": 7}
    return made


def test_complements_are_bought_together_and_substitutes_are_not(shop: Shop) -> None:
    found = shop.lists("item_topk", "bought_together")
    assert found == {
        "case": ["phone-a", "phone-b"],
        "phone-a": ["case"],
        "phone-b": ["case"],
        "sold-out": ["case", "phone-a", "phone-b"],
    }


def test_the_next_part_continues_a_book_and_what_is_taken_next_the_rest(shop: Shop) -> None:
    found = shop.lists("item_topk", "continue_with")
    assert found["book-1"] == ["book-2"], "of which no event tells"
    assert found["sold-out"] == ["book-2", "phone-b"]
    assert found["mug"] == ["lamp"]


def test_a_market_has_its_trend_and_gets_nothing_that_is_not_sold_there(shop: Shop) -> None:
    assert shop.lists("audience_topk", "trending") == {
        "all": ["lamp", "book-2"],
        "country=DE": ["hat", "lamp", "book-2"],
    }
    popular = shop.lists("audience_topk", "popular_like_you")
    assert "hat" in popular["country=de/age=20"]
    others = [items for key, items in popular.items() if not key.startswith("country=de")]
    assert others and not any("hat" in items for items in others), "not everybody of `all` may get it"
    assert not any("sold-out" in items for items in popular.values())


def test_every_user_has_the_smallest_audience_with_a_list(shop: Shop) -> None:
    rows = shop.fresh().read("user_audience").collect()
    found = {(row["user_id"], row["list_type"]): row["audience"] for row in rows}
    assert found["u01", "popular_like_you"] == "country=de/age=20"
    assert found["u39", "popular_like_you"] == "country=de/age=60", "also without a history"
    assert found["u01", "trending"] == "country=DE"
    assert ("gone", "popular_like_you") not in found


@pytest.mark.slow
def test_the_examples_of_the_page_read_the_current_slice(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (PROJECT / "docs" / "lists.md").read_text(encoding="utf-8")
    found = re.findall(r"^```(sql|python)\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert [language for language, _ in found] == ["sql", "sql", "python"], "an example that no line below runs"
    out = str(shop.lakehouse.store.out)
    (of_item, of_user), example = ([text.replace("out/demo", out) for _, text in found[:2]], found[2][1])
    rows = shop.lakehouse.spark.sql(of_item.replace("p003", "phone-a")).collect()
    assert [(row["rank"], row["related_item_id"], row["num_support"]) for row in rows] == [(1, "case", 8)]
    rows = shop.lakehouse.spark.sql(of_user.replace("u0001", "u01")).collect()
    assert {(row["list_type"], row["audience"]) for row in rows} == {
        ("popular_like_you", "country=de/age=20"),
        ("trending", "country=DE"),
    }
    monkeypatch.chdir(Path(out).parents[1])
    exec(compile(example, "docs/lists.md", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out.strip() == f"all {shop.lists('audience_topk', 'popular_like_you')['all']}"


@pytest.mark.slow
def test_again_changes_nothing_and_a_list_in_array_form_is_one_row(shop: Shop) -> None:
    before = {name: shop.fresh().data_version(name) for name in JOB.tables_written}
    shop.make(run="run-3")
    assert {name: shop.fresh().data_version(name) for name in JOB.tables_written} == before
    rows = {row["key"]: row["items"] for row in lists_by_key(shop.fresh(), "item_topk").collect()}
    assert rows["bought_together:phone-a"] == ["case"]


@pytest.mark.slow
def test_lists_that_break_a_rule_are_not_published(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: shop.fresh().data_version(name) for name in JOB.tables_written}

    def sold_out_meanwhile(item_ids: pa.Array, is_shown: NDArray[np.bool_]) -> KnownItems:
        return KnownItems(item_ids, is_shown & (item_ids.to_numpy(zero_copy_only=False) != "case"))

    monkeypatch.setattr("mmrec_lib.list_types.run.KnownItems", sold_out_meanwhile)
    with pytest.raises(PublishingError, match=r"published ones stay: .*not available \(.* of .*: item case\)"):
        shop.make(run="run-4", trending=None)
    assert {name: shop.fresh().data_version(name) for name in JOB.tables_written} == before


def test_low_ratings_and_the_test_part_do_not_count(lakehouse: Lakehouse) -> None:
    rows = [("u", "a", "rating", 1.0, "train"), ("u", "b", "rating", 4.0, None), ("u", "c", "rating", 5.0, "test")]
    rows += [
        ("u", "d", "rating", None, "valid"),
        ("u", "gone", "rating", 5.0, "train"),
        ("v", "a", "rating", 5.0, "train"),
    ]
    spark, at = lakehouse.spark, datetime(1970, 1, 1, tzinfo=UTC)
    tables: dict[str, Callable[[], DataFrame]] = {
        "event": lambda: spark.createDataFrame(
            [(u, i, kind, value, at, split, {"order": "o1"}) for u, i, kind, value, split in rows],
            "user_id string, item_id string, event_type string, value double, event_ts timestamp, split string, "
            "attributes map<string,string>",
        ),
        "user": lambda: spark.createDataFrame([("u",)], "user_id string"),
        "item": lambda: spark.createDataFrame([(i,) for i in "abcd"], "item_id string"),
    }

    class Tables:
        def read(self, name: str) -> DataFrame:
            return tables[name]()

    types = {"rating": EventTypeConfig(low_value_below=3, low_value_means="negative")}
    found = list_events(Tables(), types, {"rating"}, Cuts(NO_TIME, "given"), "order")  # type: ignore[arg-type]
    assert sorted((row["item_id"], row["basket"]) for row in found.collect()) == [("b", "o1"), ("d", "o1")]
