"""Bronze: what arrived, cleaned, with where it came from."""

from __future__ import annotations

from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    TimestampType,
)

from mmrec_lib.contracts.table import Check, Column, TableContract

STRING_MAP = MapType(StringType(), StringType())
STRINGS = ArrayType(StringType())
VECTOR = ArrayType(FloatType())
SOURCE = (
    Column("source_path", StringType(), "Landing file that delivered the row, relative to the landing folder."),
    Column("source_file_id", StringType(), "Identity of that delivery; see landing_file."),
    Column("source_line", LongType(), "Line (JSON Lines, CSV) or row (Parquet) in that file, from 1."),
)

EVENT = TableContract(
    name="event",
    layer="bronze",
    comment="What users did: one row an event, immutable; the first delivery of an event_id wins.",
    columns=(
        Column(
            "event_id", StringType(), "Key; a hash of the contract's fields where the source gave none.", required=True
        ),
        Column("user_id", StringType(), "Who acted.", required=True),
        Column("item_id", StringType(), "On which item; null where the event type needs none (search)."),
        Column("event_type", StringType(), "One of the event types that the config declares.", required=True),
        Column("value", DoubleType(), "Rating value or other magnitude, as delivered."),
        Column("seconds", DoubleType(), "How long a view or listen lasted, in seconds."),
        Column("query", StringType(), "Words of a search."),
        Column("event_ts", TimestampType(), "When (UTC); 1970-01-01 where the source has no times.", required=True),
        Column("split", StringType(), "train, valid or test where the source brings its own split."),
        Column("attributes", STRING_MAP, "Fields beyond the contract, lists and objects as JSON."),
        *SOURCE,
    ),
    key=("event_id",),
    checks=(Check("split_known", "split IS NULL OR split IN ('train', 'valid', 'test')"),),
    change_feed=True,
)

REVIEW = TableContract(
    name="review",
    layer="bronze",
    comment="What users wrote or said about items, immutable; the first delivery of a review_id wins.",
    columns=(
        Column(
            "review_id", StringType(), "Key; a hash of the contract's fields where the source gave none.", required=True
        ),
        Column("user_id", StringType(), "Who reviewed.", required=True),
        Column("item_id", StringType(), "What was reviewed.", required=True),
        Column("text", StringType(), "The words; null for a spoken review."),
        Column("rating", DoubleType(), "Stars given with the review, 1 to 5, where given."),
        Column("language", StringType(), "ISO 639-1 code as delivered."),
        Column("audio", STRINGS, "Paths of spoken parts, relative to the landing folder."),
        Column("review_ts", TimestampType(), "When (UTC); 1970-01-01 where the source has no times.", required=True),
        Column("attributes", STRING_MAP, "Fields beyond the contract, lists and objects as JSON."),
        *SOURCE,
    ),
    key=("review_id",),
    change_feed=True,
)

ITEM = TableContract(
    name="item",
    layer="bronze",
    comment="The catalogue: the newest accepted version of each item; deleted items are gone.",
    columns=(
        Column("item_id", StringType(), "Key.", required=True),
        Column("title", StringType(), "Name of the item."),
        Column("description", StringType(), "Text about the item."),
        Column("categories", STRINGS, "Categories, as delivered."),
        Column("price", DoubleType(), "Price in the store's currency."),
        Column("available", BooleanType(), "False when the item must not be recommended.", required=True),
        Column("markets", STRINGS, "Markets where it is sold; null means everywhere."),
        Column("images", STRINGS, "Image paths, relative to the landing folder, in order."),
        Column("audio", STRINGS, "Sound paths, relative to the landing folder, in order."),
        Column("video", STRINGS, "Video paths, relative to the landing folder, in order."),
        Column(
            "updated_at", TimestampType(), "Version of the record (UTC); 1970-01-01 where not given.", required=True
        ),
        Column("attributes", STRING_MAP, "Fields beyond the contract, lists and objects as JSON."),
        *SOURCE,
    ),
    key=("item_id",),
    change_feed=True,
)

USER = TableContract(
    name="user",
    layer="bronze",
    comment="Known users: the newest accepted version; users seen only in events are created.",
    columns=(
        Column("user_id", StringType(), "Key.", required=True),
        Column(
            "updated_at", TimestampType(), "Version of the record (UTC); 1970-01-01 where not given.", required=True
        ),
        Column(
            "is_declared",
            BooleanType(),
            "False when the user is known from events, reviews or edges only.",
            required=True,
        ),
        Column("attributes", STRING_MAP, "What the source tells of the user (age, gender, …), as strings."),
        *SOURCE,
    ),
    key=("user_id",),
    change_feed=True,
)

USER_EDGE = TableContract(
    name="user_edge",
    layer="bronze",
    comment="Who is connected with whom, directed as delivered.",
    columns=(
        Column("user_id", StringType(), "From.", required=True),
        Column("friend_id", StringType(), "To.", required=True),
        Column("attributes", STRING_MAP, "Fields beyond the contract, lists and objects as JSON."),
        *SOURCE,
    ),
    key=("user_id", "friend_id"),
)

USER_CONTROL = TableContract(
    name="user_control",
    layer="bronze",
    comment="What users set themselves: items, categories and brands they want none, less or more of.",
    columns=(
        Column("control_id", StringType(), "Key: hash of user, target_kind and target.", required=True),
        Column("user_id", StringType(), "Whose control it is.", required=True),
        Column("action", StringType(), "block, mute, less or boost.", required=True),
        Column("target_kind", StringType(), "item, category or brand.", required=True),
        Column("target", StringType(), "Id of the item, or name of the category or brand.", required=True),
        Column("strength", DoubleType(), "How much less or more; null is showing.control_strength."),
        Column(
            "updated_at", TimestampType(), "Version of the record (UTC); 1970-01-01 where not given.", required=True
        ),
        Column("attributes", STRING_MAP, "Fields beyond the contract, lists and objects as JSON."),
        *SOURCE,
    ),
    key=("control_id",),
    checks=(
        Check("action_known", "action IN ('block', 'mute', 'less', 'boost')"),
        Check("target_kind_known", "target_kind IN ('item', 'category', 'brand')"),
    ),
)

QUERY = TableContract(
    name="query",
    layer="bronze",
    comment="What people asked for, in words, by an image or by voice: the newest accepted version; see search.md.",
    columns=(
        Column("query_id", StringType(), "Key.", required=True),
        Column("text", StringType(), "The words; null for an image or a recording alone."),
        Column("images", STRINGS, "Path of the image, relative to the landing folder; one at most."),
        Column("audio", STRINGS, "Path of the recording, likewise."),
        Column("user_id", StringType(), "Who asked; null for a visitor without a name."),
        Column("k", IntegerType(), "Length of the list that is wanted; null is search.k."),
        Column("market", StringType(), "Market in which to search; null is that of the user."),
        Column(
            "updated_at", TimestampType(), "Version of the record (UTC); 1970-01-01 where not given.", required=True
        ),
        Column("attributes", STRING_MAP, "Fields beyond the contract, lists and objects as JSON."),
        *SOURCE,
    ),
    key=("query_id",),
    checks=(Check("asks_something", "text IS NOT NULL OR images IS NOT NULL OR audio IS NOT NULL"),),
)

ANSWER = TableContract(
    name="answer",
    layer="bronze",
    comment="Answers that support gives: the newest accepted version of each.",
    columns=(
        Column("answer_id", StringType(), "Key.", required=True),
        Column("question", StringType(), "The question that it answers.", required=True),
        Column("answer", StringType(), "The answer.", required=True),
        Column("language", StringType(), "ISO 639-1 code as delivered."),
        Column("source", StringType(), "Where it comes from, such as the address of a page."),
        Column(
            "updated_at", TimestampType(), "Version of the record (UTC); 1970-01-01 where not given.", required=True
        ),
        Column("attributes", STRING_MAP, "Fields beyond the contract, lists and objects as JSON."),
        *SOURCE,
    ),
    key=("answer_id",),
)

GRAPH_EDGE = TableContract(
    name="graph_edge",
    layer="bronze",
    comment="Knowledge about items as triples.",
    columns=(
        Column("head", StringType(), "Subject, usually an item_id.", required=True),
        Column("relation", StringType(), "Relation, such as directed_by.", required=True),
        Column("tail", StringType(), "Object: a name or another item_id.", required=True),
        *SOURCE,
    ),
    key=("head", "relation", "tail"),
)

MEDIA_ASSET = TableContract(
    name="media_asset",
    layer="bronze",
    comment="Each distinct image, sound or video once, as original bytes.",
    columns=(
        Column("asset_id", StringType(), "Key: sha256 of the original bytes, hexadecimal.", required=True),
        Column("media_kind", StringType(), "image, audio or video, by content.", required=True),
        Column("mime", StringType(), "MIME type by content, such as image/jpeg.", required=True),
        Column("bytes_len", LongType(), "Size in bytes.", required=True),
        Column("width_px", IntegerType(), "Width of an image or video."),
        Column("height_px", IntegerType(), "Height of an image or video."),
        Column("media_seconds", DoubleType(), "Length of sound or video."),
        Column("uri", StringType(), "Where the bytes are, when they are too large to keep inline."),
        Column("content", BinaryType(), "The bytes, up to media.inline_bytes; null above."),
    ),
    key=("asset_id",),
    checks=(
        Check("media_kind_known", "media_kind IN ('image', 'audio', 'video')"),
        Check("has_bytes", "content IS NOT NULL OR uri IS NOT NULL"),
    ),
)

MEDIA_LINK = TableContract(
    name="media_link",
    layer="bronze",
    comment="Which item, review or query shows which asset.",
    columns=(
        Column("owner_kind", StringType(), "item, review or query.", required=True),
        Column("owner_id", StringType(), "item_id, review_id or query_id.", required=True),
        Column("field", StringType(), "images, audio or video.", required=True),
        Column("position", IntegerType(), "Place in the owner's list, from 0.", required=True),
        Column("asset_id", StringType(), "The asset; see media_asset.", required=True),
        Column("media_path", StringType(), "Path relative to the landing folder.", required=True),
        Column("file_bytes_len", LongType(), "Size of the file when it was read."),
        Column(
            "file_modified_at", TimestampType(), "Modification time of the file when it was read (UTC).", audit=True
        ),
    ),
    key=("owner_kind", "owner_id", "field", "position"),
)

PROVIDED_TEXT = TableContract(
    name="provided_text",
    layer="bronze",
    comment="Texts that arrive precomputed and replace extraction, such as transcripts.",
    columns=(
        Column("owner_kind", StringType(), "item, review, or media (then owner_id is a media path).", required=True),
        Column("owner_id", StringType(), "item_id, review_id or media path.", required=True),
        Column("kind", StringType(), "What the text is: transcript.", required=True),
        Column("text", StringType(), "The words.", required=True),
        Column("language", StringType(), "ISO 639-1 code as delivered."),
        *SOURCE,
    ),
    key=("owner_kind", "owner_id", "kind"),
)

PROVIDED_VECTOR = TableContract(
    name="provided_vector",
    layer="bronze",
    comment="Item vectors that arrive precomputed and replace encoding of their modality.",
    columns=(
        Column("item_id", StringType(), "The item.", required=True),
        Column("modality", StringType(), "text, image, audio or video, from the file name.", required=True),
        Column(
            "encoder_id", StringType(), "Who made it, from the file name; provided where it names none.", required=True
        ),
        *SOURCE,
        Column("vector", VECTOR, "The vector, float32.", required=True),
    ),
    key=("item_id", "modality", "encoder_id"),
)

QUARANTINE = TableContract(
    name="quarantine",
    layer="bronze",
    comment="Every delivered record, field or medium that could not be stored, with the reason and the raw bytes.",
    columns=(
        Column("quarantine_id", StringType(), "Key: hash of where the record stood.", required=True),
        Column(
            "record_kind",
            StringType(),
            "event, review, item, user, user_edge, user_control, query, answer, label, graph_edge, provided_text, "
            "provided_vector, media, file, or field (of a record that was stored without it).",
            required=True,
        ),
        Column("reason", StringType(), "Reason from a closed list, such as unknown_item.", required=True),
        Column("detail", StringType(), "What was wrong, where, and what would be right.", required=True),
        Column("record_id", StringType(), "Key of the record, where it could be read."),
        Column("waits_for_item_id", StringType(), "The unknown item an event or review waits for."),
        *SOURCE,
        Column(
            "raw", BinaryType(), "The record as delivered (a Parquet row as JSON); of media at most the first 64 KiB."
        ),
        Column(
            "parsed",
            StringType(),
            "Columns of a record that waits for its item as they were read, in JSON; times in microseconds since 1970.",
        ),
        Column(
            "media_seen",
            StringType(),
            "Of a medium that was read and refused: size in bytes, modification time (microseconds since 1970), hash "
            "of its bytes and hash of the limits. It is not read again while all of them stand.",
        ),
        Column(
            "num_attempts",
            IntegerType(),
            "Runs that tried to decode a medium of these bytes under these limits. A crash or timeout of the decoder "
            "is tried again by later ingests, up to 3 runs; other reasons are not.",
        ),
    ),
    key=("quarantine_id",),
)

LANDING_FILE = TableContract(
    name="landing_file",
    layer="bronze",
    comment="Each delivery of a landing file, reconciled: read = stored + superseded + duplicates + quarantined.",
    columns=(
        Column("file_id", StringType(), "Hash of path and content.", required=True),
        Column("record_kind", StringType(), "Kind of records in it.", required=True),
        Column("path", StringType(), "Path relative to the landing folder.", required=True),
        Column("sha256", StringType(), "Hash of the bytes.", required=True),
        Column("bytes_len", LongType(), "Size in bytes.", required=True),
        Column("num_read", LongType(), "Records read.", required=True),
        Column("num_stored", LongType(), "Records that are in their table or were applied (deletes).", required=True),
        Column("num_superseded", LongType(), "Records older than what is stored.", required=True),
        Column("num_duplicates", LongType(), "Records delivered again with the same content.", required=True),
        Column("num_quarantined", LongType(), "Records in quarantine when the file was read.", required=True),
        Column("modified_at", TimestampType(), "Modification time of the file (UTC).", audit=True),
        Column("ingest_number", LongType(), "Number of the ingest that read it: the order of deliveries.", audit=True),
        Column("table_version", LongType(), "Version of a Delta table that was read; null for a file."),
        Column("table_id", StringType(), "Identity of that Delta table."),
        Column("header", BinaryType(), "Header line of a CSV file, where it is too long to stand before each raw row."),
    ),
    key=("file_id", "record_kind"),
    checks=(Check("books_balance", "num_read = num_stored + num_superseded + num_duplicates + num_quarantined"),),
)

TOMBSTONE = TableContract(
    name="tombstone",
    layer="bronze",
    comment="Deleted items, users, controls, queries, answers and labels, so that an older version arriving late does "
    "not bring them back.",
    columns=(
        Column("record_kind", StringType(), "item, user, user_control, query, answer or label.", required=True),
        Column("record_id", StringType(), "Deleted key.", required=True),
        Column("updated_at", TimestampType(), "Version of the deletion (UTC).", required=True),
        *SOURCE,
    ),
    key=("record_kind", "record_id"),
)

BRONZE = (
    EVENT,
    REVIEW,
    ITEM,
    USER,
    USER_EDGE,
    USER_CONTROL,
    QUERY,
    ANSWER,
    GRAPH_EDGE,
    MEDIA_ASSET,
    MEDIA_LINK,
    PROVIDED_TEXT,
    PROVIDED_VECTOR,
    QUARANTINE,
    LANDING_FILE,
    TOMBSTONE,
)
