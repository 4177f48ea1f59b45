"""Item features of a snapshot: released embeddings, tokens from attributes and graph, reviews up to a fit's cut."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.embedding.contents import review_words
from mmrec_lib.embedding.pooling import mean_vectors
from mmrec_lib.embedding.texts import content_id, normalised
from mmrec_lib.features.interactions import Cuts

ALL_FITS = "all"
_PRICE_BINS = 10
_MIN_ITEMS_A_TOKEN = 2


def released_vectors(item_embedding: DataFrame, encoder_release: DataFrame) -> DataFrame:
    """Vectors of the released encoders as feature blocks; reviews are left to `review_vectors`.

    A block is named <modality>:<field>, for provided vectors <modality>:provided:<encoder_id>.

    Returns:
        fit, feature, item_id, tokens (null), vector.
    """
    keys = ["modality", "field", "encoder_id", "revision"]
    released = item_embedding.join(encoder_release.select(*keys), keys, "left_semi").where(F.col("field") != "review")
    name = F.concat_ws(":", "modality", "field")
    return released.select(
        F.lit(ALL_FITS).alias("fit"),
        F.when(F.col("field") == "provided", F.concat_ws(":", name, "encoder_id")).otherwise(name).alias("feature"),
        "item_id",
        F.lit(None).cast("array<string>").alias("tokens"),
        "vector",
    )


def review_contents(
    review: DataFrame, words: DataFrame, content_embedding: DataFrame, encoder_release: DataFrame
) -> DataFrame:
    """Vectors of reviews under the released encoder: item_id, review_ts, content_id, vector.

    Args:
        review: Bronze table.
        words: What was said in spoken reviews; see `embedding.transcripts.spoken_words`.
        content_embedding: Silver table.
        encoder_release: Silver table.
    """
    keys = ["encoder_id", "revision"]
    release = encoder_release.where((F.col("modality") == "text") & (F.col("field") == "review")).select(*keys)
    vectors = content_embedding.join(release, keys, "left_semi").where(F.col("vector").isNotNull())
    texts = review_words(review, words).select(
        "item_id", "review_ts", content_id(normalised(F.col("raw"))).alias("content_id")
    )
    return texts.join(vectors.select("content_id", "vector"), "content_id").select(
        "item_id", "review_ts", "content_id", "vector"
    )


def review_vectors(review_contents: DataFrame, cuts: Cuts, fits: tuple[str, ...]) -> DataFrame:
    """Vectors of the reviews that each fit may know, pooled an item: only those written before the fit's cut.

    Reviews of data with a given split cannot be dated against it and stay out of its fits.

    Args:
        review_contents: item_id, review_ts, content_id, vector: one row a review with a vector.
        cuts: Where the fits end.
        fits: Names of the fits to make.

    Returns:
        fit, feature, item_id, tokens (null), vector.
    """
    known = [
        review_contents.where(F.col("review_ts") < F.lit(before)).withColumn("encoder_id", F.lit(fit))
        for fit in fits
        if (before := cuts.before(fit)) is not None
    ]
    rows = reduce(DataFrame.unionByName, known, review_contents.limit(0).withColumn("encoder_id", F.lit("")))
    pooled = mean_vectors(
        rows.select(
            "item_id",
            F.lit("text").alias("modality"),
            F.lit("review").alias("field"),
            "encoder_id",
            F.lit("").alias("revision"),
            "content_id",
            "vector",
        )
    )
    return pooled.select(
        F.col("encoder_id").alias("fit"),
        F.lit("text:review").alias("feature"),
        "item_id",
        F.lit(None).cast("array<string>").alias("tokens"),
        "vector",
    )


def attribute_tokens(items: DataFrame) -> DataFrame:
    """Categories, price range and further attributes of items as tokens; tokens of a single item tell nothing and go.

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
    return _token_lists(categories.unionByName(attributes).unionByName(prices))


def graph_tokens(items: DataFrame, graph_edge: DataFrame) -> DataFrame:
    """Tails of each item's graph edges as tokens, one block a relation; see `attribute_tokens`."""
    edges = graph_edge.join(items.select(F.col("item_id").alias("head")), "head", "left_semi")
    feature = F.concat(F.lit("graph:"), F.col("relation"))
    return _token_lists(
        edges.select(F.col("head").alias("item_id"), feature.alias("feature"), F.col("tail").alias("token"))
    )


def _token_lists(tokens: DataFrame) -> DataFrame:
    distinct = tokens.where(F.col("token").isNotNull()).distinct()
    shared = (
        distinct.groupBy("feature", "token")
        .agg(F.count(F.lit(1)).alias("num_items"))
        .where(F.col("num_items") >= _MIN_ITEMS_A_TOKEN)
    )
    return (
        distinct.join(shared.select("feature", "token"), ["feature", "token"], "left_semi")
        .groupBy("feature", "item_id")
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
        hashed = F.xxhash64(*[part for name in sorted(rows.columns) for part in (F.col(name), F.col(name).isNull())])
        sums = rows.agg(F.count(F.lit(1)).alias("rows"), F.bit_xor(hashed).alias("hash")).collect()[0]
        parts.append(f"{sums['rows']}:{sums['hash']}")
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]
