"""Facts of the catalogue: tables → Arrow → what workers read."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mmrec_lib.embedding.owner_text import joined_texts
from mmrec_lib.features.load import sorted_table
from mmrec_lib.generation.config import GenerationConfig
from mmrec_lib.generation.facts import FactRules, ItemFacts
from mmrec_lib.generation.names import name_key
from mmrec_lib.lakehouse.tables import Lakehouse

# More of a title, or of the words of an image, is in no text.
_MAX_CHARACTERS = 400
_MAX_ASPECTS = 3
_PRAISE = 0.05
FILE = "items.arrow"


def item_facts(lakehouse: Lakehouse, config: GenerationConfig, brand_attribute: str) -> pa.Table:
    """Facts of all items, sorted by id: columns of `ItemFacts`, `rating` where it is at least the store's mean.

    Args:
        lakehouse: Tables.
        config: Which facts are told.
        brand_attribute: Attribute of items that names their brand.
    """
    items = lakehouse.read("item").select(
        "item_id",
        F.substring("title", 1, _MAX_CHARACTERS).alias("title"),
        F.coalesce("categories", F.array().cast("array<string>")).alias("categories"),
        F.try_element_at("attributes", F.lit(brand_attribute)).alias("brand"),
        "price",
        (F.coalesce(F.length(F.trim("description")), F.lit(0)) > 0).alias("is_described"),
    )
    rows = items.join(_opinions(lakehouse, config), "item_id", "left")
    if config.describe_items:
        rows = rows.join(_seen_in_images(lakehouse), "item_id", "left")
    else:
        nothing = F.lit(None).cast("string")
        rows = rows.withColumns({"labels": nothing, "words": nothing})
    table = sorted_table(lakehouse, "item_id", rows)
    table = table.set_column(table.column_names.index("rating"), "rating", _at_least_mean(table))
    return with_silent_brands(table, frozenset(config.silent_categories))


def with_silent_brands(table: pa.Table, silent_categories: frozenset[str]) -> pa.Table:
    """Items with `is_brand_silent`: True where an item of a silent category has the brand, in any case.

    Args:
        table: Columns `categories` and `brand`.
        silent_categories: Names of categories.
    """
    rules = FactRules(silent_categories=silent_categories)
    found: set[str] = set()
    if silent_categories and table.num_rows:
        categories = table["categories"].combine_chunks()
        names = [name for name in pc.unique(categories.flatten()).to_pylist() if name and rules.is_silent_name(name)]
        is_silent = pc.is_in(categories.flatten(), value_set=pa.array(names, pa.string()))
        rows = pc.unique(pc.list_parent_indices(categories).filter(is_silent))
        found = {name_key(brand) for brand in pc.unique(table["brand"].take(rows)).to_pylist() if brand}
    brands = [brand for brand in pc.unique(table["brand"]).to_pylist() if brand and name_key(brand) in found]
    return table.append_column("is_brand_silent", pc.is_in(table["brand"], value_set=pa.array(brands, pa.string())))


def _opinions(lakehouse: Lakehouse, config: GenerationConfig) -> DataFrame:
    """`aspects` that more reviews praise than blame, `rating` and `num_ratings` (of ratings given), by item."""
    of_item = lakehouse.read("review").where(F.col("item_id").isNotNull()).select("review_id", "item_id")
    opinions = lakehouse.read("review_opinion").select("review_id", "aspects", "rating", "rating_source")
    rows = opinions.join(of_item, "review_id")
    praised = F.filter("aspects", lambda one: one["polarity"] > _PRAISE)
    blamed = F.filter("aspects", lambda one: one["polarity"] < -_PRAISE)
    mentions = rows.select("item_id", F.explode(F.concat(_mentions(praised, 1), _mentions(blamed, 0))).alias("mention"))
    counted = mentions.groupBy("item_id", F.col("mention.aspect").alias("aspect")).agg(
        F.sum("mention.is_praise").alias("num"), F.count(F.lit(1)).alias("num_all")
    )
    # Aspects of two words are often no thing but a verb and what it speaks of ("description promises").
    is_thing = ~F.col("aspect").contains(" ")
    is_praised = (F.col("num") >= config.min_reviews) & (F.col("num") * 2 > F.col("num_all"))
    enough = counted.where(is_thing & is_praised)
    # Most praised first, then by name.
    ordered = F.array_sort(F.collect_list(F.struct((-F.col("num")).alias("order"), "aspect", "num")))
    best = F.transform(F.slice(ordered, 1, _MAX_ASPECTS), lambda one: _struct(aspect=one["aspect"], num=one["num"]))
    aspects = enough.groupBy("item_id").agg(best.alias("aspects"))
    given = rows.where((F.col("rating_source") == "given") & F.col("rating").isNotNull())
    # Rounded, so that the order of addition writes no text again.
    mean = F.round(F.avg("rating"), 6)
    ratings = given.groupBy("item_id").agg(mean.alias("rating"), F.count("rating").alias("num_ratings"))
    return ratings.join(aspects, "item_id", "full")


def _mentions(aspects: Column, is_praise: int) -> Column:
    """Array of aspects, each once a review, and whether they are praised."""
    names = F.array_distinct(F.transform(aspects, lambda one: one["aspect"]))
    return F.transform(names, lambda name: _struct(aspect=name, is_praise=F.lit(is_praise)))


def _struct(**fields: Column) -> Column:
    return F.struct(*[column.alias(name) for name, column in fields.items()])


def _seen_in_images(lakehouse: Lakehouse) -> DataFrame:
    """Labels and words of the images of items that have no description."""
    undescribed = lakehouse.read("item").where(F.coalesce(F.length(F.trim("description")), F.lit(0)) == 0)
    texts = lakehouse.read("owner_text").where(
        (F.col("owner_kind") == "item") & (F.col("field") == "images") & F.col("kind").isin("labels", "ocr")
    )
    own = joined_texts(texts.join(undescribed.select(F.col("item_id").alias("owner_id")), "owner_id", "left_semi"))
    text = F.substring("text", 1, _MAX_CHARACTERS)
    return own.groupBy(F.col("owner_id").alias("item_id")).agg(
        F.max(F.when(F.col("field") == "labels", text)).alias("labels"),
        F.max(F.when(F.col("field") == "ocr", text)).alias("words"),
    )


def _at_least_mean(table: pa.Table) -> pa.ChunkedArray:
    """Mean ratings of items that are at least that of all ratings; others are no reason."""
    ratings, numbers = table["rating"], pc.fill_null(table["num_ratings"], 0)
    total = pc.sum(numbers).as_py() or 0
    if not total:
        return ratings
    mean = pc.sum(pc.multiply(ratings, pc.cast(numbers, pa.float64()))).as_py() / total
    return pc.if_else(pc.greater_equal(ratings, mean), ratings, pa.scalar(None, pa.float64()))


class ItemTable:
    """Facts of the catalogue in a worker; only items that are asked for become objects."""

    def __init__(self, table: pa.Table) -> None:
        """Wrap the table of `item_facts`."""
        self.ids = table["item_id"].combine_chunks() if table.num_rows else pa.array([], pa.string())
        self._table = table

    @classmethod
    def load(cls, folder: Path) -> ItemTable:
        """Read what was saved in a folder."""
        return cls(pyarrow.feather.read_table(str(folder / FILE), memory_map=True))

    def save(self, folder: Path) -> None:
        """Write into a folder that exists."""
        pyarrow.feather.write_feather(self._table, str(folder / FILE), compression="uncompressed")

    def places(self, item_ids: pa.Array) -> NDArray[np.int64]:
        """[n] rows of items; -1 for one that is gone."""
        found = pc.fill_null(pc.index_in(item_ids, value_set=self.ids), -1)
        return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)

    def facts(self, item_ids: Iterable[str]) -> dict[str, ItemFacts]:
        """Facts of some items by id; one that is gone is left out."""
        places = sorted(self.places_by_id(item_ids).values())
        return {row["item_id"]: _facts_of(row) for row in self._table.take(pa.array(places, pa.int64())).to_pylist()}

    def places_by_id(self, item_ids: Iterable[str]) -> dict[str, int]:
        """Rows of some items by id; one that is gone is left out."""
        wanted = sorted(set(item_ids))
        places = self.places(pa.array(wanted, pa.string())).tolist()
        return {item: place for item, place in zip(wanted, places, strict=True) if place >= 0}

    def undescribed(self) -> list[ItemFacts]:
        """Facts of the items that the store does not describe."""
        return [_facts_of(row) for row in self._table.filter(pc.invert(self._table["is_described"])).to_pylist()]

    def without_items(self, categories: Collection[str]) -> list[str]:
        """Those of some names of categories that no item has, in any case."""
        if not categories:
            return []
        known = {name_key(name) for name in pc.unique(pc.list_flatten(self._table["categories"])).to_pylist() if name}
        return [name for name in categories if name_key(name) not in known]

    def names(self) -> set[str]:
        """Names of categories, brands and praised aspects."""
        lists = (self._table["categories"].combine_chunks().flatten(), self._table["brand"])
        found = {name for names in lists for name in pc.unique(names).to_pylist() if name}
        return found | {one["aspect"] for own in self._table["aspects"].to_pylist() for one in own or ()}


def _facts_of(row: dict[str, object]) -> ItemFacts:
    values = {name: value for name, value in row.items() if name != "is_described" and value is not None}
    aspects = values.pop("aspects", ())
    return ItemFacts(**values, aspects=[(one["aspect"], one["num"]) for one in aspects])  # type: ignore
