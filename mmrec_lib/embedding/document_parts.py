"""Columns and attributes of items in words, and the entries that a document of an item may be made of."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mmrec_lib.embedding.config import ATTRIBUTE, ATTRIBUTES, CATEGORIES, DOCUMENT_COLUMNS, PRICE

_BETWEEN_VALUES = ", "
_ENTRIES = "array<struct<key: string, value: string>>"
# Numbers, dates and truth values: they say nothing without the name of what they are.
_NEEDS_NAME = r"^(?:[^\p{L}]*\d[^\p{L}]*|(?i:true|false))$"


def column_parts(item: DataFrame, entries: Sequence[str]) -> DataFrame:
    """Words of columns and attributes.

    Lists are joined by commas. Numbers, dates and truth values stand with their name (`year: 1995`), all others alone.

    Args:
        item: Bronze table.
        entries: See `EmbeddingConfig.document_entries`; fields of texts are passed over.

    Returns:
        `item_id`, `place` (that of the entry), `name` (that of the attribute or column) and `text`, as delivered and
        not in normal form. One row an item and column, or attribute, that has a value.
    """
    named = _named_attributes(entries)
    parts = [_parts(entry, place, named) for place, entry in enumerate(entries) if _is_of_columns(entry)]
    if not parts:
        return item.limit(0).select("item_id", F.lit(0).alias("place"), *(F.lit("").alias(n) for n in ("name", "text")))
    rows = item.select("item_id", F.explode(F.flatten(F.array(*parts))).alias("part")).select("item_id", "part.*")
    return rows.where(F.col("text").isNotNull())


def unknown_attributes(item: DataFrame, entries: Sequence[str]) -> list[str]:
    """Attributes that entries name and no item has.

    Args:
        item: Bronze table.
        entries: See `EmbeddingConfig.document_entries`.
    """
    named = _named_attributes(entries)
    if not named:
        return []
    is_there = [F.max(F.map_contains_key("attributes", name)) for name in named]
    return [name for name, found in zip(named, item.agg(*is_there).collect()[0], strict=True) if not found]


def _named_attributes(entries: Sequence[str]) -> list[str]:
    return [entry.removeprefix(ATTRIBUTE) for entry in entries if entry.startswith(ATTRIBUTE)]


def _is_of_columns(entry: str) -> bool:
    return entry in DOCUMENT_COLUMNS or entry.startswith(ATTRIBUTE)


def _parts(entry: str, place: int, named: Sequence[str]) -> Column:
    """Array of the words of an entry."""
    if entry == CATEGORIES:
        return F.array(_part(place, CATEGORIES, _joined(F.col("categories"))))
    if entry == PRICE:
        return F.array(_part(place, PRICE, F.col("price").try_cast("decimal(18, 2)").cast("string")))
    if entry == ATTRIBUTES:
        all_of_them = F.coalesce(F.map_entries("attributes"), F.array().cast(_ENTRIES))
        others = F.filter(all_of_them, lambda one: ~one["key"].isin(*named)) if named else all_of_them
        return F.transform(others, lambda one: _part(place, one["key"], _words(one["value"])))
    name = entry.removeprefix(ATTRIBUTE)
    return F.array(_part(place, name, _words(F.try_element_at("attributes", F.lit(name)))))


def _part(place: int, name: str | Column, text: Column) -> Column:
    told = F.lit(name) if isinstance(name, str) else name
    with_name = F.when(text.rlike(_NEEDS_NAME), F.concat_ws(": ", told, text)).otherwise(text)
    return F.struct(F.lit(place).alias("place"), told.alias("name"), with_name.alias("text"))


def _words(value: Column) -> Column:
    """An attribute's value in words: lists and objects come as JSON, which Spark reads up to its end and no further."""
    as_entries = F.map_entries(F.from_json(value, "map<string, string>"))
    has_value = F.filter(as_entries, lambda one: one["value"].isNotNull())
    of_object = F.transform(has_value, lambda one: F.concat_ws(": ", one["key"], one["value"]))
    return F.coalesce(
        F.when(value.startswith("[") & value.endswith("]"), _joined(F.from_json(value, "array<string>"))),
        F.when(value.startswith("{") & value.endswith("}"), _joined(of_object)),
        value,
    )


def _joined(values: Column) -> Column:
    return F.array_join(F.filter(values, lambda one: F.trim(one) != ""), _BETWEEN_VALUES)
