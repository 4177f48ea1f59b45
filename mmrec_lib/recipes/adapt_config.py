"""Configuration of an encoder's adaptation to the store."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from mmrec_lib.errors import ConfigError
from mmrec_lib.recipes.config import TextField
from mmrec_lib.section import Section

PairKind = Literal["co_visits", "searches", "reviews"]
Step = Literal["masked_language", "behaviour"]
AdaptedKind = Literal["text", "image", "joint"]
PAIRS: dict[AdaptedKind, tuple[PairKind, ...]] = {
    "text": ("co_visits", "searches", "reviews"),
    "image": ("co_visits",),
    "joint": ("co_visits", "searches", "reviews"),
}
"""What may tie the contents that an encoder of a kind reads."""
_NAMES: dict[AdaptedKind, str] = {"text": "store-text", "image": "store-image", "joint": "store-joint"}
_OF_TEXTS_ALONE = ("steps", "max_tokens", "masked_language", "student")
_OF_TEXTS = (*_OF_TEXTS_ALONE, "fields", "search_minutes", "pair_weight", "max_pairs")
_OF_JOINT = ("cross_modal_margin",)
# Settings that say nothing to an encoder of a kind, and of what they speak.
_SENSELESS: dict[AdaptedKind, tuple[tuple[tuple[str, ...], str, str], ...]] = {
    "text": ((_OF_JOINT, "texts and images in one space", "a joint"),),
    "image": ((_OF_TEXTS, "texts", "a text"), (_OF_JOINT, "texts and images in one space", "a joint")),
    "joint": ((_OF_TEXTS_ALONE, "texts alone", "a text"),),
}


class MaskedLanguageConfig(Section):
    """Training on the store's own texts alone: words are hidden, and the encoder learns to tell them.

    Attributes:
        mask_share: Share of a text's tokens that are to be told.
        max_epochs: Times that the texts are read at most.
        patience: Epochs without a smaller loss on the texts of valid after which the step ends.
        learning_rate: Step size.
    """

    mask_share: float = Field(default=0.15, gt=0, lt=0.5)
    max_epochs: int = Field(default=4, ge=1)
    patience: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)


class StudentConfig(Section):
    """A smaller encoder that learns to give the vectors of the adapted one.

    Attributes:
        num_layers: Layers that it keeps.
        layers: Which of the teacher's it starts from: spread (at equal distances, the first and the last among them)
            or first.
        name: Its directory under `models.root`; null: the adapted encoder's with -small.
        max_epochs: Times that the texts are read at most.
        patience: Epochs without nearer vectors on the texts of valid after which training ends.
        learning_rate: Step size.
        margin: Recall of held-out items that it may lose to its teacher: the lower end of the difference's 95 %
            interval must be above minus this.
    """

    num_layers: int = Field(default=3, ge=1)
    layers: Literal["spread", "first"] = "spread"
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    max_epochs: int = Field(default=8, ge=1)
    patience: int = Field(default=2, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    margin: float = Field(default=0.02, ge=0, lt=1)


class AdaptationConfig(Section):
    """Fine-tuning of an encoder on what people do, and the gate that it must pass.

    Attributes:
        encoder: Model of `models.encoders` that is adapted, of kind text, image or joint (CLIP, SigLIP); it stays as it
            is. Of an image encoder the contents are the first images of items, of a joint one both, else their texts.
        name: Directory of the adapted encoder under `models.root`; an encoder of the same kind and this name uses it.
            Null: store-text, store-image or store-joint.
        steps: What is done, in this order: masked_language (words that are hidden in the store's own texts are told),
            behaviour (texts that people turn to together come close).
        pairs: What makes contents belong together: co_visits (items that the same users turn to), searches (words and
            the item that the user turned to next), reviews (a review's words and its item). Null: all of them, and
            co_visits alone for an image encoder.
        fields: Texts of an item that are read together, in this order.
        rank: Rank of the adapters (LoRA); null trains all weights.
        scale: Factor of the adapters.
        trained_layers: Layers of the encoder with adapters, counted from the last; null: all. Of a joint encoder, of
            each tower.
        max_tokens: Tokens of a text that are read in training; a joint encoder reads as many as it was trained on.
        batch_size: Texts or images of a step, of a joint encoder items and texts.
        max_epochs: Times that they are read at most.
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
        k: Cut-off of the recall that the gate compares, and of what texts and images find of each other.
        min_users: Users with items in the gate's part that it needs to decide; of a joint encoder also different texts
            and images of items that have both, which must be twice `k` at least.
        min_gain: The lower end of the gain's 95 % interval must be above it.
        ranker_margin: nDCG@10 of the ranker's first stage on the snapshot's valid part that may be lost: the lower end
            of the difference's 95 % interval must be above minus this. Null does not ask the ranker.
        cross_modal_margin: Share of held-out items' texts that find their image among the first `k`, and of images that
            find their text, that a joint encoder may lose: the lower end of each difference's 95 % interval must be
            above minus this. Null does not ask.
        masked_language: The step masked_language.
        student: A smaller encoder that is made of the adapted one, or of the encoder as it was where none is released;
            null makes none.
        seed: Start of the random numbers; the same texts, behaviour and seed give the same encoder on one machine.
    """

    encoder: str = "all-minilm-l6-v2"
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    steps: tuple[Step, ...] = Field(default=("behaviour",), min_length=1)
    pairs: tuple[PairKind, ...] | None = Field(default=None, min_length=1)
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
    ranker_margin: float | None = Field(default=0.01, ge=0, lt=1)
    cross_modal_margin: float | None = Field(default=0.05, ge=0, lt=1)
    masked_language: MaskedLanguageConfig = MaskedLanguageConfig()
    student: StudentConfig | None = None
    seed: int = 0

    @field_validator("steps")
    @classmethod
    def _are_in_order(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        allowed = (("masked_language",), ("behaviour",), ("masked_language", "behaviour"))
        if steps not in allowed:
            raise ValueError(
                "steps must be masked_language, behaviour, or both in this order, each once, got "
                f"{', '.join(steps)}: what behaviour taught would be lost under the words"
            )
        return steps

    @model_validator(mode="after")
    def _names_differ(self) -> AdaptationConfig:
        name = self.name or _NAMES["text"]
        if self.student is not None and self.student_name == name:
            raise ValueError(f"student.name must be another name than adaptation.name, got `{name}` for both")
        return self

    @property
    def student_name(self) -> str | None:
        """Directory of the student under `models.root`; None without one."""
        if self.student is None:
            return None
        return self.student.name or f"{self.name or _NAMES['text']}-small"

    @property
    def target(self) -> str:
        """Directory of the adapted encoder under `models.root`; of a config that `resolved` has made."""
        assert self.name is not None
        return self.name

    @property
    def ties(self) -> tuple[PairKind, ...]:
        """Behaviour that ties contents; of a config that `resolved` has made."""
        assert self.pairs is not None
        return self.pairs

    def resolved(self, kind: AdaptedKind) -> AdaptationConfig:
        """The same with what it leaves open, for an encoder of a kind.

        Raises:
            ConfigError: When it asks for something that an encoder of this kind cannot have.

        Example:
            >>> AdaptationConfig().resolved("image").pairs
            ('co_visits',)
        """
        pairs = PAIRS[kind] if self.pairs is None else self.pairs
        others = [one for one in pairs if one not in PAIRS[kind]]
        if others:
            raise ConfigError(
                f"adaptation.pairs: {', '.join(PAIRS[kind])} can tie contents of an encoder of kind {kind}, got "
                f"{', '.join(others)}, which are words. Leave it out, or adapt a text encoder."
            )
        usual = AdaptationConfig.model_fields
        for names, subject, other in _SENSELESS[kind]:
            told = [name for name in names if getattr(self, name) != usual[name].get_default()]
            if told:
                raise ConfigError(
                    f"adaptation.{told[0]}: it says something about {subject}, and `{self.encoder}` is an encoder of "
                    f"kind {kind}. Leave it out, or adapt {other} encoder."
                )
        return self.model_copy(update={"name": self.name or _NAMES[kind], "pairs": pairs})

    @property
    def method(self) -> str:
        """The steps in words."""
        return ", ".join(self.steps)
