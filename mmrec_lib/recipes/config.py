"""Configuration of recipes: what is learned from which labels, by which network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mmrec_lib.section import Section

RecipeKind = Literal["tagger", "classifier", "pair", "text_image", "from_nothing"]
TextField = Literal["title", "description", "text", "transcript", "ocr", "labels", "tags", "document"]


class PseudoLabelConfig(Section):
    """A second round of training that learns from predictions of the first one as well, see `recipe.pseudo_labels`.

    Attributes:
        min_confidence: Probability that a predicted class, or each token of a tagger's text, must have.
        max_examples: Predictions that join training, at most; the surest ones.
        max_candidates: Unlabelled contents that are judged, at most; a sample of more.
    """

    min_confidence: float = Field(default=0.95, gt=0.5, le=1)
    max_examples: int = Field(default=2_000, ge=1)
    max_candidates: int = Field(default=20_000, ge=1)


class RecipeConfig(Section):
    """A recipe: one task of the table `label`, one network, and how it is trained.

    Attributes:
        name: Name of the recipe; its directory under `models.root` is recipe-<name>.
        kind: tagger (parts of texts), classifier (of texts), pair (a user's text beside an item's: rating levels),
            text_image (both decide), or from_nothing (a small network of words and images without pretrained weights).
        task: Task of the labels.
        fields: Fields of the owner's texts that are read, in this order; a tagger reads each alone, and no document,
            which is put together and changes with its parts.
        encoder: Text model of `models.encoders` that training starts from; not used by from_nothing.
        image_encoder: Image model of `models.encoders` whose vectors text_image reads.
        uses_images: Whether from_nothing reads the owner's first image as well.
        image_px: Side of the images that from_nothing reads.
        num_history: Items of a user whose texts make the user's own, those that weigh most first.
        max_tokens: Tokens of a text, of both texts of a pair together.
        trained_layers: Layers of the encoder that are trained, counted from the last; null trains all.
        vocabulary_size: Most words that from_nothing knows.
        max_epochs: Times that the examples of train are read at most.
        patience: Epochs without a better validation after which training ends.
        batch_size: Examples that a step looks at.
        learning_rate: Step size of the encoder's layers.
        head_learning_rate: Step size of new layers.
        seed: Start of the random numbers; the same labels, contents and seed give the same model on one machine.
        valid_share: Share of the examples that choose the epoch, where labels name no split.
        test_share: Share that is read once, where labels name no split.
        min_examples: Fewer labels than this are refused.
        max_examples: Of more labels a sample is read, which the message tells.
        max_contradictions: Share of examples that say of the same content something else than most; those are left
            out, and above this share the labels are refused.
        min_confidence: Predictions below it are not written.
        train_part_only: Labels of pairs that are in the valid or test part of the current snapshot do not count. A
            recipe that is to be a scorer needs it (scorer.model), since the ranker is judged on those parts.
        pseudo_labels: What the recipe is sure of among owners without a label joins the labels of train in a second
            round, which stands where its score on valid is higher; never in valid or test. Not for pairs, nor for
            labels that bring texts of their own. Null makes one round.
    """

    name: str = Field(default="sentiment", pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    kind: RecipeKind = "classifier"
    task: str = Field(default="sentiment", min_length=1)
    fields: tuple[TextField, ...] = Field(default=("text", "transcript"), min_length=1)
    encoder: str = "all-minilm-l6-v2"
    image_encoder: str = "efficientnet-lite0"
    uses_images: bool = True
    image_px: int = Field(default=224, ge=32, le=512)
    num_history: int = Field(default=8, ge=1)
    max_tokens: int = Field(default=64, ge=8, le=512)
    trained_layers: int | None = Field(default=2, ge=0)
    vocabulary_size: int = Field(default=5_000, ge=10)
    max_epochs: int = Field(default=6, ge=1)
    patience: int = Field(default=2, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    head_learning_rate: float = Field(default=2e-3, gt=0)
    seed: int = 0
    valid_share: float = Field(default=0.15, gt=0, lt=0.5)
    test_share: float = Field(default=0.2, gt=0, lt=0.5)
    min_examples: int = Field(default=50, ge=10)
    max_examples: int = Field(default=20_000, ge=50)
    max_contradictions: float = Field(default=0.1, ge=0, lt=0.5)
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    train_part_only: bool = False
    pseudo_labels: PseudoLabelConfig | None = None

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> RecipeConfig:
        if self.min_examples > self.max_examples:
            raise ValueError(
                f"min_examples must be at most max_examples, got {self.min_examples} and {self.max_examples}"
            )
        return self

    @model_validator(mode="after")
    def _spans_are_of_texts_as_they_were_written(self) -> RecipeConfig:
        if self.kind == "tagger" and "document" in self.fields:
            raise ValueError(
                "fields of a tagger must be texts as they were written or found, since labels name their characters, "
                "got document, which is put together of several. Name those that it is made of"
            )
        return self

    @model_validator(mode="after")
    def _parts_are_of_pairs(self) -> RecipeConfig:
        if self.train_part_only and self.kind != "pair":
            raise ValueError(f"train_part_only is about pairs of a user and an item, got kind {self.kind}")
        return self

    @model_validator(mode="after")
    def _pseudo_labels_are_of_owners(self) -> RecipeConfig:
        if self.pseudo_labels is not None and self.kind == "pair":
            raise ValueError("pseudo_labels needs owners without a label, and of pairs there is no list; got kind pair")
        return self

    @property
    def directory(self) -> str:
        """Name of its directory under `models.root`."""
        return f"recipe-{self.name}"

    @property
    def needs_images(self) -> bool:
        """True when it reads images."""
        return self.kind == "text_image" or (self.kind == "from_nothing" and self.uses_images)
