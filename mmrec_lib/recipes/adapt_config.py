"""Configuration of an encoder's adaptation to the store."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmrec_lib.recipes.config import TextField
from mmrec_lib.section import Section

PairKind = Literal["co_visits", "searches", "reviews"]


class AdaptationConfig(Section):
    """Fine-tuning of a text encoder on what people do, and the gate that it must pass.

    Attributes:
        encoder: Text model of `models.encoders` that is adapted; it stays as it is.
        name: Directory of the adapted encoder under `models.root`; an encoder of kind text of this name uses it.
        pairs: What makes texts belong together: co_visits (items that the same users turn to), searches (words and the
            item that the user turned to next), reviews (a review's words and its item).
        fields: Texts of an item that are read together, in this order.
        rank: Rank of the adapters (LoRA); null trains all weights.
        scale: Factor of the adapters.
        trained_layers: Layers of the encoder with adapters, counted from the last; null: all.
        max_tokens: Tokens of a text that are read in training.
        batch_size: Texts of a step.
        max_epochs: Times that the texts are read at most.
        patience: Epochs without a better validation after which training ends.
        learning_rate: Step size.
        temperature: Divides cosines: the smaller, the more the nearest negatives count.
        num_neighbours: Items that an item belongs together with, at most.
        shrinkage: Common users that a pair needs to count half.
        search_minutes: Time after a search in which the next item counts as its answer.
        pair_weight: Weight of a search's or review's tie to its item; those between items sum to 1.
        max_items_of_user: Items of a user that are read, at most; a sample of more.
        max_users: Users whose behaviour is read, at most; a sample of more.
        max_pairs: Searches and reviews that are read, at most; a sample of more.
        max_items: Items that are read, at most; a sample of more.
        valid_share: Share of the items that choose the epoch; training does not see them.
        test_share: Share of the items that the gate reads; training does not see them.
        k: Cut-off of the recall that the gate compares.
        min_users: Users with items in the gate's part that it needs to decide.
        min_gain: The lower end of the gain's 95 % interval must be above it.
        seed: Start of the random numbers; the same texts, behaviour and seed give the same encoder on one machine.
    """

    encoder: str = "all-minilm-l6-v2"
    name: str = Field(default="store-text", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    pairs: tuple[PairKind, ...] = Field(default=("co_visits", "searches", "reviews"), min_length=1)
    fields: tuple[TextField, ...] = Field(default=("title", "description"), min_length=1)
    rank: int | None = Field(default=16, ge=1)
    scale: float = Field(default=2.0, gt=0)
    trained_layers: int | None = Field(default=2, ge=1)
    max_tokens: int = Field(default=64, ge=8, le=512)
    batch_size: int = Field(default=64, ge=4)
    max_epochs: int = Field(default=4, ge=1)
    patience: int = Field(default=2, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    temperature: float = Field(default=0.07, gt=0)
    num_neighbours: int = Field(default=40, ge=1)
    shrinkage: float = Field(default=10.0, ge=0)
    search_minutes: float = Field(default=10.0, gt=0)
    pair_weight: float = Field(default=0.5, gt=0)
    max_items_of_user: int = Field(default=200, ge=2)
    max_users: int = Field(default=20_000, ge=10)
    max_pairs: int = Field(default=20_000, ge=0)
    max_items: int = Field(default=20_000, ge=50)
    valid_share: float = Field(default=0.1, gt=0, lt=0.5)
    test_share: float = Field(default=0.17, gt=0, lt=0.5)
    k: int = Field(default=20, ge=1)
    min_users: int = Field(default=30, ge=2)
    min_gain: float = 0.0
    seed: int = 0
