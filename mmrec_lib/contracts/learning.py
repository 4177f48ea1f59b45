"""Learning: labels that arrive, and what recipes and adapted encoders make of them."""

from __future__ import annotations

from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DoubleType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from mmrec_lib.contracts.bronze import SOURCE, STRING_MAP
from mmrec_lib.contracts.table import Check, Column, TableContract

LABEL_SPANS = ArrayType(
    StructType(
        [
            StructField("start", IntegerType()),
            StructField("end", IntegerType()),
            StructField("label", StringType()),
        ]
    )
)

LABEL = TableContract(
    name="label",
    layer="bronze",
    comment="What people said of texts, items and pairs, for recipes to learn: the newest accepted version of each.",
    columns=(
        Column("label_id", StringType(), "Key: hash of task, owner, item and text.", required=True),
        Column("task", StringType(), "What is labelled, from the file name or the field.", required=True),
        Column("owner_kind", StringType(), "item, review or user.", required=True),
        Column("owner_id", StringType(), "item_id, review_id or user_id.", required=True),
        Column("item_id", StringType(), "The item of a pair with a user; else null."),
        Column("text", StringType(), "The text that was labelled; null for the owner's own."),
        Column("label", StringType(), "Its class, or a rating level; null with spans."),
        Column("spans", LABEL_SPANS, "Parts of the text, in its characters, the end exclusive; null with a label."),
        Column("split", StringType(), "train, valid or test; null lets the recipe choose."),
        Column(
            "updated_at", TimestampType(), "Version of the record (UTC); 1970-01-01 where not given.", required=True
        ),
        Column("attributes", STRING_MAP, "Fields beyond the contract, lists and objects as JSON."),
        *SOURCE,
    ),
    key=("label_id",),
    checks=(
        Check("owner_kind_known", "owner_kind IN ('item', 'review', 'user')"),
        Check("label_or_spans", "(label IS NULL) <> (spans IS NULL)"),
    ),
)

TEXT_ENTITY = TableContract(
    name="text_entity",
    layer="silver",
    comment="Parts of texts that a recipe of kind tagger found, such as colours and brands in titles.",
    columns=(
        Column("recipe", StringType(), "Recipe that found it.", required=True),
        Column("owner_kind", StringType(), "item or review.", required=True),
        Column("owner_id", StringType(), "item_id or review_id.", required=True),
        Column("field", StringType(), "Field of the owner's text, such as title.", required=True),
        Column("start", IntegerType(), "First character in the normalised text of owner_text, from 0.", required=True),
        Column("end", IntegerType(), "End, exclusive.", required=True),
        Column("label", StringType(), "What the part is, such as colour.", required=True),
        Column("text", StringType(), "The part.", required=True),
        Column("confidence", DoubleType(), "Mean probability of its tokens, from 0 to 1.", required=True),
        Column("revision", StringType(), "Revision of the trained recipe.", required=True),
        Column("is_pseudo_label", BooleanType(), "Whether the recipe learned from its own earlier prediction of it."),
    ),
    key=("recipe", "owner_kind", "owner_id", "field", "start"),
    checks=(Check("end_after_start", "end > start"),),
)

RECIPE_PREDICTION = TableContract(
    name="recipe_prediction",
    layer="silver",
    comment="Classes that trained recipes give to items, reviews and pairs; a tagger's parts are in text_entity.",
    columns=(
        Column("recipe", StringType(), "Recipe that predicts.", required=True),
        Column("owner_kind", StringType(), "item, review or user (then of a pair with an item).", required=True),
        Column("owner_id", StringType(), "item_id, review_id or user_id.", required=True),
        Column("item_id", StringType(), "The item of a pair; empty otherwise.", required=True),
        Column("text_id", StringType(), "Hash of the labelled text; empty for the owner's own.", required=True),
        Column("label", StringType(), "The most probable class.", required=True),
        Column("confidence", DoubleType(), "Its probability, from 0 to 1.", required=True),
        Column("revision", StringType(), "Revision of the trained recipe.", required=True),
        Column("is_pseudo_label", BooleanType(), "Whether the recipe learned from its own earlier prediction of it."),
    ),
    key=("recipe", "owner_kind", "owner_id", "item_id", "text_id"),
)

RECIPE_METRIC = TableContract(
    name="recipe_metric",
    layer="runs",
    comment="Evaluation of each recipe's last training, beside the majority class, with its confusion matrix.",
    columns=(
        Column("recipe", StringType(), "Recipe.", required=True),
        Column("part", StringType(), "train, valid or test.", required=True),
        Column(
            "model",
            StringType(),
            "recipe; majority (always the most frequent class of train); shuffled_images (the recipe with images of "
            "other examples); with pseudo-labels labels_alone and pseudo_labels (both rounds, of which one is the "
            "recipe; in part train the number of pseudo-labels as support).",
            required=True,
        ),
        Column(
            "metric",
            StringType(),
            "accuracy, macro_f1, precision, recall, f1, support, confusion (rows of this class judged as `predicted`), "
            "mae (rating levels); of an epoch loss, or score: what chooses the epoch (mean F1, or mae below zero).",
            required=True,
        ),
        Column("label", StringType(), "Class; empty for all.", required=True),
        Column("predicted", StringType(), "Predicted class of a confusion; else empty.", required=True),
        Column("epoch", IntegerType(), "Epoch of a curve, from 1; 0 for the trained model.", required=True),
        Column("value", DoubleType(), "The value.", required=True),
        Column("num_examples", LongType(), "Examples (of a tagger: texts) measured.", required=True),
        Column("revision", StringType(), "Revision of the trained recipe.", required=True),
    ),
    key=("recipe", "part", "model", "metric", "label", "predicted", "epoch"),
)

ENCODER_ADAPTATION = TableContract(
    name="encoder_adaptation",
    layer="runs",
    comment="Retrieval on held-out behaviour by each adapted encoder and the one it comes from, and the decision.",
    columns=(
        Column("encoder_id", StringType(), "Directory of the adapted encoder under models.root.", required=True),
        Column("revision", StringType(), "Revision of the adapted encoder.", required=True),
        Column("base_encoder_id", StringType(), "Encoder that it was adapted from.", required=True),
        Column("base_revision", StringType(), "Revision of that one.", required=True),
        Column(
            "metric",
            StringType(),
            "recall (of held-out items), ndcg (of the ranker's first stage on the valid part of the snapshot), or, of "
            "a joint encoder, text_to_image and image_to_text (held-out texts and images that find each other).",
            required=True,
        ),
        Column("k", IntegerType(), "Cut-off.", required=True),
        Column("base_value", DoubleType(), "Mean over users with the encoder that it comes from.", required=True),
        Column("value", DoubleType(), "Mean over users with the new encoder.", required=True),
        Column("diff_low", DoubleType(), "Lower end of the 95 % interval of the difference.", required=True),
        Column("diff_high", DoubleType(), "Upper end of it.", required=True),
        Column(
            "num_users",
            LongType(),
            "Users averaged; of text_to_image and image_to_text, texts or images that were asked with.",
            required=True,
        ),
        Column(
            "num_pairs",
            LongType(),
            "Pairs that it was trained on; of distillation, and of masked_language alone, texts.",
            required=True,
        ),
        Column("is_released", BooleanType(), "Whether it was written to models.root.", required=True),
        Column("method", StringType(), "masked_language, behaviour, both in this order, or distillation."),
    ),
    key=("encoder_id", "revision", "metric", "k"),
)

OUTSIDE_PIPELINE = ("text_entity", "recipe_prediction", "recipe_metric", "encoder_adaptation")
"""Tables that only jobs outside of the pipeline write, so that no job of the pipeline may need them.

A job may take one as feedback, as an earlier run left it: `assemble_snapshot` does so with text_entity.
"""

LEARNING = (LABEL, TEXT_ENTITY, RECIPE_PREDICTION, RECIPE_METRIC, ENCODER_ADAPTATION)
