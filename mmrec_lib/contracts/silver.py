"""Silver: what it means — texts from media, vectors, profiles and what a ranker is trained on."""

from __future__ import annotations

from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    ByteType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
)

from mmrec_lib.contracts.bronze import VECTOR
from mmrec_lib.contracts.snapshots import SNAPSHOTS
from mmrec_lib.contracts.table import Check, Column, TableContract
from mmrec_lib.encoders.errors import ENCODE_REASONS

SPANS = ArrayType(
    StructType(
        [
            StructField("text", StringType()),
            StructField("confidence", FloatType()),
            StructField("start_seconds", DoubleType()),
            StructField("end_seconds", DoubleType()),
        ]
    )
)

_REASONS = ", ".join(f"'{reason}'" for reason in ENCODE_REASONS)
ERROR_REASON = Check("error_reason", f"error IS NULL OR substring_index(error, ':', 1) IN ({_REASONS})")

MEDIA_TEXT = TableContract(
    name="media_text",
    layer="silver",
    comment="Words found in media: what is said, written, shown or heard in them. A text or an error.",
    columns=(
        Column("content_id", StringType(), "asset_id of the medium.", required=True),
        Column("kind", StringType(), "transcript, ocr, labels or tags.", required=True),
        Column("encoder_id", StringType(), "Who made it; provided for precomputed texts.", required=True),
        Column("revision", StringType(), "Revision of the encoder.", required=True),
        Column("text", StringType(), "The words; null with an error."),
        Column("language", StringType(), "ISO 639-1 code, where known."),
        Column("confidence", FloatType(), "How sure the model is, 0 to 1; null where it does not tell."),
        Column("spans", SPANS, "The parts of the text, in their order; null for precomputed texts."),
        Column("error", StringType(), "Why there is no text, beginning with a reason; null with a text."),
        Column("num_attempts", IntegerType(), "Runs that tried in vain, where the machine may be to blame; else null."),
    ),
    key=("content_id", "kind", "encoder_id", "revision"),
    checks=(Check("text_or_error", "(text IS NULL) <> (error IS NULL)"), ERROR_REASON),
)

OWNER_TEXT = TableContract(
    name="owner_text",
    layer="silver",
    comment="Every text of an item or review, its own and those of its media, in normal form, with where it came from.",
    columns=(
        Column("owner_kind", StringType(), "item or review.", required=True),
        Column("owner_id", StringType(), "item_id or review_id.", required=True),
        Column(
            "field",
            StringType(),
            "title, description or text of the record; images, audio or video for words of its media; transcript for "
            "one that came precomputed for the owner and stands for those of its media; document for what "
            "embedding.document names, in one text.",
            required=True,
        ),
        Column(
            "kind",
            StringType(),
            "written in the record itself; document if put together of several; else transcript, ocr, labels or tags.",
            required=True,
        ),
        Column("position", IntegerType(), "Place of the medium in its field, from 0; else 0.", required=True),
        Column("text", StringType(), "The words: without markup, in NFC, white space as single spaces.", required=True),
        Column("language", StringType(), "ISO 639-1 code as delivered, or as the model detected it; null if unknown."),
        Column("confidence", FloatType(), "How sure the model is, 0 to 1; null where it does not tell."),
        Column(
            "asset_id",
            StringType(),
            "The medium that the words were found in; null for written ones and documents.",
        ),
        Column(
            "encoder_id", StringType(), "Model that found them; provided if precomputed, null if written or document."
        ),
        Column("revision", StringType(), "Revision of the model; likewise."),
        Column("content_id", StringType(), "sha256 of the text; see content_embedding.", required=True),
    ),
    key=("owner_kind", "owner_id", "field", "kind", "position"),
)

# How a vector is kept; see `embedding.vector_codec`. Codes and scales were written by earlier versions only.
_STORED_VECTOR = (
    Column(
        "storage",
        StringType(),
        "How the vector is kept: float32 or float16; int8 in older rows; null without a vector.",
    ),
    Column("scale", FloatType(), "In older rows that are kept in int8 the value of one code; else null."),
    Column(
        "vector",
        VECTOR,
        "The vector, float32 or rounded to half precision; null with an error, and in older rows in int8.",
    ),
    Column(
        "codes",
        ArrayType(ByteType()),
        "In older rows in int8 the vector as transform(codes, c -> c * scale); else null.",
    ),
)
_CODES_AND_SCALE = Check("codes_and_scale", "(codes IS NULL) = (scale IS NULL)")

CONTENT_EMBEDDING = TableContract(
    name="content_embedding",
    layer="silver",
    comment="A vector or an error for each distinct content, so that nothing is encoded twice.",
    columns=(
        Column("content_id", StringType(), "sha256 of the bytes or of the normalised text.", required=True),
        Column("encoder_id", StringType(), "Encoder.", required=True),
        Column("revision", StringType(), "Revision of the encoder.", required=True),
        Column("modality", StringType(), "text, image, audio, video or joint.", required=True),
        Column("dim", IntegerType(), "Length of the vector; null with an error."),
        Column("error", StringType(), "Why there is no vector, beginning with a reason; null with a vector."),
        Column("num_attempts", IntegerType(), "Runs that tried in vain, where the machine may be to blame; else null."),
        *_STORED_VECTOR,
    ),
    key=("content_id", "encoder_id", "revision"),
    checks=(
        Check(
            "vector_codes_or_error",
            "CAST(vector IS NULL AS INT) + CAST(codes IS NULL AS INT) + CAST(error IS NULL AS INT) = 2",
        ),
        _CODES_AND_SCALE,
        ERROR_REASON,
    ),
)

ITEM_EMBEDDING = TableContract(
    name="item_embedding",
    layer="silver",
    comment="One vector an item, modality and field: its contents pooled by the mean.",
    columns=(
        Column("item_id", StringType(), "The item.", required=True),
        Column("modality", StringType(), "text, image, audio, video or joint.", required=True),
        Column(
            "field",
            StringType(),
            "title, description, review, transcript, ocr, labels, tags, images, audio, video, or provided.",
            required=True,
        ),
        Column("encoder_id", StringType(), "Encoder.", required=True),
        Column("revision", StringType(), "Revision of the encoder.", required=True),
        Column("num_contents", IntegerType(), "How many contents were pooled.", required=True),
        Column("dim", IntegerType(), "Length of the vector.", required=True),
        *_STORED_VECTOR,
    ),
    key=("item_id", "modality", "field", "encoder_id", "revision"),
    checks=(Check("vector_or_codes", "(vector IS NULL) <> (codes IS NULL)"), _CODES_AND_SCALE),
    change_feed=True,
)

ENCODER_RELEASE = TableContract(
    name="encoder_release",
    layer="silver",
    comment="Which encoder and revision readers use for a modality and field.",
    columns=(
        Column("modality", StringType(), "text, image, audio, video or joint; of words their kind.", required=True),
        Column("field", StringType(), "Field of item_embedding; of words the media they are in.", required=True),
        Column("encoder_id", StringType(), "Released encoder.", required=True),
        Column("revision", StringType(), "Released revision.", required=True),
    ),
    key=("modality", "field", "encoder_id"),
)

SEARCH_VECTOR = TableContract(
    name="search_vector",
    layer="silver",
    comment="Vectors of queries and of the questions of support answers, so that none is encoded twice.",
    columns=(
        Column("owner_kind", StringType(), "query or answer.", required=True),
        Column("owner_id", StringType(), "query_id or answer_id.", required=True),
        Column(
            "field",
            StringType(),
            "text (the words, written or spoken), images (images@1.15: with edges continued), or question.",
            required=True,
        ),
        Column("encoder_id", StringType(), "Encoder.", required=True),
        Column("revision", StringType(), "Revision of the encoder.", required=True),
        Column("content_id", StringType(), "sha256 of the bytes or of the normalised text.", required=True),
        Column("error", StringType(), "Why there is no vector, beginning with a reason; null with a vector."),
        Column("vector", VECTOR, "float32; null with an error."),
    ),
    key=("owner_kind", "owner_id", "field", "encoder_id"),
    checks=(Check("vector_or_error", "(vector IS NULL) <> (error IS NULL)"), ERROR_REASON),
)

ASPECTS = ArrayType(
    StructType(
        [
            StructField("aspect", StringType()),
            StructField("sentiment", StringType()),
            StructField("polarity", DoubleType()),
            StructField("clause", StringType()),
        ]
    )
)
TOPICS = ArrayType(
    StructType(
        [
            StructField("topic", IntegerType()),
            StructField("name", StringType()),
            StructField("share", DoubleType()),
        ]
    )
)

REVIEW_OPINION = TableContract(
    name="review_opinion",
    layer="silver",
    comment="What each review thinks, written or spoken: sentiment or an error, rating, aspects and topics.",
    columns=(
        Column("review_id", StringType(), "The review.", required=True),
        Column("encoder_id", StringType(), "store for the models fitted on it, else a sentiment model.", required=True),
        Column("revision", StringType(), "Revision of the models; all rows have the same.", required=True),
        Column("content_id", StringType(), "sha256 of the normalised words; null without words."),
        Column("sentiment", StringType(), "negative, neutral or positive; null with an error."),
        Column("p_negative", DoubleType(), "Probability; null with an error, or where only a lexicon judged."),
        Column("p_neutral", DoubleType(), "Likewise."),
        Column("p_positive", DoubleType(), "Likewise."),
        Column("rating", DoubleType(), "The review's own rating, else a pseudo-rating on the same scale."),
        Column("rating_source", StringType(), "given or predicted; null without a rating."),
        Column("rating_std", DoubleType(), "Standard deviation of a predicted rating as the model sees it."),
        Column("aspects", ASPECTS, "What it speaks of, with polarity from -1 to 1; null where nothing is said of it."),
        Column("topics", TOPICS, "What it is about, largest share first."),
        Column("fit_part", StringType(), "What the fit used it for: train, valid, test or unrated; null for nothing."),
        Column("error", StringType(), "Why there is no sentiment; null with one."),
    ),
    key=("review_id", "encoder_id", "revision"),
    checks=(
        Check("sentiment_or_error", "(sentiment IS NULL) <> (error IS NULL)"),
        Check("sentiment_known", "sentiment IS NULL OR sentiment IN ('negative', 'neutral', 'positive')"),
    ),
)

OPINION_MODEL = TableContract(
    name="opinion_model",
    layer="silver",
    comment="The models that were fitted on the store's reviews, and what they are worth on held-out ones.",
    columns=(
        Column("encoder_id", StringType(), "store.", required=True),
        Column("revision", StringType(), "Hash of the reviews, settings and method of the fit.", required=True),
        Column("settings_id", StringType(), "Hash of settings and method alone.", required=True),
        Column("num_reviews", LongType(), "Reviews that the fit looked at.", required=True),
        Column(
            "metrics",
            MapType(StringType(), DoubleType()),
            "On held-out reviews: accuracy, macro_f1, mae, rmse, spearman and baselines; coherence of topics.",
            required=True,
        ),
        Column("note", StringType(), "Why there is no model of ratings; null with one."),
        Column("document", StringType(), "The models' words, as JSON.", required=True),
        Column("arrays", BinaryType(), "The models' weights, as safetensors.", required=True),
    ),
    key=("encoder_id",),
)

FOUND_ATTRIBUTE = TableContract(
    name="found_attribute",
    layer="silver",
    comment="Attributes that texts of items tell where the store does not, found by a tagger: features read them, and "
    "nothing else. The table item stays as it was written.",
    columns=(
        Column("item_id", StringType(), "The item.", required=True),
        Column("attribute", StringType(), "Attribute that the store does not tell of it.", required=True),
        Column("value", StringType(), "What the text says, as the store or most texts spell it.", required=True),
        Column("confidence", DoubleType(), "Confidence of the recipe, from 0 to 1; see text_entity.", required=True),
        Column("recipe", StringType(), "Recipe that found it.", required=True),
        Column("revision", StringType(), "Revision of the trained recipe.", required=True),
    ),
    key=("item_id", "attribute"),
)

SILVER = (
    FOUND_ATTRIBUTE,
    MEDIA_TEXT,
    OWNER_TEXT,
    CONTENT_EMBEDDING,
    ITEM_EMBEDDING,
    ENCODER_RELEASE,
    SEARCH_VECTOR,
    *SNAPSHOTS,
    REVIEW_OPINION,
    OPINION_MODEL,
)
