"""Configuration of the joint space of modalities, and of contents that contradict each other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmrec_lib.section import Section

Method = Literal["pca", "cca", "cooccurrence", "infonce", "attention"]


class AlignmentConfig(Section):
    """Joint space of the modalities, and findings about contents.

    Attributes:
        method: Way to the joint space. pca: leading directions of all modalities side by side. cca: directions in which
            the modalities of an item agree. cooccurrence: vectors of what the same users turn to, predicted from each
            modality. infonce: trained so that modalities of an item, and items that the same users turn to, are near.
            attention: the space of infonce, in which the modalities of an item hear each other by cross-attention
            before they become one vector. none makes no space and costs nothing.
        dim: Length of the vectors.
        max_modality_dims: Leading directions of a modality that are read, at most; fewer where items are few.
        regulariser: Penalty of cca and cooccurrence, relative to the mean variance of a modality.
        max_items: Items that the space is learned from, at most (a seeded sample above); all items get a vector.
        valid_share: Share of the items that choose the epoch of infonce and of attention.
        max_tested_items: Items of a fold that retrieval between modalities is measured on, at most.
        max_users: Users whose behaviour is read, at most (a seeded sample above).
        max_items_of_user: Items of a user that are read, at most; a seeded sample of more.
        num_neighbours: Items that an item belongs together with, at most.
        co_consumption_weight: Weight of co-consumed items in the losses of infonce and attention; the modalities of
            an item have 1.
        attention_heads: Heads of the attention.
        temperature: Start of the temperature of these losses, which is learned.
        batch_size: Items of a step.
        max_epochs: Times that a training reads the items, at most.
        max_steps: Steps of a training, at most.
        patience: Epochs without a lower validation loss after which a training ends.
        learning_rate: Step size.
        device: Processor of the trainings, cpu or cuda; only cpu gives the same vectors with the same seed.
        seed: Seed of samples, range finders and batches.
        find_contradictions: Look for images, sound and video that do not go with an item's text, prices far from those
            of the category, and near-duplicates: the table `content_finding`.
        likeness_z: Robust z-score of the likeness of a modality and the text below which they contradict each other.
        price_z: Robust z-score of the log price within the category beyond which a price is far from it.
        min_items: Items that a likeness or a category needs before anything is told of it.
        duplicate_cosine: Least cosine of all contents together of two near-duplicates; their titles must be alike
            too, up to what tells variants apart.
        contradiction_weight: Weight of a modality that contradicts the text in an item's joint vector; 1 changes
            nothing, 0 leaves it out. Contents outside of the joint space stay as they are.
    """

    method: Literal["none", Method] = "none"
    dim: int = Field(default=64, ge=1, le=1024)
    max_modality_dims: int = Field(default=128, ge=1, le=2048)
    regulariser: float = Field(default=0.1, gt=0)
    max_items: int = Field(default=100_000, ge=10)
    valid_share: float = Field(default=0.1, gt=0, lt=0.5)
    max_tested_items: int = Field(default=2_000, ge=10)
    max_users: int = Field(default=50_000, ge=1)
    max_items_of_user: int = Field(default=200, ge=2)
    num_neighbours: int = Field(default=20, ge=1)
    co_consumption_weight: float = Field(default=1.0, ge=0)
    attention_heads: int = Field(default=4, ge=1)
    temperature: float = Field(default=0.1, gt=0)
    batch_size: int = Field(default=256, ge=8)
    max_epochs: int = Field(default=30, ge=1)
    max_steps: int = Field(default=3_000, ge=1)
    patience: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    device: Literal["cpu", "cuda"] = "cpu"
    seed: int = 0
    find_contradictions: bool = False
    likeness_z: float = Field(default=-3.5, lt=0)
    price_z: float = Field(default=5.0, gt=0)
    min_items: int = Field(default=50, ge=10)
    duplicate_cosine: float = Field(default=0.95, gt=0, le=1)
    contradiction_weight: float = Field(default=1.0, ge=0, le=1)
