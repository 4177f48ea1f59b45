"""The table owner_text: every text of an item or review, written once by extraction and read by all others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.config import DOCUMENT
from mmrec_lib.embedding.document_parts import column_parts
from mmrec_lib.embedding.extracted_text import TRANSCRIPT, TextExtractor, media_words, precomputed_transcripts
from mmrec_lib.embedding.revisions import PROVIDED
from mmrec_lib.embedding.texts import content_id, normalised
from mmrec_lib.errors import NoDataError
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.lakehouse.tables import Lakehouse

WRITTEN = "written"
"""Kind of texts that stand in the record itself."""
# Kinds of which an owner has one text a field.
_BY_FIELD = (WRITTEN, DOCUMENT)
# What joins the words of several media of one owner, by kind.
SEPARATORS = {TRANSCRIPT: " ", "ocr": " ", "labels": ", ", "tags": ", "}
_ITEM_FIELDS = ("title", "description")
_REVIEW_FIELD = "text"
_BETWEEN_FIELDS = ". "


def owner_text_rows(
    item: DataFrame,
    review: DataFrame,
    media_link: DataFrame,
    *,
    media_text: DataFrame,
    provided_text: DataFrame,
    extractors: Sequence[TextExtractor],
) -> DataFrame:
    """Rows of `owner_text`: what records say, and what is said, written, shown and heard in their media.

    A precomputed transcript of an owner stands for those of its media. Texts of which nothing is left in normal form
    have no row, nor have those of items and reviews that are gone.

    Args:
        item: Bronze table.
        review: Bronze table.
        media_link: Bronze table.
        media_text: Silver table.
        provided_text: Bronze table.
        extractors: The models whose words count; precomputed ones always do.
    """
    owner = ("owner_kind", "owner_id")
    of_owner = precomputed_transcripts(provided_text).select(
        *owner,
        "text",
        "language",
        F.lit(TRANSCRIPT).alias("field"),
        F.lit(TRANSCRIPT).alias("kind"),
        F.lit(0).alias("position"),
        F.lit(PROVIDED).alias("encoder_id"),
        F.lit(PROVIDED).alias("revision"),
    )
    of_media = (
        media_words(media_link, media_text, extractors)
        .join(of_owner.select(*owner, "kind"), [*owner, "kind"], "left_anti")
        .withColumnRenamed("media", "field")
    )
    owners = item.select(F.lit("item").alias("owner_kind"), F.col("item_id").alias("owner_id")).unionByName(
        review.select(F.lit("review").alias("owner_kind"), F.col("review_id").alias("owner_id"))
    )
    found = of_owner.unionByName(of_media, allowMissingColumns=True).join(owners, list(owner), "left_semi")
    nothing = F.lit(None).cast("string")
    rows = reduce(
        lambda one, other: one.unionByName(other, allowMissingColumns=True),
        [
            _written("item", item, "item_id", _ITEM_FIELDS, nothing),
            _written("review", review, "review_id", (_REVIEW_FIELD,), F.col("language")),
            found,
        ],
    )
    normal = rows.withColumn("text", normalised(F.col("text"))).where(F.col("text").isNotNull())
    return normal.withColumn("content_id", content_id(F.col("text"))).select(*CONTRACTS["owner_text"].content_columns)


def document_rows(owner_text: DataFrame, item: DataFrame, entries: Sequence[str]) -> DataFrame:
    """Rows of `owner_text` that bring together what items say, as one text each; their kind is `document`.

    Items of which none of the entries says anything have none.

    Args:
        owner_text: The other rows, see `owner_text_rows`.
        item: Bronze table.
        entries: See `EmbeddingConfig.document_entries`.
    """
    texts = joined_texts(owner_text).where((F.col("owner_kind") == "item") & F.col("field").isin(*entries))
    of_texts = texts.select("owner_id", _place(F.col("field"), entries).alias("place"), F.lit("").alias("name"), "text")
    of_columns = column_parts(item, entries).withColumnRenamed("item_id", "owner_id")
    parts = of_texts.unionByName(of_columns.withColumn("text", normalised(F.col("text"))))
    # Also without those of which only dots are left.
    in_order = F.array_sort(F.collect_list(F.struct("place", "name", "text")))
    rows = parts.where(F.rtrim("text", F.lit(".")) != "").groupBy("owner_id").agg(in_order.alias("parts"))
    made = {
        "owner_kind": F.lit("item"),
        "owner_id": F.col("owner_id"),
        "field": F.lit(DOCUMENT),
        "kind": F.lit(DOCUMENT),
        "position": F.lit(0),
        "text": F.trim(_as_one("parts")),
    }
    contract = CONTRACTS["owner_text"]
    nothing = {name: F.lit(None).cast(contract.schema[name].dataType) for name in contract.content_columns}
    documents = rows.select(*[value.alias(name) for name, value in (nothing | made).items()])
    return documents.withColumn("content_id", content_id(F.col("text"))).select(*contract.content_columns)


def write_owner_text(
    lakehouse: Lakehouse, extractors: Sequence[TextExtractor], document_entries: Sequence[str] = ()
) -> int:
    """Make the table owner_text hold the texts of all items and reviews as they are now; returns its number of rows.

    Args:
        lakehouse: Tables.
        extractors: The models whose words count; precomputed ones always do.
        document_entries: See `document_rows`; empty makes none.
    """
    item = lakehouse.read("item")
    rows = owner_text_rows(
        item,
        lakehouse.read("review"),
        lakehouse.read("media_link"),
        media_text=lakehouse.read("media_text"),
        provided_text=lakehouse.read("provided_text"),
        extractors=extractors,
    )
    texts = lakehouse.stage("owner_text", rows)
    if document_entries:
        texts = texts.unionByName(lakehouse.stage("owner_text", document_rows(texts, item, document_entries)))
    lakehouse.merge("owner_text", Staged(texts), delete_keys=lakehouse.read("owner_text"))
    # Also where there is no text at all: readers take a store without the table for one of an earlier version.
    lakehouse.ensure("owner_text")
    return texts.count()


def read_owner_text(lakehouse: Lakehouse) -> DataFrame:
    """The table owner_text.

    Raises:
        NoDataError: When it was never written, as in a store of an earlier version: without it every text would count
            as gone.
    """
    if not lakehouse.exists("owner_text"):
        raise NoDataError("Table owner_text: the store has none yet. Run extract_text first, which writes it.")
    return lakehouse.read("owner_text")


def texts_of_fields(lakehouse: Lakehouse, fields: Sequence[str], setting: str) -> DataFrame:
    """Texts of each owner, see `joined_texts`, for readers of some fields.

    Args:
        lakehouse: Tables.
        fields: Fields that are read.
        setting: Configuration key that names them, for people.

    Raises:
        NoDataError: When there is no owner_text, or `document` is among the fields and no item has one.
    """
    texts = read_owner_text(lakehouse)
    if DOCUMENT in fields and texts.where(F.col("kind") == DOCUMENT).isEmpty():
        raise NoDataError(
            f"{setting}: the field `{DOCUMENT}` is named, and no item in owner_text has one. Set embedding.document to "
            "what it is made of, or embedding.encode.item.document to an encoder, and run extract_text."
        )
    return joined_texts(texts)


def joined_texts(owner_text: DataFrame) -> DataFrame:
    """Texts of each owner, those of one kind that were found in several of its media joined in the order of these.

    Args:
        owner_text: Silver table.

    Returns:
        `owner_kind`, `owner_id`, `field`, `text`, `content_id`; of found words `field` is their kind. One row an owner
        and field.
    """
    names = ("owner_kind", "owner_id", "field", "text", "content_id")
    by_field = owner_text.where(F.col("kind").isin(*_BY_FIELD)).select(*names)
    in_order = F.array_sort(F.collect_list(F.struct("field", "position", "text", "content_id")))
    texts = F.transform(F.col("parts"), lambda part: part["text"])
    joined = [F.when(F.col("kind") == kind, F.array_join(texts, by)) for kind, by in SEPARATORS.items()]
    found = (
        owner_text.where(~F.col("kind").isin(*_BY_FIELD))
        .groupBy("owner_kind", "owner_id", "kind")
        .agg(in_order.alias("parts"))
        .select("owner_kind", "owner_id", F.col("kind").alias("field"), "parts", F.coalesce(*joined).alias("text"))
        .withColumn(
            "content_id",
            F.when(F.size("parts") == 1, F.col("parts")[0]["content_id"]).otherwise(content_id(F.col("text"))),
        )
    )
    return by_field.unionByName(found.select(*names))


def review_words(texts: DataFrame) -> DataFrame:
    """The words of each review that has some, written or else spoken.

    Args:
        texts: See `joined_texts`.

    Returns:
        `review_id`, `text`, `content_id`.
    """
    written_first = F.when(F.col("field") == _REVIEW_FIELD, 0).otherwise(1)
    of_reviews = texts.where((F.col("owner_kind") == "review") & F.col("field").isin(_REVIEW_FIELD, TRANSCRIPT))
    words = of_reviews.groupBy(F.col("owner_id").alias("review_id")).agg(
        F.min_by(F.struct("text", "content_id"), written_first).alias("words")
    )
    return words.select("review_id", "words.text", "words.content_id")


def documents(texts: DataFrame, fields: Sequence[str]) -> DataFrame:
    """The texts of each owner as one, in the order of the fields.

    Args:
        texts: See `joined_texts`.
        fields: Fields that count.

    Returns:
        `owner_kind`, `owner_id`, `document`.
    """
    order = _place(F.col("field"), fields)
    parts = (
        texts.where(F.col("field").isin(*fields))
        .groupBy("owner_kind", "owner_id")
        .agg(F.array_sort(F.collect_list(F.struct(order.alias("order"), "text"))).alias("parts"))
    )
    return parts.select("owner_kind", "owner_id", _as_one("parts").alias("document"))


def single_texts(texts: DataFrame, fields: Sequence[str]) -> DataFrame:
    """The first of some fields that each owner has: `owner_kind`, `owner_id`, `document`."""
    chosen = F.min_by("text", _place(F.col("field"), fields))
    return texts.where(F.col("field").isin(*fields)).groupBy("owner_kind", "owner_id").agg(chosen.alias("document"))


def _written(kind: str, records: DataFrame, key: str, fields: Sequence[str], language: Column) -> DataFrame:
    """Texts of records, one row a field."""
    texts = F.array(*[F.struct(F.lit(name).alias("field"), F.col(name).alias("text")) for name in fields])
    return (
        records.select(F.col(key).alias("owner_id"), language.alias("language"), F.explode(texts).alias("own"))
        .where(F.col("own.text").isNotNull())
        .select(
            F.lit(kind).alias("owner_kind"),
            "owner_id",
            "own.field",
            "own.text",
            "language",
            F.lit(WRITTEN).alias("kind"),
            F.lit(0).alias("position"),
        )
    )


def _as_one(parts: str) -> Column:
    """The texts of an array in its order, as one text."""
    words = F.transform(parts, lambda part: F.rtrim(part["text"], F.lit(".")))
    return F.array_join(words, _BETWEEN_FIELDS)


def _place(field: Column, fields: Sequence[str]) -> Column:
    start = F.lit(len(fields))
    return reduce(lambda rest, n: F.when(field == fields[n], n).otherwise(rest), range(len(fields)), start)
