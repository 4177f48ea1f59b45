"""Silver tables that say what is known of users, and what rankers are trained on."""

from __future__ import annotations

from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DateType,
    DoubleType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from mmrec_lib.contracts.bronze import STRING_MAP, VECTOR
from mmrec_lib.contracts.table import Column, TableContract

HISTORY_ITEM = StructType(
    [
        StructField("item_id", StringType()),
        StructField("weight", DoubleType()),
        StructField("last_ts", TimestampType()),
    ]
)

SEARCH = StructType([StructField("ts", TimestampType()), StructField("words", StringType())])

NAMED_SHARE = StructType([StructField("name", StringType()), StructField("share", DoubleType())])

USER_PROFILE = TableContract(
    name="user_profile",
    layer="silver",
    comment="What is known of each user before as_of: history, seen items, attributes and tastes.",
    columns=(
        Column("user_id", StringType(), "The user.", required=True),
        Column("num_events", LongType(), "Events before as_of.", required=True),
        Column("last_ts", TimestampType(), "Latest event before as_of; null without one."),
        Column("attributes", STRING_MAP, "Attributes of the user."),
        Column("event_counts", MapType(StringType(), LongType()), "Events by type.", required=True),
        Column("mean_price", DoubleType(), "Mean price of the items acted on, weighted."),
        Column("history", ArrayType(HISTORY_ITEM), "Items acted on, with summed weight, latest first.", required=True),
        Column("seen_item_ids", ArrayType(StringType()), "Items not to be recommended again, sorted.", required=True),
        Column("price_variance", DoubleType(), "Variance of those prices, weighted likewise; null without one."),
        Column("price_quartiles", ArrayType(DoubleType()), "Lower and upper quartile of those prices, likewise."),
        Column("num_ratings", LongType(), "Items rated, in events or reviews; null without one."),
        Column("mean_rating", DoubleType(), "Mean of the latest rating of each item; null without one."),
        Column("rating_variance", DoubleType(), "Their variance (0 of one rating)."),
        Column(
            "top_categories",
            ArrayType(NAMED_SHARE),
            "Up to 5 categories with their shares of the weight, which an item divides among its categories, the "
            "largest in front; null without one.",
        ),
        Column("top_brands", ArrayType(NAMED_SHARE), "Up to 5 brands likewise."),
        Column(
            "segment",
            StringType(),
            "Cluster of users by their categories, named after those that set it apart; null without a category.",
        ),
        Column("taste", StringType(), "Short text of counted facts; null without history, or where nothing is known."),
        Column(
            "last_search",
            StringType(),
            "Words of the latest search before as_of; null unless training.second_stage.context asks for searches.",
        ),
    ),
    key=("user_id",),
)

TRAINING_INTERACTION = TableContract(
    name="training_interaction",
    layer="silver",
    comment="What rankers are trained and judged on: one row a user and item, with each part's weight and latest time.",
    columns=(
        Column("snapshot_id", StringType(), "Hash of what the snapshot was made from.", required=True),
        Column("user_id", StringType(), "The user.", required=True),
        Column("item_id", StringType(), "The item.", required=True),
        Column("train_weight", DoubleType(), "Summed weight of the events in train; null without one."),
        Column("valid_weight", DoubleType(), "Summed weight of the events in valid; null without one."),
        Column("test_weight", DoubleType(), "Summed weight of the events in test; null without one."),
        Column("train_ts", TimestampType(), "Latest event in train (UTC)."),
        Column("valid_ts", TimestampType(), "Latest event in valid (UTC)."),
        Column("test_ts", TimestampType(), "Latest event in test (UTC)."),
        Column(
            "valid_outcomes",
            MapType(StringType(), DoubleType()),
            "What followed in valid, by outcome: 1, or the quantity of an event; null without one. See training.heads.",
        ),
        Column("test_outcomes", MapType(StringType(), DoubleType()), "The same in test."),
        Column(
            "train_device",
            StringType(),
            "Device of the latest event in train; null unless training.second_stage.context asks for devices.",
        ),
        Column("valid_device", StringType(), "The same in valid."),
        Column("test_device", StringType(), "The same in test."),
    ),
    key=("snapshot_id", "user_id", "item_id"),
    partition_by=("snapshot_id",),
)

TRAINING_CONTENT = TableContract(
    name="training_content",
    layer="silver",
    comment="Item features of a snapshot, each made from what was known at the cut of its fit.",
    columns=(
        Column("snapshot_id", StringType(), "Snapshot; see training_interaction.", required=True),
        Column("fit", StringType(), "fit1, fit2 or fit3: what was known at that fit's cut.", required=True),
        Column("feature", StringType(), "Name of the feature block, such as text:description.", required=True),
        Column("item_id", StringType(), "The item.", required=True),
        Column("tokens", ArrayType(StringType()), "Sparse features: names; null for a dense block."),
        Column("vector", VECTOR, "Dense features, float32; null for a sparse block."),
        Column("latest_ts", TimestampType(), "Time of the latest review in it (UTC); null where nothing has a time."),
    ),
    key=("snapshot_id", "fit", "feature", "item_id"),
    partition_by=("snapshot_id",),
)

TRAINING_ITEM = TableContract(
    name="training_item",
    layer="silver",
    comment="The catalogue of a snapshot, items without a feature or an interaction among them.",
    columns=(
        Column("snapshot_id", StringType(), "Snapshot; see training_interaction.", required=True),
        Column("item_id", StringType(), "The item.", required=True),
        Column("title", StringType(), "Its first text, for the scorer (scorer.fields); null where there is none."),
        Column(
            "document",
            StringType(),
            "Its texts as one, for the scorer and the words of searches; null where neither scorer.model nor "
            "training.second_stage.context asks for it.",
        ),
    ),
    key=("snapshot_id", "item_id"),
    partition_by=("snapshot_id",),
)

TRAINING_USER = TableContract(
    name="training_user",
    layer="silver",
    comment="The users of a snapshot, also those without an interaction; users who are deleted leave all snapshots.",
    columns=(
        Column("snapshot_id", StringType(), "Snapshot; see training_interaction.", required=True),
        Column("user_id", StringType(), "The user.", required=True),
        Column("attributes", STRING_MAP, "Attributes of the user when the snapshot was made."),
        Column(
            "searches",
            ArrayType(SEARCH),
            "Latest 100 searches before as_of, the latest last; null unless training.second_stage.context asks for "
            "them.",
        ),
    ),
    key=("snapshot_id", "user_id"),
    partition_by=("snapshot_id",),
)

TRAINING_SNAPSHOT = TableContract(
    name="training_snapshot",
    layer="silver",
    comment="One row a snapshot: its dates, cuts and the table versions it was made from.",
    columns=(
        Column("snapshot_id", StringType(), "Key.", required=True),
        Column("as_of_date", DateType(), "Events before this UTC date count.", required=True),
        Column(
            "split_source",
            StringType(),
            "given when the events brought their split, else features.split.",
            required=True,
        ),
        Column("valid_from_ts", TimestampType(), "First time of valid; null unless split by time."),
        Column("test_from_ts", TimestampType(), "First time of test; null unless split by time."),
        Column(
            "table_versions",
            MapType(StringType(), LongType()),
            "Versions of the tables read.",
            required=True,
            audit=True,
        ),
        Column("is_current", BooleanType(), "True for the snapshot of the latest assembly.", required=True),
        Column("num_users", LongType(), "Users with an interaction.", required=True),
        Column("num_items", LongType(), "Items in the catalogue.", required=True),
        Column("num_interactions", LongType(), "Rows of training_interaction.", required=True),
    ),
    key=("snapshot_id",),
)

SNAPSHOTS = (
    USER_PROFILE,
    TRAINING_INTERACTION,
    TRAINING_CONTENT,
    TRAINING_ITEM,
    TRAINING_USER,
    TRAINING_SNAPSHOT,
)
