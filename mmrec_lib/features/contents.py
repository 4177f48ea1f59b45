"""Item features of a snapshot: released embeddings, tokens from attributes and graph, reviews up to a fit's cut."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import reduce

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import MapType

from mmrec_lib.embedding.owner_text import joined_texts, review_words
from mmrec_lib.embedding.pooling import mean_vectors
from mmrec_lib.embedding.storage import with_vectors
from mmrec_lib.features.config import FeaturesConfig
from mmrec_lib.features.interactions import Cuts

ALL_FITS = "all"
RARE_ATTRIBUTES, RARE_RELATIONS = "attributes:rare", "relations:rare"
"""Blocks that rare attributes and relations share; their tokens are `name=value`."""
_PRICE_BINS = 10
_MIN_ITEMS_A_TOKEN = 2


def released_vectors(item_embedding: DataFrame, encoder_release: DataFrame) -> DataFrame:
    """Vectors of the released encoders as feature blocks; reviews are left to `review_vectors`.

    A block is named <modality>:<field>; for provided vectors, and where several encoders serve a field, the encoder
    follows: <modality>:<field>:<encoder_id>.

    Returns:
        fit, feature, item_id, tokens (null), vector.
    """
    blocks = _blocks(encoder_release).where(F.col("field") != "review")
    vectors = with_vectors(item_embedding)
    released = vectors.join(F.broadcast(blocks), ["modality", "field", "encoder_id", "revision"])
    return released.select(
        F.lit(ALL_FITS).alias("fit"),
        "feature",
        "item_id",
        F.lit(None).cast("array<string>").alias("tokens"),
        "vector",
    )


def _blocks(encoder_release: DataFrame) -> DataFrame:
    """The names of blocks: modality, field, encoder_id, revision, feature."""
    name = F.concat_ws(":", "modality", "field")
    several = F.count(F.lit(1)).over(Window.partitionBy("modality", "field")) > 1
    feature = F.when((F.col("field") == "provided") | several, F.concat_ws(":", name, "encoder_id")).otherwise(name)
    return encoder_release.select("modality", "field", "encoder_id", "revision", feature.alias("feature"))


def review_contents(
    review: DataFrame, owner_text: DataFrame, content_embedding: DataFrame, encoder_release: DataFrame
) -> DataFrame:
    """Vectors of reviews under the released encoders: feature, item_id, review_ts, content_id, vector.

    Args:
        review: Bronze table.
        owner_text: Silver table.
        content_embedding: Silver table.
        encoder_release: Silver table.
    """
    blocks = _blocks(encoder_release).where(F.col("field") == "review").drop("modality", "field")
    vectors = with_vectors(content_embedding).join(F.broadcast(blocks), ["encoder_id", "revision"])
    words = review_words(joined_texts(owner_text)).select("review_id", "content_id")
    texts = review.select("review_id", "item_id", "review_ts").join(words, "review_id")
    return texts.join(vectors.select("content_id", "feature", "vector"), "content_id").select(
        "feature", "item_id", "review_ts", "content_id", "vector"
    )


def review_vectors(review_contents: DataFrame, cuts: Cuts, fits: tuple[str, ...]) -> DataFrame:
    """Vectors of the reviews that each fit may know, pooled an item: only those written before the fit's cut.

    Reviews of data with a given split cannot be dated against it and stay out of its fits.

    Args:
        review_contents: feature, item_id, review_ts, content_id, vector: one row a review with a vector.
        cuts: Where the fits end.
        fits: Names of the fits to make.

    Returns:
        fit, feature, item_id, tokens (null), vector, latest_ts (time of the latest review in it).
    """
    known = [
        review_contents.where(F.col("review_ts") < F.lit(before)).withColumn("fit", F.lit(fit))
        for fit in fits
        if (before := cuts.before(fit)) is not None
    ]
    rows = reduce(DataFrame.unionByName, known, review_contents.limit(0).withColumn("fit", F.lit("")))
    pooled = mean_vectors(
        rows.select(
            "item_id",
            F.lit("text").alias("modality"),
            F.lit("review").alias("field"),
            F.col("feature").alias("encoder_id"),
            F.col("fit").alias("revision"),
            "content_id",
            "vector",
        )
    )
    vectors = pooled.select(
        F.col("revision").alias("fit"),
        F.col("encoder_id").alias("feature"),
        "item_id",
        F.lit(None).cast("array<string>").alias("tokens"),
        "vector",
    )
    latest = rows.groupBy("fit", "feature", "item_id").agg(F.max("review_ts").alias("latest_ts"))
    return vectors.join(latest, ["fit", "feature", "item_id"])


def attribute_tokens(items: DataFrame, config: FeaturesConfig) -> DataFrame:
    """Categories, price range and further attributes of items as tokens; tokens of a single item tell nothing and go.

    Args:
        items: Table item.
        config: How many attributes are blocks of their own; categories and price always are.

    Returns:
        fit, feature, item_id, tokens, vector (null).
    """
    categories = items.select(
        "item_id", F.lit("attribute:categories").alias("feature"), F.explode("categories").alias("token")
    )
    as_list = F.from_json(F.col("value"), "array<string>")
    attributes = (
        items.select("item_id", F.explode("attributes").alias("key", "value"))
        .where(F.col("value").isNotNull())
        .select(
            "item_id",
            F.concat(F.lit("attribute:"), F.col("key")).alias("feature"),
            F.explode(F.when(F.col("value").startswith("["), as_list).otherwise(F.array("value"))).alias("token"),
        )
    )
    edges = items.agg(
        F.percentile_approx("price", [i / _PRICE_BINS for i in range(1, _PRICE_BINS)], 10_000).alias("edges")
    ).select(F.coalesce("edges", F.array().cast("array<double>")).alias("edges"))
    prices = (
        items.where(F.col("price").isNotNull())
        .crossJoin(edges)
        .select(
            "item_id",
            F.lit("attribute:price").alias("feature"),
            F.size(F.filter("edges", lambda edge: edge < F.col("price"))).cast("string").alias("token"),
        )
    )
    free = _capped_blocks(_shared_tokens(attributes), items, RARE_ATTRIBUTES, config)
    return _token_lists(_shared_tokens(categories.unionByName(prices)).unionByName(free))


def graph_tokens(items: DataFrame, graph_edge: DataFrame, config: FeaturesConfig) -> DataFrame:
    """Tails of each item's graph edges as tokens, one block a relation; see `attribute_tokens`."""
    edges = graph_edge.join(items.select(F.col("item_id").alias("head")), "head", "left_semi")
    feature = F.concat(F.lit("graph:"), F.col("relation"))
    tokens = edges.select(F.col("head").alias("item_id"), feature.alias("feature"), F.col("tail").alias("token"))
    return _token_lists(_capped_blocks(_shared_tokens(tokens), items, RARE_RELATIONS, config))


def _shared_tokens(tokens: DataFrame) -> DataFrame:
    """Distinct item_id, feature and token, where a token is that of two items at least."""
    distinct = tokens.where(F.col("token").isNotNull()).select("item_id", "feature", "token").distinct()
    shared = (
        distinct.groupBy("feature", "token")
        .agg(F.count(F.lit(1)).alias("num_items"))
        .where(F.col("num_items") >= _MIN_ITEMS_A_TOKEN)
    )
    return distinct.join(shared.select("feature", "token"), ["feature", "token"], "left_semi")


def _capped_blocks(tokens: DataFrame, items: DataFrame, rare: str, config: FeaturesConfig) -> DataFrame:
    """Leave the features of the most items as blocks of their own, and put all others into the block `rare`.

    The names of attributes and relations are data: a few items may bring thousands of them.
    """
    coverage = tokens.groupBy("feature").agg(F.countDistinct("item_id").alias("num_items"))
    least = items.agg((F.count(F.lit(1)) * F.lit(config.min_block_share)).alias("least"))
    widest_first = Window.orderBy(F.col("num_items").desc(), "feature")
    own = (
        coverage.crossJoin(F.broadcast(least))
        .withColumn("place", F.row_number().over(widest_first))
        .where((F.col("place") <= config.max_attribute_blocks) & (F.col("num_items") >= F.col("least")))
        .select("feature", F.lit(True).alias("is_own"))
    )
    named = tokens.join(own, "feature", "left")
    told = F.concat_ws("=", F.regexp_replace("feature", "^[a-z]+:", ""), F.col("token"))
    return named.select(
        "item_id",
        F.when(F.col("is_own"), F.col("feature")).otherwise(F.lit(rare)).alias("feature"),
        F.when(F.col("is_own"), F.col("token")).otherwise(told).alias("token"),
    )


def _token_lists(tokens: DataFrame) -> DataFrame:
    return (
        tokens.groupBy("feature", "item_id")
        .agg(F.array_sort(F.collect_list("token")).alias("tokens"))
        .select(
            F.lit(ALL_FITS).alias("fit"),
            "feature",
            "item_id",
            "tokens",
            F.lit(None).cast("array<float>").alias("vector"),
        )
    )


def snapshot_hash(interactions: DataFrame, contents: DataFrame, about: Mapping[str, str]) -> str:
    """Identity of a snapshot by its content, so that the same content has the same id however it came about.

    Returns:
        16 hexadecimal digits.
    """
    parts = [json.dumps(dict(about), sort_keys=True)]
    for rows in (interactions, contents):
        values = {
            # Maps have no hash, because the order of their entries says nothing.
            field.name: F.array_sort(F.map_entries(field.name))
            if isinstance(field.dataType, MapType)
            else F.col(field.name)
            for field in rows.schema.fields
        }
        hashed = F.xxhash64(*[part for _, value in sorted(values.items()) for part in (value, value.isNull())])
        sums = rows.agg(F.count(F.lit(1)).alias("rows"), F.bit_xor(hashed).alias("hash")).collect()[0]
        parts.append(f"{sums['rows']}:{sums['hash']}")
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]
