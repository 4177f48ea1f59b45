"""Behaviour of a store's people, from its tables: visits, searches and reviews of the train part of the snapshot."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from scipy.sparse import csr_array

from mmrec_lib.embedding.owner_text import (
    documents,
    joined_texts,
    read_owner_text,
    review_words,
    texts_of_fields,
)
from mmrec_lib.errors import RecipeError
from mmrec_lib.features.interactions import Cuts
from mmrec_lib.features.load import current_snapshot
from mmrec_lib.fine_tuning.contents import first_images, train_pairs
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.behaviour import Behaviour, add_pairs, co_visits, make_behaviour


def items_with_text(lakehouse: Lakehouse, config: AdaptationConfig) -> DataFrame:
    """Items with their text; of more than the config reads, a sample by hash, the same in each run.

    Returns:
        `item_id`, `content`.
    """
    texts = _texts_of_items(lakehouse, config).withColumnRenamed("document", "content")
    return _sampled(lakehouse, texts, config, "content")


def items_with_image(lakehouse: Lakehouse, config: AdaptationConfig) -> DataFrame:
    """Items with the id of their first image, sampled likewise: `item_id`, `content`."""
    return _sampled(lakehouse, _images_of_items(lakehouse).withColumnRenamed("image_id", "content"), config, "content")


def items_with_either(lakehouse: Lakehouse, config: AdaptationConfig) -> DataFrame:
    """Items with a text or an image, sampled likewise: `item_id`, `text`, `image_id`, one of which may be null."""
    of_texts = _texts_of_items(lakehouse, config).select("owner_id", F.col("document").alias("text"))
    either = of_texts.join(_images_of_items(lakehouse), "owner_id", "full_outer")
    return _sampled(lakehouse, either, config, "text", "image_id")


def _texts_of_items(lakehouse: Lakehouse, config: AdaptationConfig) -> DataFrame:
    """The text of each item that has one: `owner_kind`, `owner_id`, `document`."""
    texts = texts_of_fields(lakehouse, config.fields, "adaptation.fields")
    return documents(texts, config.fields).where(F.col("owner_kind") == "item")


def _images_of_items(lakehouse: Lakehouse) -> DataFrame:
    """The first image of each item that is still there: `owner_id`, `image_id`."""
    of_items = first_images(lakehouse).where(F.col("owner_kind") == "item").select("owner_id", "image_id")
    return of_items.join(lakehouse.read("item").select(F.col("item_id").alias("owner_id")), "owner_id", "left_semi")


def _sampled(lakehouse: Lakehouse, owners: DataFrame, config: AdaptationConfig, *columns: str) -> DataFrame:
    chosen = owners.orderBy(F.xxhash64("owner_id"), "owner_id").limit(config.max_items)
    return lakehouse.stage("adapt_items", chosen.select(F.col("owner_id").alias("item_id"), *columns))


def read_behaviour(
    lakehouse: Lakehouse,
    config: AdaptationConfig,
    weights: Mapping[str, float],
    items: DataFrame,
    known: Mapping[str, str],
    groups: Mapping[str, str] | None = None,
) -> tuple[Behaviour, list[tuple[str, int]]]:
    """Behaviour of users, and the texts of searches and reviews with the item of each.

    Only the train part of the current snapshot counts. Of more users or texts than the config reads, a sample by hash,
    the same in each run.

    Args:
        lakehouse: Tables.
        config: What is adapted, and how, `resolved`.
        weights: Weight of each event type; those of weight 0 are no visit.
        items: Items that count, column `item_id`.
        known: Content of each of them that can be read.
        groups: What decides the part of each; None: its content.

    Raises:
        NoDataError: When there is no training snapshot.
        RecipeError: When nobody turned to an item with a content.
    """
    snapshot_id, cuts = current_snapshot(lakehouse)
    asked = config.ties
    own = train_pairs(lakehouse, snapshot_id).join(items, "item_id", "left_semi").select("user_id", "item_id", "at")
    pairs = lakehouse.stage("adapt_pairs", own)
    batches = lakehouse.stream_arrow("adapt_visits", sampled_visits(pairs, config))
    columns = ((batch["user_id"].to_pylist(), batch["item_id"].to_pylist()) for batch in batches)
    visits = (visit for of_users, of_items in columns for visit in zip(of_users, of_items, strict=True))
    behaviour = make_behaviour(known, visits, config.valid_share, config.test_share, groups)
    if not behaviour.visits.nnz or not len(behaviour.items("train")):
        raise RecipeError(
            f"Adaptation `{config.name}`: users that turned to items with a text or image to learn from are needed, "
            "got none."
        )
    place = {behaviour.item_ids[item]: int(item) for item in behaviour.items("train")}
    further = []
    if "searches" in asked:
        counted = [kind for kind, weight in weights.items() if weight > 0]
        events = train_events(lakehouse.read("event"), cuts)
        found = answered_searches(events, counted, config.search_minutes).join(pairs, ["user_id", "item_id"])
        further.append(found.where(F.col("next_at") <= F.col("at")))
    if "reviews" in asked:
        reviews = _before(lakehouse.read("review"), "review_ts", cuts).select("review_id", "user_id", "item_id")
        of_train = reviews.join(pairs, ["user_id", "item_id"], "left_semi")
        texts = joined_texts(read_owner_text(lakehouse))
        further.append(review_words(texts).join(of_train, "review_id"))
    ties = list[tuple[str, int]]()
    for one in further:
        told = one.select("text", "item_id").distinct()
        chosen = told.orderBy(F.xxhash64("text", "item_id"), "text", "item_id").limit(config.max_pairs)
        ties += [(row["text"], place[row["item_id"]]) for row in chosen.collect() if row["item_id"] in place]
    return behaviour, ties


def sampled_visits(pairs: DataFrame, config: AdaptationConfig) -> DataFrame:
    """Pairs of at most `max_users` users, `max_items_of_user` of each."""
    users = pairs.select("user_id").distinct().orderBy(F.xxhash64("user_id"), "user_id").limit(config.max_users)
    by_hash = Window.partitionBy("user_id").orderBy(F.xxhash64("user_id", "item_id"), "item_id")
    placed = pairs.join(users, "user_id", "left_semi").withColumn("place", F.row_number().over(by_hash))
    return placed.where(F.col("place") <= config.max_items_of_user).select("user_id", "item_id")


def train_events(events: DataFrame, cuts: Cuts) -> DataFrame:
    """Events that are not known to be of valid or test, by the split that they bring or by their time."""
    if cuts.given:
        return events.where(F.coalesce("split", F.lit("train")) == "train")
    return _before(events, "event_ts", cuts)


def _before(rows: DataFrame, column: str, cuts: Cuts) -> DataFrame:
    """Rows from before the end of train, where times tell it."""
    end = cuts.before("fit1")
    return rows if end is None else rows.where(F.col(column) < F.lit(end))


def answered_searches(events: DataFrame, counted: list[str], minutes: float) -> DataFrame:
    """Words of searches with the item that their user turned to next, in time.

    Returns:
        `user_id`, `text`, `item_id`, `next_at`.
    """
    is_search = F.col("query").isNotNull()
    own = Window.partitionBy("user_id").orderBy("event_ts", "event_id")
    acts = events.where(is_search | F.col("event_type").isin(*counted))
    found = acts.withColumn("next_item", F.lead("item_id").over(own)).withColumn(
        "next_at", F.lead("event_ts").over(own)
    )
    seconds = F.col("next_at").cast("long") - F.col("event_ts").cast("long")
    answered = found.where(is_search & F.col("item_id").isNull() & F.col("next_item").isNotNull())
    return answered.where(seconds <= minutes * 60).select(
        "user_id", F.col("query").alias("text"), F.col("next_item").alias("item_id"), "next_at"
    )


def behaviour_graph(
    behaviour: Behaviour, pairs: list[tuple[str, int]], config: AdaptationConfig
) -> tuple[csr_array, list[str]]:
    """Contents that belong together, those of items first; see `co_visits` and `add_pairs`."""
    graph = co_visits(behaviour, config.num_neighbours, config.shrinkage)
    if "co_visits" not in config.ties:
        graph = csr_array(graph.shape, dtype=graph.dtype)
    return add_pairs(graph, behaviour.contents, pairs, config.pair_weight)
