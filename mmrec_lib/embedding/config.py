"""Configuration of extraction and embedding: models by field, and portions of work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator

from mmrec_lib.embedding.vector_codec import REMOVED_STORAGES, Storage
from mmrec_lib.encoders.spec import InputKind
from mmrec_lib.section import Section
from mmrec_lib.text.languages import known_languages

DEFAULT_LANGUAGE = "default"

# Fields of `media_link`, and the kind of media in each.
MEDIA_KINDS: dict[str, InputKind] = {"images": "image", "audio": "audio", "video": "video"}

DOCUMENT = "document"
"""Field of items that holds what `embedding.document` names as one text."""
TEXT_FIELDS = ("title", "description", "transcript", "ocr", "labels", "tags")
"""Fields of items that are texts by themselves."""
CATEGORIES, PRICE, ATTRIBUTES = "categories", "price", "attributes"
DOCUMENT_COLUMNS = (CATEGORIES, PRICE, ATTRIBUTES)
"""Columns of items that a document may have."""
ATTRIBUTE = "attribute:"
"""Begins the name of an attribute in a document."""
DEFAULT_DOCUMENT = ("title", CATEGORIES, ATTRIBUTES, "description")

Names = str | tuple[str, ...] | None
NamesByLanguage = str | tuple[str, ...] | dict[str, str] | None


class ImageTexts(Section):
    """Models that read words out of images.

    Attributes:
        ocr: Text in images.
        labels: What is to be seen, as words.
    """

    ocr: str | None = "rapidocr"
    labels: str | None = "efficientnet-lite0-labels"


class SoundTexts(Section):
    """Models that read words out of sound, or out of the sound track of video.

    Attributes:
        transcript: What is said.
        tags: What is to be heard, as words.
    """

    transcript: str | None = "whisper-tiny-en"
    tags: str | None = "yamnet-tags"


class ExtractConfig(Section):
    """Extractors by kind of media; None extracts nothing.

    Attributes:
        images: Words of images.
        audio: Words of sound.
        video: Words of the sound track of video.
    """

    images: ImageTexts = Field(default_factory=ImageTexts)
    audio: SoundTexts = Field(default_factory=SoundTexts)
    video: SoundTexts = Field(default_factory=SoundTexts)


class ItemFields(Section):
    """Encoders of the fields of items.

    A field takes one encoder, several side by side, or none; a text field also one by language, such as
    `{default: all-minilm-l6-v2, de: my-german}`.

    Attributes:
        title: Its title.
        description: Its description.
        transcript: What is said in its sound and video.
        ocr: What is written in its images.
        labels: What is to be seen in its images, in words.
        tags: What is to be heard in its sound and video, in words.
        document: What `embedding.document` names, in one text. Its words are encoded twice unless the encoders of
            title and description are null.
        images: Its images.
        audio: Its sound.
        video: Its video: what is to be seen, and an encoder of sound hears its sound track.
    """

    title: NamesByLanguage = "all-minilm-l6-v2"
    description: NamesByLanguage = "all-minilm-l6-v2"
    transcript: NamesByLanguage = "all-minilm-l6-v2"
    ocr: NamesByLanguage = "all-minilm-l6-v2"
    labels: NamesByLanguage = "all-minilm-l6-v2"
    tags: NamesByLanguage = "all-minilm-l6-v2"
    document: NamesByLanguage = None
    images: Names = "efficientnet-lite0"
    audio: Names = "yamnet"
    video: Names = ("video-frames", "yamnet")


class ReviewFields(Section):
    """Encoders of the fields of reviews.

    Attributes:
        text: Its words, written or spoken; pooled by item as the item's field `review`.
    """

    text: NamesByLanguage = "all-minilm-l6-v2"


class EncodeConfig(Section):
    """Encoders of the fields of items and reviews.

    Attributes:
        item: Fields of items.
        review: Fields of reviews.
    """

    item: ItemFields = Field(default_factory=ItemFields)
    review: ReviewFields = Field(default_factory=ReviewFields)


@dataclass(frozen=True)
class FieldEncoder:
    """One encoder of one field of `item_embedding`.

    Attributes:
        field: The field; reviews are the field `review`.
        encoder_id: Name under `models.encoders`.
        language: Texts of this language (ISO 639-1) only; `DEFAULT_LANGUAGE` means all that have no encoder of their
            own, None that languages do not matter.
    """

    field: str
    encoder_id: str
    language: str | None = None

    @property
    def reads_media(self) -> bool:
        """Tell if the field is media, not text."""
        return self.field in MEDIA_KINDS


@dataclass(frozen=True)
class WordSource:
    """One model that reads words out of one kind of media.

    Attributes:
        media: Field of `media_link` that it reads: images, audio or video.
        kind: Kind of words, as in `media_text`.
        encoder_id: Name under `models.encoders`.
    """

    media: str
    kind: str
    encoder_id: str


class EmbeddingConfig(Section):
    """Settings of extraction and embedding.

    Attributes:
        extract: Which model reads which words out of which media.
        encode: Which encoder serves which field of which table.
        document: What the text `document` of an item is made of, in this order: title, description, transcript, ocr,
            labels, tags, categories, price, attributes (all of them, in the order of their names, without those that
            are named besides) or attribute:<name>. An encoder reads a bounded length, so what matters comes first.
            Null: title, categories, attributes, description where `embedding.encode.item.document` names an encoder,
            else no such text is made; a list makes it also without an encoder, for others that read texts.
        provided: What a precomputed vector does: `replace` (its item is not encoded in that modality) or `both`.
        num_partitions: Tasks that encoding is cut into; None: two for each core of the cluster.
        batch_bytes: Most bytes of input that a worker holds at once.
        batch_rows: Most rows that a worker holds at once; texts are sorted by length within them.
        storage: How `content_embedding` and `item_embedding` keep vectors: `float32`, or `float16` (rounded). When this
            changes, what is stored in float32 is packed as it stands; what was packed before is not what the encoder
            gave, and its contents are encoded again.
        commit_every: Minutes after which what is done is committed; a killed run loses no more.
    """

    extract: ExtractConfig = Field(default_factory=ExtractConfig)
    encode: EncodeConfig = Field(default_factory=EncodeConfig)
    document: tuple[str, ...] | None = Field(default=None, min_length=1)
    provided: Literal["replace", "both"] = "replace"
    num_partitions: int | None = Field(default=None, ge=1)
    batch_bytes: int = Field(default=32 * 2**20, ge=1)
    batch_rows: int = Field(default=4096, ge=1)
    storage: Storage = "float32"
    commit_every: float = Field(default=5.0, gt=0)

    @field_validator("storage", mode="before")
    @classmethod
    def _not_removed(cls, storage: object) -> object:
        if isinstance(storage, str) and storage in REMOVED_STORAGES:
            raise ValueError(f"the format `{storage}` was removed, {REMOVED_STORAGES[storage]}")
        return storage

    @field_validator("document")
    @classmethod
    def _entries_are_known(cls, document: tuple[str, ...] | None) -> tuple[str, ...] | None:
        entries = document or ()
        known = (*TEXT_FIELDS, *DOCUMENT_COLUMNS)
        unknown = [one for one in entries if one not in known and not (one.startswith(ATTRIBUTE) and one != ATTRIBUTE)]
        if unknown:
            raise ValueError(f"entries of {', '.join(known)} or {ATTRIBUTE}<name> are needed, got {', '.join(unknown)}")
        repeated = sorted({one for one in entries if entries.count(one) > 1})
        if repeated:
            raise ValueError(f"each entry must be there once, got {', '.join(repeated)} several times")
        return document

    @field_validator("encode")
    @classmethod
    def _with_default_language(cls, encode: EncodeConfig) -> EncodeConfig:
        for name, names in (*encode.item, *encode.review):
            if not isinstance(names, dict):
                continue
            if DEFAULT_LANGUAGE not in names:
                raise ValueError(f"{name}: encoders by language need an entry `{DEFAULT_LANGUAGE}`, got {names}")
            unknown = sorted(set(names) - known_languages() - {DEFAULT_LANGUAGE})
            if unknown:
                raise ValueError(
                    f"{name}: codes of languages that can be told are needed ({', '.join(sorted(known_languages()))}), "
                    f"got {', '.join(unknown)}"
                )
        return encode

    @property
    def document_entries(self) -> tuple[str, ...]:
        """Entries that the document of an item is made of, in their order; empty where none is made."""
        if self.document is not None:
            return self.document
        return DEFAULT_DOCUMENT if any(one.field == DOCUMENT for one in self.field_encoders) else ()

    @property
    def field_encoders(self) -> tuple[FieldEncoder, ...]:
        """Every encoder of every field."""
        fields = [*self.encode.item, *(("review", names) for _, names in self.encode.review)]
        return tuple(one for field, names in fields for one in _field_encoders(field, names))

    @property
    def word_sources(self) -> tuple[WordSource, ...]:
        """Every model that reads words out of media."""
        return tuple(
            WordSource(media, kind, name) for media, words in self.extract for kind, name in words if name is not None
        )


def _field_encoders(field: str, names: NamesByLanguage) -> Iterator[FieldEncoder]:
    if isinstance(names, dict):
        yield from (FieldEncoder(field, name, language) for language, name in names.items())
    elif names is not None:
        yield from (
            FieldEncoder(field, name) for name in ((names,) if isinstance(names, str) else dict.fromkeys(names))
        )
