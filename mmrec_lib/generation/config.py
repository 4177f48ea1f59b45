"""Settings of texts for people."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from mmrec_lib.generation.templates import LANGUAGES
from mmrec_lib.section import Section


class GenerationConfig(Section):
    """Settings of reasons and descriptions.

    Attributes:
        num_ranks: First items of each user's list that get a text; 0 writes none, and reads nothing.
        language: Language of texts for users who have none that is known, of de, en, es, fr and ja; descriptions are in
            it.
        language_attribute: Attribute of users that names their language, such as `de` or `de-AT`.
        max_characters: Longest text; a longer candidate is not used.
        max_name_characters: Longer names, such as titles, are cut.
        min_reviews: Reviews from which on praise of an item, or its mean rating, is a fact.
        min_share: Share of a user's history from which on a category or brand is one that the user often chooses.
        blocked_words: Words that no text may hold, whole words or phrases in any case; a fact with one is not told.
        silent_categories: Categories that no text tells anybody to have chosen; neither are their items named as those
            that somebody turned to.
        choose_by: Choice among the texts of an item. `order` takes the most particular facts that the items before it
            in the list do not tell; `vectors` the text whose facts lie nearest to the user's history and to the item in
            the space of the store's text encoder.
        text_encoder: Encoder of `embedding.encode.item` that encodes titles, for `choose_by: vectors`; None takes the
            first one.
        alpha: Weight of the nearness to the user's history for `choose_by: vectors`; that to the item has the rest.
            None chooses it on validation.
        alpha_users: Users of the validation part that alpha is chosen on, at most.
        model: Directory of a language model in transformers format under `models.root`, causal or seq2seq, that writes
            candidates from the facts; None does without. Its texts meet the same checks, and where one fails the
            template stands.
        model_batch: Texts that the model writes at once.
        describe_items: Items without a description get one in `generated_description`.
    """

    num_ranks: int = Field(default=0, ge=0)
    language: str = "en"
    language_attribute: str = "language"
    max_characters: int = Field(default=200, ge=40, le=2_000)
    max_name_characters: int = Field(default=60, ge=10, le=200)
    min_reviews: int = Field(default=3, ge=1)
    min_share: float = Field(default=0.2, gt=0, le=1)
    blocked_words: tuple[str, ...] = ()
    silent_categories: tuple[str, ...] = ()
    choose_by: Literal["order", "vectors"] = "order"
    text_encoder: str | None = None
    alpha: float | None = Field(default=None, ge=0, le=1)
    alpha_users: int = Field(default=500, ge=1)
    model: str | None = None
    model_batch: int = Field(default=16, ge=1)
    describe_items: bool = True

    @field_validator("language")
    @classmethod
    def _is_written(cls, given: str) -> str:
        if given not in LANGUAGES:
            raise ValueError(f"a language of {', '.join(LANGUAGES)} is needed, got {given}")
        return given
