"""A few users and items as the report shows them: images, histories, lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.features.acts import review_acts
from mmrec_lib.features.load import present_profiles
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.publishing.slices import current_rows
from mmrec_lib.reporting.data import Card, HistoryItem, Neighbors, Recommendation, ShownUser
from mmrec_lib.tastes.sentences import path_text

_NUM_SHOWN = 12
_MIN_HISTORY = 8
# More of a title never leaves Spark; the report shows less.
_MAX_CHARACTERS = 20_000


def shown_users(lakehouse: Lakehouse, limit: int) -> list[ShownUser]:
    """Users with a history long enough to judge by, one without; the same ones at every run."""
    if limit == 0:
        return []
    profiles = present_profiles(lakehouse).select(
        "user_id", "attributes", "num_events", F.size("history").alias("length"), "taste"
    )
    by_hash = F.xxhash64("user_id")
    cold = profiles.where(F.col("length") == 0).orderBy(by_hash).limit(1).collect()
    warm = (
        profiles.where(F.col("length") > 0)
        .orderBy((F.col("length") >= _MIN_HISTORY).desc(), by_hash)
        .limit(limit - len(cold))
        .collect()
    )
    chosen = {row["user_id"]: row for row in (*warm, *cold)}
    if not chosen:
        return []
    of_chosen = F.col("user_id").isin(list(chosen))
    lists = _grouped(current_rows(lakehouse, "user_topk").where(of_chosen).orderBy("user_id", "rank"))
    events = _grouped(_latest_events(lakehouse, of_chosen))
    histories = _grouped(
        lakehouse.read("user_profile").where(of_chosen).select("user_id", F.explode("history.item_id").alias("item_id"))
    )
    shown = [row for rows in lists.values() for row in rows[:_NUM_SHOWN]]
    shown_ids = {row["item_id"] for row in shown} | {row["path"]["item_id"] for row in shown if row["path"] is not None}
    cards = load_cards(lakehouse, shown_ids | {row["item_id"] for rows in events.values() for row in rows})
    all_ids = {row["item_id"] for group in (lists, histories) for rows in group.values() for row in rows}
    categories = _first_categories(lakehouse, all_ids)
    return [
        ShownUser(
            user_id=user_id,
            is_warm=bool(row["length"]),
            num_events=int(row["num_events"]),
            num_history=int(row["length"]),
            attributes=dict(row["attributes"] or {}),
            taste=row["taste"],
            history=[
                HistoryItem(
                    cards[e["item_id"]],
                    e["event_type"],
                    f"{e['event_ts']:%Y-%m-%d}" if e["event_ts"].year > 1970 else None,
                )
                for e in events.get(user_id, [])
            ],
            recommendations=[
                Recommendation(
                    int(r["rank"]), cards[r["item_id"]], float(r["score"]), dict(r["source_shares"]), _path(r, cards)
                )
                for r in lists.get(user_id, [])[:_NUM_SHOWN]
            ],
            history_categories=_shares(histories.get(user_id, []), categories),
            recommended_categories=_shares(lists.get(user_id, []), categories),
        )
        for user_id, row in chosen.items()
    ]


def _path(row: Any, cards: Mapping[str, Card]) -> str | None:
    path = row["path"]
    if path is None:
        return None
    card = cards[path["item_id"]]
    return path_text(card.title or card.item_id, path["relation"], path["node"], path["node_relation"])


def _latest_events(lakehouse: Lakehouse, of_chosen: Any) -> DataFrame:
    """The latest things that users did with items, one an item."""
    profile = lakehouse.read("user_profile").where(of_chosen).select("user_id", F.explode("history").alias("h"))
    known = profile.select("user_id", F.col("h.item_id").alias("item_id"))
    columns = ("user_id", "item_id", "event_type", "event_ts")
    acts = lakehouse.read("event").select(*columns).unionByName(review_acts(lakehouse.read("review")).select(*columns))
    events = acts.where(of_chosen & F.col("item_id").isNotNull()).join(known, ["user_id", "item_id"], "left_semi")
    latest = events.groupBy("user_id", "item_id").agg(F.max(F.struct("event_ts", "event_type")).alias("e"))
    rows = latest.select("user_id", "item_id", "e.event_ts", "e.event_type")
    newest_first = F.sort_array(F.collect_list(F.struct("event_ts", "item_id", "event_type")), asc=False)
    top = (
        rows.groupBy("user_id")
        .agg(F.slice(newest_first, 1, _NUM_SHOWN).alias("top"))
        .select("user_id", F.explode("top").alias("t"))
    )
    return top.select("user_id", "t.item_id", "t.event_ts", "t.event_type")


def shown_neighbors(lakehouse: Lakehouse, limit: int) -> list[Neighbors]:
    """Some items with an image and the items most like them."""
    if limit == 0:
        return []
    newest = current_rows(lakehouse, "item_neighbor")
    imaged = (
        lakehouse.read("media_link")
        .where("owner_kind = 'item' AND field = 'images'")
        .select(F.col("owner_id").alias("item_id"))
    )
    items = newest.select("item_id").distinct()
    with_image = items.join(imaged.distinct().withColumn("has_image", F.lit(1)), "item_id", "left")
    rows = with_image.orderBy(F.col("has_image").desc_nulls_last(), F.xxhash64("item_id")).limit(limit).collect()
    chosen = [row["item_id"] for row in rows]
    if not chosen:
        return []
    lists = (
        newest.where(F.col("item_id").isin(chosen) & (F.col("rank") <= _NUM_SHOWN // 2))
        .orderBy("item_id", "rank")
        .collect()
    )
    cards = load_cards(lakehouse, {*chosen, *(row["neighbor_id"] for row in lists)})
    return [
        Neighbors(
            cards[item], [(cards[r["neighbor_id"]], float(r["similarity"])) for r in lists if r["item_id"] == item]
        )
        for item in chosen
    ]


def load_cards(lakehouse: Lakehouse, item_ids: Iterable[str]) -> dict[str, Card]:
    """Titles and first images of some items; an item that is gone keeps its id."""
    wanted = sorted(set(item_ids))
    items = (
        lakehouse.read("item")
        .where(F.col("item_id").isin(wanted))
        .select("item_id", F.substring("title", 1, _MAX_CHARACTERS).alias("title"), "categories", "price")
    )
    first = (
        lakehouse.read("media_link")
        .where((F.col("owner_kind") == "item") & (F.col("field") == "images") & F.col("owner_id").isin(wanted))
        .groupBy(F.col("owner_id").alias("item_id"))
        .agg(F.min_by("asset_id", "position").alias("asset_id"))
    )
    images = first.join(lakehouse.read("media_asset").select("asset_id", "content"), "asset_id")
    rows = items.join(images.select("item_id", "content"), "item_id", "left").collect()
    cards = {
        row["item_id"]: Card(
            row["item_id"], row["title"], bytes(row["content"]) if row["content"] else None, _caption(row)
        )
        for row in rows
    }
    return {item_id: cards.get(item_id, Card(item_id)) for item_id in wanted}


def _caption(row: Any) -> str | None:
    parts = [*(row["categories"] or [])[:2], *([f"{row['price']:.2f}"] if row["price"] is not None else [])]
    return " · ".join(parts) or None


def _grouped(rows: DataFrame) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for row in rows.collect():
        groups.setdefault(row["user_id"], []).append(row)
    return groups


def _first_categories(lakehouse: Lakehouse, item_ids: set[str]) -> dict[str, str]:
    rows = lakehouse.read("item").where(F.col("item_id").isin(sorted(item_ids)) & (F.size("categories") > 0))
    return {
        row["item_id"]: row["category"]
        for row in rows.select("item_id", F.element_at("categories", 1).alias("category")).collect()
    }


def _shares(rows: Iterable[Any], categories: Mapping[str, str]) -> dict[str, float]:
    found = [categories[row["item_id"]] for row in rows if row["item_id"] in categories]
    return {name: found.count(name) / len(found) for name in sorted(set(found), key=lambda n: (-found.count(n), n))}
