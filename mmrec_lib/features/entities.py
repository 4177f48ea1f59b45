"""Entities that a tagger found in texts of items: attributes where the store tells none, and edges of the graph."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.features.config import EntityConfig
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.lakehouse.tables import Lakehouse

ENTITIES, FOUND = "text_entity", "found_attribute"
_log = logging.getLogger(__name__)
_OWN = ["item_id", "attribute"]


def item_entities(text_entity: DataFrame, items: DataFrame, config: EntityConfig) -> DataFrame:
    """Entities of items as values of attributes, one spelling for each.

    A value that an item of the store has in any case is spelled as most of these have it; any other as it was found
    most often.

    Args:
        text_entity: Silver table.
        items: Table item.
        config: Which recipe and labels count.

    Returns:
        `item_id`, `attribute`, `value`, `confidence` (the greatest), `recipe`, `revision`.
    """
    names = F.create_map(*[F.lit(part) for pair in sorted(config.attributes.items()) for part in pair])
    found = (
        text_entity.where((F.col("recipe") == config.recipe) & (F.col("owner_kind") == "item"))
        .where((F.col("confidence") >= config.min_confidence) & F.col("label").isin(*config.attributes))
        .select(
            F.col("owner_id").alias("item_id"),
            F.try_element_at(names, F.col("label")).alias("attribute"),
            F.trim("text").alias("text"),
            "confidence",
            "recipe",
            "revision",
        )
        .join(items.select("item_id"), "item_id", "left_semi")
        .withColumn("key", F.lower("text"))
    )
    told = _written(items).select("attribute", F.lower("value").alias("key"), "value")
    spelled = _most_frequent(told, "value").withColumnRenamed("value", "written")
    as_found = _most_frequent(found, "text").withColumnRenamed("text", "spelling")
    best = F.max_by(F.struct("recipe", "revision"), F.struct("confidence", "revision"))
    return (
        found.join(as_found, ["attribute", "key"])
        .join(spelled, ["attribute", "key"], "left")
        .groupBy(*_OWN, F.coalesce("written", "spelling").alias("value"))
        .agg(F.max("confidence").alias("confidence"), best.alias("by"))
        .select(*_OWN, "value", "confidence", "by.recipe", "by.revision")
    )


def missing_attributes(entities: DataFrame, items: DataFrame) -> DataFrame:
    """The most confident entity of each attribute that the store does not tell of an item.

    Args:
        entities: See `item_entities`.
        items: Table item.
    """
    order = Window.partitionBy(*_OWN).orderBy(F.desc("confidence"), "value")
    first = entities.withColumn("place", F.row_number().over(order)).where("place = 1").drop("place")
    return first.join(_written(items), _OWN, "left_anti")


def filled_items(items: DataFrame, found: DataFrame) -> DataFrame:
    """Items whose attributes have the found ones as well, for features alone: the table item stays as it was written.

    Args:
        items: Table item.
        found: See `missing_attributes`.
    """
    more = F.map_from_entries(F.array_sort(F.collect_list(F.struct("attribute", "value"))))
    by_item = found.groupBy("item_id").agg(more.alias("more"))
    nothing = F.create_map().cast("map<string,string>")
    told = F.map_filter(F.coalesce("attributes", nothing), lambda _, value: ~_is_blank(value))
    joined = items.join(by_item, "item_id", "left")
    both = F.when(F.col("more").isNull(), F.col("attributes")).otherwise(F.map_concat(told, "more"))
    return joined.withColumn("attributes", both).drop("more")


def entity_edges(entities: DataFrame) -> DataFrame:
    """Entities as edges of the graph, marked by their relation: head, relation, tail."""
    return entities.select(
        F.col("item_id").alias("head"),
        F.concat(F.lit("found_"), F.col("attribute")).alias("relation"),
        F.col("value").alias("tail"),
    )


@dataclass(frozen=True)
class Entities:
    """Entities of a snapshot, staged.

    Attributes:
        every: See `item_entities`.
        missing: See `missing_attributes`.
        are_edges: True where they are edges of the graph as well.
    """

    every: DataFrame
    missing: DataFrame
    are_edges: bool

    def filled(self, items: DataFrame) -> DataFrame:
        """See `filled_items`."""
        return filled_items(items, self.missing)

    def joined(self, edges: DataFrame) -> DataFrame:
        """Edges of the graph (head, relation, tail), with those of entities where these are edges."""
        return edges.unionByName(entity_edges(self.every)) if self.are_edges else edges


def read_entities(lakehouse: Lakehouse, items: DataFrame, config: EntityConfig | None) -> Entities | None:
    """Entities of items; None, and nothing is read, where none are asked for."""
    if config is None:
        return None
    every = lakehouse.stage(ENTITIES, item_entities(lakehouse.read(ENTITIES), items, config))
    if every.isEmpty():
        _log.warning(
            "features.entities: no entity of recipe %s and labels %s is as certain as %g; run train_recipe for it",
            config.recipe,
            ", ".join(sorted(config.attributes)),
            config.min_confidence,
        )
    return Entities(every, lakehouse.stage(FOUND, missing_attributes(every, items)), config.edges)


def write_found_attributes(lakehouse: Lakehouse, entities: Entities | None) -> None:
    """Make found_attribute hold what the store does not tell; without entities it is emptied where it is there."""
    if entities is None and not lakehouse.exists(FOUND):
        return
    nothing = lakehouse.spark.createDataFrame([], CONTRACTS[FOUND].input_schema)
    rows = nothing if entities is None else entities.missing
    lakehouse.merge(FOUND, Staged(rows), delete_keys=lakehouse.read(FOUND))


def _written(items: DataFrame) -> DataFrame:
    """Attributes that the store tells: item_id, attribute, value."""
    told = items.select("item_id", F.explode("attributes").alias("attribute", "value"))
    return told.where(~_is_blank(F.col("value")))


def _is_blank(value: Column) -> Column:
    return F.coalesce(F.trim(value), F.lit("")) == ""


def _most_frequent(rows: DataFrame, column: str) -> DataFrame:
    """The most frequent spelling of each attribute and key; of equal ones the first by name."""
    counts = rows.groupBy("attribute", "key", column).agg(F.count(F.lit(1)).alias("number"))
    order = Window.partitionBy("attribute", "key").orderBy(F.desc("number"), column)
    return counts.withColumn("place", F.row_number().over(order)).where("place = 1").select("attribute", "key", column)
