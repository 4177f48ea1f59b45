"""Gold: texts that were made for people, each with the facts that it tells."""

from __future__ import annotations

from pyspark.sql.types import (
    ArrayType,
    DoubleType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
)

from mmrec_lib.contracts.table import Check, Column, TableContract
from mmrec_lib.generation.reasons import NoTextReason

_VALUE = StructType([StructField("name", StringType()), StructField("value", StringType())])
TOLD_FACTS = ArrayType(StructType([StructField("kind", StringType()), StructField("values", ArrayType(_VALUE))]))
_LANGUAGE = Column("language", StringType(), "ISO 639-1 code of its language.", required=True)
_REASONS = ", ".join(NoTextReason)

RECOMMENDATION_TEXT = TableContract(
    name="recommendation_text",
    layer="gold",
    comment="A reason in words for the first items of each user's current list; join it by user_id and item_id.",
    columns=(
        Column("user_id", StringType(), "The user.", required=True),
        Column("item_id", StringType(), "The recommended item.", required=True),
        Column(
            "rank", IntegerType(), "Place of the item in the list when the text was written, from 1.", required=True
        ),
        _LANGUAGE,
        Column("text", StringType(), "The text, in one line; null with a reason."),
        Column(
            "facts",
            TOLD_FACTS,
            "The facts that the text tells, by kind, with names and numbers as they stand in it.",
            required=True,
        ),
        Column("grounding", DoubleType(), "Share of the text's claims that its facts hold: 1; null without a text."),
        Column(
            "score",
            DoubleType(),
            "Nearness of the facts to the user's history and to the item, see generation.choose_by; null without.",
        ),
        Column("source", StringType(), "template, or <model>@<revision> that worded the facts; null without a text."),
        Column("reason", StringType(), f"Why there is no text, of {_REASONS}; null with one."),
        Column("input_hash", LongType(), "Hash of all that the user's texts follow from.", required=True),
    ),
    key=("user_id", "item_id"),
    checks=(
        Check("rank_from_1", "rank >= 1"),
        Check("text_or_reason", "(text IS NULL) <> (reason IS NULL)"),
        Check("text_is_grounded", "text IS NULL OR grounding = 1"),
    ),
    change_feed=True,
)

GENERATED_DESCRIPTION = TableContract(
    name="generated_description",
    layer="gold",
    comment="Descriptions of items that the store describes nowhere, made of their facts; never mixed with what the "
    "store wrote, and no feature of any model.",
    columns=(
        Column("item_id", StringType(), "The item.", required=True),
        _LANGUAGE,
        Column("text", StringType(), "The text, in one line.", required=True),
        Column("facts", TOLD_FACTS, "The facts that it tells, as in recommendation_text.", required=True),
        Column("grounding", DoubleType(), "Share of its claims that its facts hold: 1.", required=True),
        Column("source", StringType(), "template.", required=True),
    ),
    key=("item_id",),
    checks=(Check("text_is_grounded", "grounding = 1"),),
)

TEXTS = (RECOMMENDATION_TEXT, GENERATED_DESCRIPTION)
