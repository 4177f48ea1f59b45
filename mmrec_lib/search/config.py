"""Settings of search and support answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mmrec_lib.section import Section

Weight = Literal["words", "text", "image", "joint"]
PhotoLook = Annotated[float, Field(ge=1, le=2)]
WORD_FIELDS = ("title", "description", "categories", "transcript", "ocr", "labels", "tags", "document")
VECTOR_FIELDS = ("title", "description", "transcript", "ocr", "labels", "tags", "document", "images")
MAX_K = 1000


def _default_weights() -> dict[Weight, float]:
    return {"words": 2.0, "text": 1.0, "image": 1.0, "joint": 1.0}


class SupportConfig(Section):
    """Settings of support answers.

    Attributes:
        num_answers: Answers a question, at most.
        least_confidence: Answers with less are not given. The confidence is the share of the store's own questions that
            lie farther from their nearest neighbour than the customer's question from this one.
        least_cosine: Answers that are less like the question are not given, whatever the confidence: where there are
            few questions, their distances tell little.
    """

    num_answers: int = Field(default=3, ge=1, le=100)
    least_confidence: float = Field(default=0.5, ge=0, le=1)
    least_cosine: float = Field(default=0.4, ge=-1, le=1)


class SearchConfig(Section):
    """Settings of search.

    Attributes:
        k: Items a query, where it does not say.
        candidates: Items that each way of finding puts up; a list is made of these. At least as many as a query wants.
        word_fields: Weight of each field whose words are searched, of title, description, categories, transcript, ocr,
            labels, tags and document.
        vector_fields: Fields whose vectors are searched, of title, description, transcript, ocr, labels, tags, document
            and images; the encoders are those of `embedding.encode.item`.
        k1: How soon more of the same word stops to count.
        b: How much long documents are held back, from 0 to 1.
        fusion: `rrf` adds up reciprocal ranks, `weighted` the scores, each divided by its best.
        rank_constant: Constant of reciprocal ranks; smaller ones let the first ranks count for more.
        weights: Weight of each way of finding: exact words, and vectors of texts, of images and of both together.
        personal_weight: What the ranker of a named user adds at most to an item that was found; 0 is nothing. It never
            adds an item.
        max_query_words: Different words of a query that are searched, the first ones; a longer query is marked as cut.
        least_like: Share of the pairs of contents of one item, such as title and description, that may be farther from
            each other than a query is from what counts as near it. Where items have one content each, near is what
            exceeds three quarters of the pairs of items.
        personal_candidates: Items, best first, that the ranker of a named user may reorder.
        photo_looks: How a photo that is searched for is looked at, once for each factor: its width and height are
            multiplied with it by continuing its edges, 1 being the photo as it is. An item counts by the nearest look.
            A cropped photo has lost its border, and many encoders see seven eighths of an image only: at 1.15 they see
            all of it. From 1.2 on they see continued edges, by which noise comes near to real images.
        queries_per_task: Queries that one task answers.
        support: Support answers.
    """

    k: int = Field(default=20, ge=1, le=MAX_K)
    candidates: int = Field(default=200, ge=1)
    word_fields: dict[str, float] = Field(
        default_factory=lambda: {"title": 2.0, "description": 1.0, "categories": 1.0}, min_length=1
    )
    vector_fields: tuple[str, ...] = ("title", "description", "images")
    k1: float = Field(default=1.2, ge=0)
    b: float = Field(default=0.75, ge=0, le=1)
    fusion: Literal["rrf", "weighted"] = "weighted"
    rank_constant: float = Field(default=60.0, gt=0)
    weights: dict[Weight, float] = Field(default_factory=_default_weights)
    personal_weight: float = Field(default=0.25, ge=0)
    personal_candidates: int = Field(default=50, ge=1)
    max_query_words: int = Field(default=256, ge=1)
    least_like: float = Field(default=0.02, ge=0, lt=1)
    photo_looks: tuple[PhotoLook, ...] = Field(default=(1.0, 1.15), min_length=1, max_length=4)
    queries_per_task: int = Field(default=5_000, ge=1)
    support: SupportConfig = SupportConfig()

    @field_validator("photo_looks")
    @classmethod
    def _of_different_sizes(cls, given: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(given)) < len(given):
            raise ValueError(f"different factors are needed, got {', '.join(map(str, given))}")
        return given

    @field_validator("weights")
    @classmethod
    def _of_every_way(cls, given: dict[Weight, float]) -> dict[Weight, float]:
        if any(weight < 0 for weight in given.values()):
            raise ValueError(f"weights of at least 0 are needed, got {given}")
        return _default_weights() | given

    @model_validator(mode="after")
    def _fields_are_known(self) -> SearchConfig:
        for name, given, known in (
            ("word_fields", self.word_fields, WORD_FIELDS),
            ("vector_fields", self.vector_fields, VECTOR_FIELDS),
        ):
            unknown = sorted(set(given) - set(known))
            if unknown:
                raise ValueError(f"{name}: fields of {', '.join(known)} are needed, got {', '.join(unknown)}")
        if min(self.word_fields.values()) < 0:
            raise ValueError(f"word_fields: weights of at least 0 are needed, got {self.word_fields}")
        return self
