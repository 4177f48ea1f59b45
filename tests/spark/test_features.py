"""Events → interactions, parts and profiles, on small tables with known answers."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.errors import NoDataError, ShowingError
from mmrec_lib.features.acts import NO_TIME, find_span, known_acts, resolve_as_of, warn_of_newest
from mmrec_lib.features.config import FeaturesConfig
from mmrec_lib.features.contents import (
    RARE_ATTRIBUTES,
    RARE_RELATIONS,
    attribute_tokens,
    graph_tokens,
    released_vectors,
    review_vectors,
    snapshot_hash,
)
from mmrec_lib.features.graph import graph_vector_features
from mmrec_lib.features.interactions import Cuts, assign_parts, find_cuts, pair_interactions, weigh_events
from mmrec_lib.features.outcomes import possible_outcomes
from mmrec_lib.features.profiles import _top_names, known_events, rating_types, user_profiles
from mmrec_lib.features.request_context import with_last_search
from mmrec_lib.features.showing import user_attribute_values
from mmrec_lib.features.tastes import with_tastes
from mmrec_lib.ingest.config import DEFAULT_EVENT_TYPES, EventTypeConfig
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.heads_settings import HeadsSettings

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = date(2026, 2, 1)
EVENTS = (
    "user_id string, item_id string, event_type string, value double, seconds double, event_ts timestamp, split string"
)


def events(spark: SparkSession, *rows: tuple[object, ...]) -> DataFrame:
    """Rows of (user, item, type, value, hours after the start[, split])."""
    full = [
        (u, i, kind, value, None, START + timedelta(hours=hours), *(rest or (None,)))
        for u, i, kind, value, hours, *rest in rows
    ]  # type: ignore[misc,arg-type]
    return spark.createDataFrame(full, EVENTS)


def catalogue(spark: SparkSession, *ids: str) -> DataFrame:
    """Items of 10, 20, …; the first is of two categories, the second of a brand, and the price of the third is NaN."""
    rows = [
        (
            item,
            float("nan") if n == 2 else 10.0 * (n + 1),
            [["hat", "wool"], ["hat", None, "hat"], None][min(n, 2)],
            {"brand": "Acme"} if n == 1 else None,
        )
        for n, item in enumerate(ids)
    ]
    return spark.createDataFrame(
        rows, "item_id string, price double, categories array<string>, attributes map<string,string>"
    )


def acts_of(spark: SparkSession, rows: DataFrame, reviews: DataFrame | None = None) -> DataFrame:
    """What counts of events and reviews where the users u and v and the items a, b and c are known."""
    users = spark.createDataFrame([("u",), ("v",)], "user_id string")
    return known_acts(rows, reviews, users, catalogue(spark, "a", "b", "c"))


def weigh(
    spark: SparkSession,
    rows: DataFrame,
    types: dict[str, EventTypeConfig] = DEFAULT_EVENT_TYPES,
    reviews: DataFrame | None = None,
    as_of: date = DAY,
    **config: object,
) -> DataFrame:
    acts = acts_of(spark, rows, reviews)
    return weigh_events(acts, types, FeaturesConfig(**config), find_span(acts), as_of)  # type: ignore[arg-type]


def reviewed(spark: SparkSession, *rows: tuple[object, ...]) -> DataFrame:
    """Rows of (user, item, rating, hours after the start, or None without a time)."""
    full = [
        (u, i, rating, datetime(1970, 1, 1, tzinfo=UTC) if hours is None else START + timedelta(hours=hours))
        for u, i, rating, hours in rows
    ]  # type: ignore[misc,arg-type]
    return spark.createDataFrame(full, "user_id string, item_id string, rating double, review_ts timestamp")


def test_weights_come_from_the_event_type_and_unknown_items_and_searches_do_not_count(spark: SparkSession) -> None:
    rows = events(
        spark,
        ("u", "a", "view", None, 0),
        ("u", "a", "purchase", None, 1),
        ("u", "gone", "view", None, 2),
        ("u", None, "search", None, 3),
    )
    found = weigh(spark, rows).collect()
    assert sorted((row["event_type"], row["weight"], row["is_seen"]) for row in found) == [
        ("purchase", 5.0, True),
        ("view", 1.0, True),
    ]


@pytest.mark.slow
def test_what_is_used_up_may_come_again_after_its_days(spark: SparkSession) -> None:
    """Midnight of the as-of date is 31 days after the start; a purchase hides its item for 10 days."""
    types = {**DEFAULT_EVENT_TYPES, "purchase": EventTypeConfig(weight=5.0, seen_days=10.0)}
    rows = events(
        spark,
        ("u", "a", "purchase", None, 21 * 24 - 1),
        ("u", "b", "purchase", None, 21 * 24),
        ("u", "c", "purchase", None, 0),
        ("u", "c", "view", None, 0),
        ("v", "a", "purchase", None, -490_896),
        ("v", "b", "purchase", None, 5),
        ("v", "b", "purchase", None, 30 * 24),
        ("v", "c", "purchase", None, 5),
    )
    assert rows.where("event_ts = timestamp_micros(0)").count() == 1
    users = spark.createDataFrame([("u", None), ("v", None)], "user_id string, attributes map<string,string>")
    items = catalogue(spark, "a", "b", "c")

    def seen(kinds: dict[str, EventTypeConfig]) -> dict[str, list[str]]:
        profiles = user_profiles(users, items, weigh(spark, rows, kinds), [], FeaturesConfig())
        assert {row["user_id"]: len(row["history"]) for row in profiles.collect()} == {"u": 3, "v": 3}
        return {row["user_id"]: row["seen_item_ids"] for row in profiles.collect()}

    # An event without a time never gets old, and one event that still hides is enough.
    assert seen(types) == {"u": ["b", "c"], "v": ["a", "b"]}
    assert seen(DEFAULT_EVENT_TYPES) == {"u": ["a", "b", "c"], "v": ["a", "b", "c"]}


def test_values_of_user_attributes_are_read_once_and_bounded(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [("u", {"country": "DE", "age": "3"}), ("v", {"country": "FR"}), ("w", {"country": "DE"}), ("x", None)]
    users = spark.createDataFrame(rows, "user_id string, attributes map<string,string>")
    found = user_attribute_values(users, ["age", "country", "nobody"])
    assert found == {"age": ["3"], "country": ["DE", "FR"], "nobody": []}
    assert user_attribute_values(users, []) == {}
    monkeypatch.setattr("mmrec_lib.features.showing.MAX_VALUES", 1)
    with pytest.raises(ShowingError, match="at most 1 distinct values are needed, but `country` has more"):
        user_attribute_values(users, ["age", "country"])


def test_events_from_the_as_of_date_on_are_not_known(spark: SparkSession) -> None:
    rows = events(spark, ("u", "a", "view", None, 31 * 24 - 1), ("u", "b", "view", None, 31 * 24))
    assert [row["item_id"] for row in weigh(spark, rows).collect()] == ["a"]


@pytest.mark.parametrize(("means", "weight"), [("positive", 1.0), ("ignore", 0.0), ("negative", -1.0)])
def test_a_low_rating_means_what_the_config_says(spark: SparkSession, means: str, weight: float) -> None:
    types = {"rating": EventTypeConfig(needs_value=True, low_value_below=3, low_value_means=means)}  # type: ignore[arg-type]
    found = weigh(spark, events(spark, ("u", "a", "rating", 2.0, 0), ("u", "b", "rating", 3.0, 0)), types).collect()
    assert {row["item_id"]: row["weight"] for row in found} == {"a": weight, "b": 1.0}


def test_half_life_halves(spark: SparkSession) -> None:
    rows = events(spark, ("u", "a", "like", None, 30 * 24))
    assert weigh(spark, rows, half_life_days=1.0).collect()[0]["weight"] == pytest.approx(1.5)


def test_cuts_fall_between_time_stamps_and_equal_ones_go_to_the_later_part(spark: SparkSession) -> None:
    # Ten events; the eighth has the time of the ninth, which opens valid, so both go there.
    hours = [0, 1, 2, 3, 4, 5, 6, 8, 8, 9]
    weighted = weigh(spark, events(spark, *[("u", "a", "view", None, h) for h in hours]))
    cuts = find_cuts(weighted, FeaturesConfig(), DAY)
    assert cuts.valid_from == START + timedelta(hours=8)
    assert cuts.test_from == START + timedelta(hours=9)
    parts = [row["part"] for row in assign_parts(weighted, cuts).orderBy("event_ts").collect()]
    assert parts == ["train"] * 7 + ["valid"] * 2 + ["test"]


@pytest.mark.slow
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hours=st.lists(st.integers(0, 40), min_size=3, max_size=40))
def test_parts_are_ordered_in_time_and_no_time_is_in_two(spark: SparkSession, hours: list[int]) -> None:
    weighted = weigh(spark, events(spark, *[("u", "a", "view", None, h) for h in hours]))
    parted = assign_parts(weighted, find_cuts(weighted, FeaturesConfig(), DAY)).collect()
    times = {part: {row["event_ts"] for row in parted if row["part"] == part} for part in ("train", "valid", "test")}
    for earlier, later in (("train", "valid"), ("valid", "test"), ("train", "test")):
        assert not times[earlier] or not times[later] or max(times[earlier]) < min(times[later])
    assert len(parted) == len(hours)


def test_a_given_split_is_kept_and_needs_no_times(spark: SparkSession) -> None:
    rows = events(spark, ("u", "a", "listen", 1.0, 0, "train"), ("u", "b", "listen", 1.0, 0, "test"))
    weighted = weigh(spark, rows, as_of=NO_TIME)
    cuts = find_cuts(weighted, FeaturesConfig(), NO_TIME)
    assert cuts.given
    parted = assign_parts(weighted, cuts)
    assert {row["item_id"]: row["part"] for row in parted.collect()} == {"a": "train", "b": "test"}
    known = known_events(parted, cuts, refit_on_valid=True)
    assert [row["item_id"] for row in known.collect()] == ["a"]  # test is never seen


def test_events_without_times_and_split_are_refused(spark: SparkSession) -> None:
    weighted = weigh(spark, events(spark, ("u", "a", "view", None, 0)), as_of=NO_TIME)
    with pytest.raises(NoDataError, match="split"):
        find_cuts(weighted, FeaturesConfig(), NO_TIME)


def test_as_of_is_the_day_after_the_latest_event_and_never_before_the_first(spark: SparkSession) -> None:
    rows = events(spark, ("u", "a", "view", None, 5), ("u", "a", "view", None, 50))
    span = find_span(acts_of(spark, rows))
    assert resolve_as_of(span, None) == date(2026, 1, 4)
    assert resolve_as_of(span, date(2026, 1, 2)) == date(2026, 1, 2)
    with pytest.raises(NoDataError, match="2025-12-31"):
        resolve_as_of(span, date(2025, 12, 31))
    with pytest.raises(NoDataError, match="no accepted events"):
        find_span(acts_of(spark, rows.limit(0)))


def test_pairs_sum_weights_by_part_and_negative_sums_are_no_interaction(spark: SparkSession) -> None:
    rows = spark.createDataFrame(
        [
            ("u", "a", 1.0, START, "train"),
            ("u", "a", 3.0, START + timedelta(1), "train"),
            ("u", "a", 1.0, START, "test"),
            ("u", "b", -1.0, START, "train"),
        ],
        "user_id string, item_id string, weight double, event_ts timestamp, part string",
    )
    (pair,) = pair_interactions(rows).collect()
    assert (pair["item_id"], pair["train_weight"], pair["valid_weight"], pair["test_weight"]) == ("a", 4.0, None, 1.0)
    assert pair["train_ts"].astimezone(UTC) == START + timedelta(1)


def test_outcomes_of_a_held_out_part_are_what_its_events_tell(spark: SparkSession) -> None:
    """A view of 15 of 30 seconds, two ratings of which the later counts, and what lies in train or has no weight."""
    rows = spark.createDataFrame(
        [
            ("u", "a", "view", None, 15.0, START, "test"),
            ("u", "a", "view", None, 6.0, START, "test"),
            ("u", "a", "purchase", None, None, START, "valid"),
            ("u", "b", "rating", 2.0, None, START, "test"),
            ("u", "b", "rating", 4.0, None, START + timedelta(hours=1), "test"),
            ("v", "a", "view", None, None, START, "test"),
            ("v", "b", "view", None, 9.0, START, "train"),
            ("v", "c", "view", None, 0.0, START, "test"),
        ],
        EVENTS,
    )
    acts = acts_of(spark, rows)
    span, config = find_span(acts), FeaturesConfig()
    weighted = weigh_events(acts, DEFAULT_EVENT_TYPES, config, span, DAY, with_outcomes=True)
    outcomes = possible_outcomes(DEFAULT_EVENT_TYPES, span.types, HeadsSettings(), has_shares=True)
    pairs = pair_interactions(assign_parts(weighted, Cuts(DAY, "given")), outcomes, 30.0)
    found = {(row["user_id"], row["item_id"]): (row["valid_outcomes"], row["test_outcomes"]) for row in pairs.collect()}
    assert found == {
        ("u", "a"): ({"purchase": 1.0}, {"view": 1.0, "view:share": 0.5}),
        ("u", "b"): (None, {"rating": 1.0, "rating:value": 4.0, "rating>=4": 1.0}),
        ("v", "a"): (None, {"view": 1.0}),
        ("v", "b"): (None, None),
    }
    contents = spark.createDataFrame([("a",)], "item_id string")
    changed = pairs.withColumn("test_outcomes", F.transform_values("test_outcomes", lambda _, value: value * 2))
    assert snapshot_hash(pairs, contents, {}) != snapshot_hash(changed, contents, {})


def test_profiles_hold_every_known_user_latest_first(spark: SparkSession) -> None:
    users = spark.createDataFrame(
        [("u", {"age": "30"}), ("silent", {})], "user_id string, attributes map<string,string>"
    )
    weighted = weigh(
        spark, events(spark, ("u", "a", "view", None, 0), ("u", "b", "like", None, 2), ("u", "a", "view", None, 1))
    )
    found = user_profiles(users, catalogue(spark, "a", "b"), weighted, [], FeaturesConfig(max_history=10)).collect()
    rows = {row["user_id"]: row for row in found}
    assert [entry["item_id"] for entry in rows["u"]["history"]] == ["b", "a"]
    assert rows["u"]["seen_item_ids"] == ["a", "b"]
    assert rows["u"]["event_counts"] == {"view": 2, "like": 1}
    assert rows["u"]["mean_price"] == pytest.approx((2 * 10 + 3 * 20) / 5)
    assert rows["silent"]["num_events"] == 0 and rows["silent"]["history"] == []


@pytest.mark.slow
def test_profiles_tell_tastes_of_what_was_liked_and_nothing_of_the_silent(
    spark: SparkSession, lakehouse: Lakehouse
) -> None:
    users = spark.createDataFrame(
        [("u", None), ("v", None), ("silent", None)], "user_id string, attributes map<string,string>"
    )
    rows = events(
        spark,
        ("u", "a", "like", None, 0),
        ("u", "b", "rating", 2.0, 1),
        ("u", "b", "rating", 5.0, 2),
        ("u", "c", "purchase", 99.0, 3),
        ("v", "c", "rating", 1.0, 0),
    )
    ratings = rating_types(DEFAULT_EVENT_TYPES)
    assert ratings == ["rating", "review"], "the value of a purchase is none"
    items = catalogue(spark, "a", "b", "c")
    profiles = user_profiles(users, items, weigh(spark, rows), ratings, FeaturesConfig())
    made = with_last_search(with_tastes(lakehouse, lakehouse.stage("measured", profiles), 2, 8), None)
    assert {*made.columns} == {column.name for column in CONTRACTS["user_profile"].columns}
    found = {row["user_id"]: row.asDict(recursive=True) for row in made.collect()}
    # a weighs 3 and b 2: hat has half of the one and all of the other.
    assert found["u"]["top_categories"] == [{"name": "hat", "share": 0.7}, {"name": "wool", "share": 0.3}]
    assert found["u"]["top_brands"] == [{"name": "Acme", "share": 1.0}]
    assert (found["u"]["mean_price"], found["u"]["price_variance"]) == (14.0, 24.0)
    assert found["u"]["price_quartiles"] == [10.0, 20.0]
    assert (found["u"]["num_ratings"], found["u"]["mean_rating"], found["u"]["rating_variance"]) == (1, 5.0, 0.0)
    assert found["u"]["segment"] == "hat and wool"
    assert found["u"]["taste"] == "Mostly hat; often by Acme; around 10 to 20"
    assert found["v"]["mean_rating"] == 1.0 and found["v"]["taste"] is None and found["v"]["segment"] is None
    known = ("user_id", "num_events", "event_counts", "history", "seen_item_ids")
    assert {name for name, value in found["silent"].items() if value is not None} == set(known)


def test_vectors_of_the_graph_are_a_block_of_the_items_that_it_speaks_of(
    spark: SparkSession, lakehouse: Lakehouse
) -> None:
    source = {"source_path": "graph.tsv", "source_line": 1}
    edges = [("a", "directed_by", "Ann"), ("b", "directed_by", "Ann"), ("Ann", "studied_at", "x"), ("gone", "r", "Ann")]
    schema = CONTRACTS["graph_edge"].input_schema
    rows = [{**dict.fromkeys(schema.names), **source, "head": h, "relation": r, "tail": t} for h, r, t in edges]
    lakehouse.merge("graph_edge", spark.createDataFrame(rows, schema))
    items = catalogue(spark, "a", "b", "c")
    found = graph_vector_features(
        lakehouse, items, lakehouse.read("graph_edge"), FeaturesConfig(graph_dim=70)
    ).collect()
    vectors = {row["item_id"]: row["vector"] for row in found}
    assert vectors.keys() == {"a", "b"} and {row["feature"] for row in found} == {"relations:vectors"}
    assert sum(one * other for one, other in zip(vectors["a"], vectors["b"], strict=True)) == pytest.approx(1, abs=1e-4)
    with pytest.raises(NoDataError, match=r"graph_edge has 4 rows, more than features\.max_graph_edges = 3"):
        graph_vector_features(
            lakehouse, items, lakehouse.read("graph_edge"), FeaturesConfig(graph_dim=70, max_graph_edges=3)
        )


def test_a_review_enters_only_the_fits_whose_cut_it_precedes(spark: SparkSession) -> None:
    cuts = Cuts(DAY, "by_time", valid_from=START + timedelta(days=10), test_from=START + timedelta(days=20))
    rows = [
        ("text:review:en", "a", START + timedelta(days=5), "c5", [5.0, 0.0]),
        ("text:review:en", "a", START + timedelta(days=15), "c15", [15.0, 0.0]),
        ("text:review:en", "a", START + timedelta(days=25), "c25", [25.0, 0.0]),
        ("text:review:de", "a", START + timedelta(days=15), "d15", [1.0, 2.0, 3.0]),
    ]
    columns = "feature string, item_id string, review_ts timestamp, content_id string, vector array<float>"
    made = review_vectors(spark.createDataFrame(rows, columns), cuts, ("fit1", "fit2", "fit3")).collect()
    assert {(row["fit"], row["feature"]): (row["latest_ts"].astimezone(UTC) - START).days for row in made} == {
        ("fit1", "text:review:en"): 5,
        ("fit2", "text:review:en"): 15,
        ("fit3", "text:review:en"): 25,
        ("fit2", "text:review:de"): 15,
        ("fit3", "text:review:de"): 15,
    }
    assert {(row["fit"], row["feature"]): row["vector"] for row in made} == {
        ("fit1", "text:review:en"): [5.0, 0.0],
        ("fit2", "text:review:en"): [10.0, 0.0],
        ("fit3", "text:review:en"): [15.0, 0.0],
        ("fit2", "text:review:de"): [1.0, 2.0, 3.0],
        ("fit3", "text:review:de"): [1.0, 2.0, 3.0],
    }


def test_blocks_of_a_field_with_several_encoders_are_named_by_them(spark: SparkSession) -> None:
    keys = "modality string, field string, encoder_id string, revision string"
    released = [("text", "title", "en", "r1"), ("text", "title", "de", "r1"), ("image", "images", "eyes", "r2")]
    made = [(*one, "a", [1.0], None, None, "float32") for one in (*released[:2], ("image", "images", "eyes", "r1"))]
    made.append((*released[2], "a", None, [-127, 3], 0.5, "int8"))
    vectors = "vector array<float>, codes array<tinyint>, scale float, storage string"
    embedding = spark.createDataFrame(made, f"{keys}, item_id string, {vectors}")
    found = released_vectors(embedding, spark.createDataFrame(released, keys)).collect()
    assert {row["feature"]: row["vector"] for row in found} == {
        "image:images": [-63.5, 1.5],
        "text:title:de": [1.0],
        "text:title:en": [1.0],
    }


def test_tokens_come_from_categories_lists_and_price_and_must_be_shared(spark: SparkSession) -> None:
    item = CONTRACTS["item"].input_schema

    def row(item_id: str, category: str, price: float, **attributes: str) -> dict[str, object]:
        return {
            "item_id": item_id,
            "categories": [category],
            "price": price,
            "available": True,
            "updated_at": START,
            "attributes": attributes,
        }

    rows = [
        row("a", "hat", 1.0, cast='["x", "y"]'),
        row("b", "hat", 1.0, cast='["x", "z"]'),
        row("c", "shoe", 99.0, year="1999"),
    ]
    frame = spark.createDataFrame([{**dict.fromkeys(item.names), **r} for r in rows], item)
    found = {(r["feature"], r["item_id"]): r["tokens"] for r in attribute_tokens(frame, FeaturesConfig()).collect()}
    assert found[("attribute:categories", "a")] == ["hat"]
    assert found[("attribute:cast", "b")] == ["x"]
    assert ("attribute:categories", "c") not in found and ("attribute:year", "c") not in found
    assert found[("attribute:price", "a")] == found[("attribute:price", "b")]


def test_equal_snapshots_have_equal_ids_in_any_row_order(spark: SparkSession) -> None:
    pairs = spark.createDataFrame([("u", "a", 1.0), ("v", "b", 2.0)], "user_id string, item_id string, w double")
    contents = spark.createDataFrame(
        [("all", "x", "a", ["t"])], "fit string, feature string, item_id string, tokens array<string>"
    )
    one = snapshot_hash(pairs, contents, {"as_of": "2026-01-01"})
    assert snapshot_hash(pairs.orderBy("user_id", ascending=False), contents, {"as_of": "2026-01-01"}) == one
    assert snapshot_hash(pairs.where("w > 1"), contents, {"as_of": "2026-01-01"}) != one


def test_events_and_reviews_of_deleted_users_and_items_do_not_count_not_even_for_the_date(spark: SparkSession) -> None:
    rows = events(
        spark,
        ("u", "a", "view", None, 0),
        ("deleted", "a", "purchase", None, 900),
        ("u", "deleted", "purchase", None, 900),
        ("deleted", None, "search", None, 900),
    )
    reviews = reviewed(spark, ("deleted", "a", 5.0, 900), ("v", "b", 4.0, 10), ("v", "deleted", 4.0, 900))
    acts = acts_of(spark, rows, reviews)
    assert {(r["user_id"], r["item_id"]) for r in acts.collect()} == {("u", "a"), ("v", "b")}
    assert resolve_as_of(find_span(acts), None) == date(2026, 1, 2)


def test_reviews_are_interactions_by_their_rating_and_comments_without_one(spark: SparkSession) -> None:
    reviews = reviewed(spark, ("u", "a", 5.0, 5), ("u", "b", None, 6), ("v", "c", 1.0, 7))
    types = {
        **DEFAULT_EVENT_TYPES,
        "review": EventTypeConfig(weight=2.0, low_value_below=3, low_value_means="ignore"),
        "comment": EventTypeConfig(weight=0.5),
    }
    nothing = events(spark, ("x", "y", "view", None, 0)).limit(0)
    rows = weigh(spark, nothing, types, reviews).collect()
    assert {(r["item_id"], r["event_type"], r["weight"], r["is_seen"]) for r in rows} == {
        ("a", "review", 2.0, True),
        ("b", "comment", 0.5, True),
        ("c", "review", 0.0, True),
    }


@pytest.mark.slow
def test_a_rating_and_the_review_that_repeats_it_count_once_in_any_order(spark: SparkSession) -> None:
    rows = events(
        spark,
        ("u", "a", "rating", 5.0, 1),  # before its review
        ("u", "b", "rating", 5.0, 9),  # after it
        ("u", "c", "rating", 4.0, 1),  # twice rated: as without reviews
        ("u", "c", "rating", 5.0, 2),
        ("v", "a", "view", None, 3),  # another act
    )
    reviews = reviewed(spark, ("u", "a", 5.0, 2), ("u", "b", 5.0, 2), ("u", "c", 5.0, 1), ("v", "a", 5.0, 4))
    weighted = weigh(spark, rows, reviews=reviews)
    sums = {(r["user_id"], r["item_id"]): r["total"] for r in _sums(weighted)}
    assert sums == {("u", "a"): 1.0, ("u", "b"): 1.0, ("u", "c"): 2.0, ("v", "a"): 2.0}
    heavy = {**DEFAULT_EVENT_TYPES, "review": EventTypeConfig(weight=3.0, act="rating")}
    sums = {(r["user_id"], r["item_id"]): r["total"] for r in _sums(weigh(spark, rows, heavy, reviews))}
    assert sums == {("u", "a"): 3.0, ("u", "b"): 3.0, ("u", "c"): 3.0, ("v", "a"): 4.0}


def _sums(weighted: DataFrame) -> list[Row]:
    return weighted.groupBy("user_id", "item_id").agg(F.sum("weight").alias("total")).collect()


@pytest.mark.slow
def test_what_a_review_weighs_never_depends_on_a_later_rating(spark: SparkSession) -> None:
    reviews = reviewed(spark, ("u", "a", 5.0, 2), ("u", "b", 5.0, 2))
    earlier = events(spark, ("u", "b", "rating", 5.0, 1))
    later = events(spark, ("u", "b", "rating", 5.0, 1), ("u", "a", "rating", 5.0, 30), ("u", "b", "rating", 2.0, 31))

    def until_then(rows: DataFrame) -> set[tuple[object, ...]]:
        weighted = weigh(spark, rows, reviews=reviews).where(F.col("event_ts") <= F.lit(START + timedelta(hours=20)))
        return {tuple(row) for row in weighted.collect()}

    assert until_then(earlier) == until_then(later)


@pytest.mark.slow
def test_reviews_that_cannot_be_placed_stay_out(spark: SparkSession) -> None:
    undated = reviewed(spark, ("u", "c", 5.0, None), ("v", "b", 5.0, 3))
    found = weigh(spark, events(spark, ("u", "a", "view", None, 0)), reviews=undated).collect()
    assert {row["item_id"] for row in found} == {"a", "b"}
    split = events(spark, ("u", "a", "listen", 1.0, 0, "train"), ("u", "b", "listen", 1.0, 0, "test"))
    assert {row["item_id"] for row in weigh(spark, split, reviews=undated).collect()} == {"a", "b"}
    assert {row["user_id"] for row in weigh(spark, split, reviews=undated).collect()} == {"u"}
    # Nor do they move the date of a store whose split and times come with its events.
    assert find_span(acts_of(spark, split, reviewed(spark, ("u", "c", 5.0, 500)))).newest == START


def test_a_newest_event_far_from_the_mass_is_named_with_numbers(spark: SparkSession) -> None:
    regular = [("u", "a", "view", None, hours) for hours in range(0, 720, 3)]
    acts = acts_of(spark, events(spark, *regular, ("u", "b", "view", None, 24 * 200)))
    warning = warn_of_newest(acts, find_span(acts), None)
    assert warning is not None
    assert "2026-07-20" in warning and "(1 so far ahead)" in warning and "AS_OF=2026-01-3" in warning
    assert warn_of_newest(acts, find_span(acts), date(2026, 2, 1)) is None  # the date was given
    plain = acts_of(spark, events(spark, *regular))
    assert warn_of_newest(plain, find_span(plain), None) is None


@pytest.mark.slow
def test_attribute_names_of_a_few_items_share_one_block(spark: SparkSession) -> None:
    item = CONTRACTS["item"].input_schema
    many = {f"name {n} (%)": "same" for n in range(300)}
    rows = [
        {
            **dict.fromkeys(item.names),
            "item_id": f"i{n:03d}",
            "categories": ["hat"],
            "available": True,
            "updated_at": START,
            "attributes": {"colour": "red" if n % 2 else "blue", **(many if n < 2 else {})},
        }
        for n in range(150)
    ]
    frame = spark.createDataFrame(rows, item)
    found = attribute_tokens(frame, FeaturesConfig()).collect()
    assert {row["feature"] for row in found} == {"attribute:categories", "attribute:colour", RARE_ATTRIBUTES}
    rare = {row["item_id"]: row["tokens"] for row in found if row["feature"] == RARE_ATTRIBUTES}
    assert rare.keys() == {"i000", "i001"} and set(rare["i000"]) == {f"{name}=same" for name in many}
    wide = FeaturesConfig(min_block_share=0.0, max_attribute_blocks=5)
    features = {row["feature"] for row in attribute_tokens(frame, wide).collect()}
    assert len(features) == 1 + 5 + 1 and "attribute:colour" in features

    edges = [(f"i{head:03d}", f"relation {n}", "t") for n in range(300) for head in (0, 1)]
    edges += [(f"i{head:03d}", "made_of", "wool") for head in range(150)]
    graph = spark.createDataFrame(edges, "head string, relation string, tail string")
    assert {row["feature"] for row in graph_tokens(frame, graph, FeaturesConfig()).collect()} == {
        "graph:made_of",
        RARE_RELATIONS,
    }


def test_seconds_count_in_proportion_up_to_half_a_minute(spark: SparkSession) -> None:
    rows = [("u", item, "view", None, seconds, START, None) for item, seconds in (("a", 3.0), ("b", 90.0), ("c", None))]
    found = weigh(spark, spark.createDataFrame(rows, EVENTS)).collect()
    assert {row["item_id"]: row["weight"] for row in found} == pytest.approx({"a": 0.1, "b": 1.0, "c": 1.0})


def test_shares_of_weights_of_long_ago_are_those_of_any_weights(spark: SparkSession) -> None:
    """Weights of which a third is rounded to nothing, and one that is nothing."""
    rows = [("old", 1e-6, ["c", "a", "b"], "Acme"), ("new", 3.0, ["c", "a", "b"], None), ("none", 0.0, ["a"], None)]
    pairs = spark.createDataFrame(rows, "user_id string, weight double, categories array<string>, brand string")
    found = {row["user_id"]: row.asDict(recursive=True) for row in _top_names(pairs).collect()}
    thirds = [{"name": name, "share": 0.3333} for name in "abc"]
    assert found["old"] == {"user_id": "old", "top_categories": thirds, "top_brands": [{"name": "Acme", "share": 1.0}]}
    assert found["new"] == {"user_id": "new", "top_categories": thirds, "top_brands": None}
    assert found["none"] == {"user_id": "none", "top_categories": None, "top_brands": None}
