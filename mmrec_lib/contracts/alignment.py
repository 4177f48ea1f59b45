"""The joint space of modalities, what it is worth, and contents that contradict each other."""

from __future__ import annotations

from pyspark.sql.types import BinaryType, DoubleType, IntegerType, LongType, StringType

from mmrec_lib.contracts.bronze import VECTOR
from mmrec_lib.contracts.table import Check, Column, TableContract

ALIGNED_EMBEDDING = TableContract(
    name="aligned_embedding",
    layer="silver",
    comment="Vectors of items in the joint space of all modalities; where `alignment.method` asks for one.",
    columns=(
        Column("item_id", StringType(), "The item.", required=True),
        Column(
            "modality",
            StringType(),
            "all: the item's modalities as one vector; else text, image, audio, video or joint alone.",
            required=True,
        ),
        Column("method", StringType(), "pca, cca, cooccurrence, infonce or attention.", required=True),
        Column("snapshot_id", StringType(), "Snapshot that the space was learned from.", required=True),
        Column("dim", IntegerType(), "Length of the vector.", required=True),
        Column("vector", VECTOR, "The vector, float32, of length 1.", required=True),
    ),
    key=("item_id", "modality"),
)

ALIGNMENT_MODEL = TableContract(
    name="alignment_model",
    layer="silver",
    comment="The maps into the joint space: a ranker that is trained on a snapshot takes them along for new items.",
    columns=(
        Column("snapshot_id", StringType(), "Snapshot that it was learned from.", required=True),
        Column("method", StringType(), "pca, cca, cooccurrence, infonce or attention.", required=True),
        Column("dim", IntegerType(), "Length of the vectors.", required=True),
        Column("document", StringType(), "Names of the blocks and settings, as JSON.", required=True),
        Column("arrays", BinaryType(), "Means and maps of the blocks, as safetensors.", required=True),
    ),
    key=("snapshot_id",),
)

ALIGNMENT_METRIC = TableContract(
    name="alignment_metric",
    layer="runs",
    comment="Retrieval from one modality to another in the joint space, over items that it was not learned from.",
    columns=(
        Column("snapshot_id", StringType(), "Snapshot that the space was learned from.", required=True),
        Column("method", StringType(), "pca, cca, cooccurrence, infonce or attention.", required=True),
        Column("source_modality", StringType(), "Modality of the query.", required=True),
        Column("target_modality", StringType(), "Modality that is searched.", required=True),
        Column("metric", StringType(), "recall.", required=True),
        Column("k", IntegerType(), "Cut-off.", required=True),
        Column("value", DoubleType(), "Share of the items that are among the k nearest of their own.", required=True),
        Column("chance", DoubleType(), "Value of a random order.", required=True),
        Column("num_items", LongType(), "Items that have both: queries and what is searched.", required=True),
    ),
    key=("snapshot_id", "method", "source_modality", "target_modality", "metric", "k"),
)

CONTENT_FINDING = TableContract(
    name="content_finding",
    layer="silver",
    comment="Items whose contents contradict each other, and near-duplicates; with `alignment.find_contradictions`.",
    columns=(
        Column("item_id", StringType(), "The item.", required=True),
        Column("kind", StringType(), "modality, price or near_duplicate.", required=True),
        Column(
            "against",
            StringType(),
            "Modality that does not go with the text; category whose prices are others; or the item that it is like.",
            required=True,
        ),
        Column(
            "score", DoubleType(), "Robust z-score of likeness or log price; of a duplicate the cosine.", required=True
        ),
        Column("threshold", DoubleType(), "Score from which on it is told.", required=True),
        Column("told", StringType(), "The finding in words.", required=True),
    ),
    key=("item_id", "kind", "against"),
    checks=(Check("kind_known", "kind IN ('modality', 'price', 'near_duplicate')"),),
)

ALIGNMENT = (ALIGNED_EMBEDDING, ALIGNMENT_MODEL, ALIGNMENT_METRIC, CONTENT_FINDING)
