"""Gold: what other teams read."""

from __future__ import annotations

from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DateType,
    DoubleType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
)

from mmrec_lib.contracts.bronze import VECTOR
from mmrec_lib.contracts.table import Check, Column, TableContract
from mmrec_lib.contracts.texts import TEXTS
from mmrec_lib.search.reasons import EmptyReason

_REASONS = ", ".join(EmptyReason)

PATH = StructType([StructField(name, StringType()) for name in ("item_id", "relation", "node", "node_relation")])

USER_TOPK = TableContract(
    name="user_topk",
    layer="gold",
    comment="The best items for every known user, one slice a date; `current_slice` names the one to read.",
    columns=(
        Column("as_of_date", DateType(), "Events before this UTC date were known.", required=True),
        Column("user_id", StringType(), "The user.", required=True),
        Column("rank", IntegerType(), "From 1, best first.", required=True),
        Column("item_id", StringType(), "The recommended item.", required=True),
        Column("score", DoubleType(), "Ranking score; comparable within a user only.", required=True),
        Column(
            "source_shares",
            MapType(StringType(), DoubleType()),
            "Share of each source in the fused score before distillation, second_stage (what the ranker's network "
            "added), rules (boosts) and residual (what distillation, pins and re-ranking changed); they add up to "
            "score. Empty below the first ranks, see scoring.explained_ranks.",
            required=True,
            in_order=True,
        ),
        Column(
            "because_item_ids",
            ArrayType(StringType()),
            "Items of the user's history that pull this item up most, the strongest first; null below the first ranks.",
        ),
        Column(
            "propensity",
            DoubleType(),
            "Probability that this place shows this item, where re-ranking leaves something to chance; else null.",
        ),
        Column("model_version", StringType(), "Version of the registered ranker.", required=True),
        Column(
            "probabilities",
            MapType(StringType(), DoubleType()),
            "Probability of each outcome that the ranker has a head for, such as purchase, to four significant digits; "
            "null without heads, and below the first ranks where scoring.outcome_ranks ends them.",
            in_order=True,
        ),
        Column(
            "expected_values",
            MapType(StringType(), DoubleType()),
            "What is expected of each quantity where its event happens, such as rating:value; null without such heads, "
            "and below the first ranks where scoring.outcome_ranks ends them.",
            in_order=True,
        ),
        Column(
            "expected_worth",
            DoubleType(),
            "Sum of scoring.worths times probabilities; null without worths.",
        ),
        Column(
            "path",
            PATH,
            "The rarest fact that it shares with an item of the history: that item has `relation` to `node`, and this "
            "one has `node_relation`. Null below the first ranks and where nothing is shared.",
        ),
    ),
    key=("as_of_date", "user_id", "rank"),
    partition_by=("as_of_date",),
    checks=(Check("rank_from_1", "rank >= 1"),),
    retention_days=90,
    retention_column="as_of_date",
    change_feed=True,
    stats_columns=("user_id", "rank", "item_id"),
)

ITEM_NEIGHBOR = TableContract(
    name="item_neighbor",
    layer="gold",
    comment="The items most like each item, by the ranker's item vectors (cosine), one slice a date; `current_slice` "
    "names the one to read.",
    columns=(
        Column("as_of_date", DateType(), "Events before this UTC date were known.", required=True),
        Column("item_id", StringType(), "The item.", required=True),
        Column("rank", IntegerType(), "From 1, most similar first.", required=True),
        Column("neighbor_id", StringType(), "The similar item.", required=True),
        Column("similarity", DoubleType(), "Cosine of the item vectors.", required=True),
        Column("model_version", StringType(), "Version of the registered ranker.", required=True),
    ),
    key=("as_of_date", "item_id", "rank"),
    partition_by=("as_of_date",),
    checks=(Check("rank_from_1", "rank >= 1"),),
    retention_days=90,
    retention_column="as_of_date",
)

USER_VECTOR = TableContract(
    name="user_vector",
    layer="gold",
    comment="One vector a user; its dot product with item_vector of the same model_version is the score of the model, "
    "before rules (boosts) and re-ranking.",
    columns=(
        Column("model_version", StringType(), "Version of the registered ranker.", required=True),
        Column("user_id", StringType(), "The user.", required=True),
        Column("vector", VECTOR, "float32.", required=True),
        Column(
            "input_hash",
            LongType(),
            "Hash of what is known of the user; a user for whom it is the same is not scored again while model and "
            "catalogue stay.",
        ),
    ),
    key=("model_version", "user_id"),
    partition_by=("model_version",),
)

ITEM_VECTOR = TableContract(
    name="item_vector",
    layer="gold",
    comment="One vector an item; see user_vector.",
    columns=(
        Column("model_version", StringType(), "Version of the registered ranker.", required=True),
        Column("item_id", StringType(), "The item.", required=True),
        Column("vector", VECTOR, "float32.", required=True),
    ),
    key=("model_version", "item_id"),
    partition_by=("model_version",),
)

ELICITATION_ITEM = TableContract(
    name="elicitation_item",
    layer="gold",
    comment="Items whose answers would tell most about a new user, in the order to ask in, one slice a date; "
    "`current_slice` names the one to read.",
    columns=(
        Column("as_of_date", DateType(), "Events before this UTC date were known.", required=True),
        Column("rank", IntegerType(), "From 1: the first one to ask about.", required=True),
        Column("item_id", StringType(), "The item.", required=True),
        Column(
            "gain",
            DoubleType(),
            "Share of the variance of a new user's scores that asking about it is expected to remove, after the ones "
            "before it.",
            required=True,
        ),
        Column(
            "popularity",
            DoubleType(),
            "Place between the least (0) and the most popular item (1) on a logarithmic scale.",
            required=True,
        ),
        Column("model_version", StringType(), "Version of the registered ranker.", required=True),
    ),
    key=("as_of_date", "rank"),
    partition_by=("as_of_date",),
    checks=(Check("rank_from_1", "rank >= 1"),),
    retention_days=90,
    retention_column="as_of_date",
)

CURRENT_SLICE = TableContract(
    name="current_slice",
    layer="gold",
    comment="The slice of each published table that readers should take: what the last run published.",
    columns=(
        Column(
            "table_name",
            StringType(),
            "user_topk, item_neighbor, user_vector, item_vector or elicitation_item.",
            required=True,
        ),
        Column(
            "as_of_date", DateType(), "Date of its slice; of vectors, the date they were computed for.", required=True
        ),
        Column("model_version", StringType(), "Version of the registered ranker that made it.", required=True),
        Column(
            "input_hashes",
            MapType(StringType(), StringType()),
            "Hash of each part of what all rows of the slice follow from, such as vectors, rules and settings; and the "
            "version of the table that they are in.",
        ),
    ),
    key=("table_name",),
)

_LIST_TYPE = Column(
    "list_type",
    StringType(),
    "bought_together or continue_with of an item, trending or popular_like_you of an audience.",
    required=True,
)
_AUDIENCE = Column(
    "audience",
    StringType(),
    "`all`, or attributes that its users have, the coarsest first, such as `country=gb/age=30`; without its last part "
    "it is the next larger audience.",
    required=True,
)
_LIST_SLICE = "`current_list_slice` names the one to read."

ITEM_TOPK = TableContract(
    name="item_topk",
    layer="gold",
    comment=f"Lists of each item by list type, one slice a date; {_LIST_SLICE} Similar items are in item_neighbor.",
    columns=(
        Column("as_of_date", DateType(), "Events before this UTC date were known.", required=True),
        _LIST_TYPE,
        Column("item_id", StringType(), "The item that the list belongs to.", required=True),
        Column("rank", IntegerType(), "From 1, best first.", required=True),
        Column("related_item_id", StringType(), "The listed item.", required=True),
        Column(
            "score",
            DoubleType(),
            "bought_together: log-likelihood ratio of sharing a basket. continue_with: share of users who took it "
            "next, 1 where the catalogue names it.",
            required=True,
        ),
        Column("num_support", LongType(), "Baskets, or users; null where the catalogue names the pair."),
        Column("snapshot_id", StringType(), "Snapshot whose catalogue and date it was made for.", required=True),
    ),
    key=("as_of_date", "list_type", "item_id", "rank"),
    partition_by=("as_of_date",),
    checks=(Check("rank_from_1", "rank >= 1"), Check("not_itself", "item_id <> related_item_id")),
    retention_days=90,
    retention_column="as_of_date",
    slices_in="current_list_slice",
)

AUDIENCE_TOPK = TableContract(
    name="audience_topk",
    layer="gold",
    comment=f"Lists of groups of users by list type, one slice a date; {_LIST_SLICE} `user_audience` names each user's "
    "audience.",
    columns=(
        Column("as_of_date", DateType(), "Events before this UTC date were known.", required=True),
        _LIST_TYPE,
        _AUDIENCE,
        Column("rank", IntegerType(), "From 1, best first.", required=True),
        Column("item_id", StringType(), "The listed item.", required=True),
        Column(
            "score",
            DoubleType(),
            "trending: growth that is exceeded with 95 % probability. popular_like_you: share of the users who took "
            "it, drawn towards that of the next larger audience.",
            required=True,
        ),
        Column("num_support", LongType(), "Users and days in the window, or users of this audience."),
        Column("snapshot_id", StringType(), "Snapshot whose catalogue and date it was made for.", required=True),
    ),
    key=("as_of_date", "list_type", "audience", "rank"),
    partition_by=("as_of_date",),
    checks=(Check("rank_from_1", "rank >= 1"),),
    retention_days=90,
    retention_column="as_of_date",
    slices_in="current_list_slice",
)

USER_AUDIENCE = TableContract(
    name="user_audience",
    layer="gold",
    comment="The audience of each known user by list type: the smallest that has a list in the current slice of "
    "audience_topk.",
    columns=(Column("user_id", StringType(), "The user.", required=True), _LIST_TYPE, _AUDIENCE),
    key=("user_id", "list_type"),
)

CURRENT_LIST_SLICE = TableContract(
    name="current_list_slice",
    layer="gold",
    comment="The slice of item_topk and of audience_topk that readers should take: what the last run published.",
    columns=(
        Column("table_name", StringType(), "item_topk or audience_topk.", required=True),
        Column("as_of_date", DateType(), "Date of its slice.", required=True),
        Column("snapshot_id", StringType(), "Snapshot whose catalogue and date it was made for.", required=True),
    ),
    key=("table_name",),
)

QUERY_RESULT = TableContract(
    name="query_result",
    layer="gold",
    comment="One row a query: what was understood, how much was found, and why nothing was.",
    columns=(
        Column("query_id", StringType(), "The query.", required=True),
        Column("words", StringType(), "Words that were searched, written or heard; null without."),
        Column("is_cut", BooleanType(), "True where only its first words were searched.", required=True),
        Column("num_items", IntegerType(), "Rows in query_topk.", required=True),
        Column("num_answers", IntegerType(), "Rows in support_answer.", required=True),
        Column("reason", StringType(), f"Why there are no items, of {_REASONS}; null where there are some."),
        Column("input_hash", LongType(), "Hash of the query and of what is known of its user.", required=True),
        Column("index_hash", StringType(), "Hash of what was searched, and how.", required=True),
    ),
    key=("query_id",),
    checks=(Check("items_or_reason", "(num_items = 0) = (reason IS NOT NULL)"),),
)

QUERY_TOPK = TableContract(
    name="query_topk",
    layer="gold",
    comment="The items that each query finds; of a query without any, query_result tells the reason.",
    columns=(
        Column("query_id", StringType(), "The query.", required=True),
        Column("rank", IntegerType(), "From 1, best first.", required=True),
        Column("item_id", StringType(), "The item.", required=True),
        Column("score", DoubleType(), "Comparable within a query only.", required=True),
        Column(
            "shares",
            MapType(StringType(), DoubleType()),
            "Parts of the score: words (exact words), text, image and joint (vectors), personal (the user's ranker).",
            required=True,
        ),
    ),
    key=("query_id", "rank"),
    checks=(Check("rank_from_1", "rank >= 1"),),
)

SUPPORT_ANSWER = TableContract(
    name="support_answer",
    layer="gold",
    comment="The support answers whose question is near a query; none where none is.",
    columns=(
        Column("query_id", StringType(), "The query.", required=True),
        Column("rank", IntegerType(), "From 1, nearest first.", required=True),
        Column("answer_id", StringType(), "The answer.", required=True),
        Column("question", StringType(), "The store's own question.", required=True),
        Column("answer", StringType(), "The answer.", required=True),
        Column("source", StringType(), "Where it comes from, as delivered."),
        Column("cosine", DoubleType(), "Of the two questions.", required=True),
        Column(
            "confidence",
            DoubleType(),
            "Share of the store's questions that lie farther from their nearest neighbour.",
            required=True,
        ),
    ),
    key=("query_id", "rank"),
    checks=(Check("rank_from_1", "rank >= 1"),),
)

GOLD = (
    USER_TOPK,
    ITEM_NEIGHBOR,
    USER_VECTOR,
    ITEM_VECTOR,
    ELICITATION_ITEM,
    CURRENT_SLICE,
    ITEM_TOPK,
    AUDIENCE_TOPK,
    USER_AUDIENCE,
    CURRENT_LIST_SLICE,
    QUERY_RESULT,
    QUERY_TOPK,
    SUPPORT_ANSWER,
    *TEXTS,
)
