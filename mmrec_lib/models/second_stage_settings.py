"""Settings of the second stage."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from mmrec_lib.location import is_uri
from mmrec_lib.section import Section

FusionForm = Literal["gated", "concatenation", "sum", "low_rank", "transformer", "recurrent"]
"""How an item's modalities become one vector; see `second_stage.modalities`."""
FusionLevel = Literal["feature", "model", "hybrid", "decision"]
"""Where modalities meet: in an item's vector, in a sum of one attention each, in both, or in the score alone."""
Loss = Literal["softmax", "bpr", "logistic"]
"""What is minimised; see `second_stage.losses`."""
ContextKind = Literal["time", "market", "device", "search"]
"""Parts of the context of a request; see `second_stage.context`."""
_MOST_HELD_OUT = 0.9


class SecondStageSettings(Section):
    """Settings of the second stage, which orders the candidates of users with history.

    Attributes:
        form: How an item's modalities become one vector: gated attention, concatenation, weighted sum, low-rank
            multilinear, or a transformer or a recurrent network over modality tokens.
        level: Where modalities meet. `feature`: in an item's vector, by `form`. `model`: each content block has an
            attention of its own, and these are added. `hybrid`: both. `decision`: weights over the shares of the first
            stage's score, and nothing else.
        loss: `softmax` over a user's relevant and drawn candidates, `bpr` over pairs of one of each, `logistic` for
            each candidate alone.
        num_candidates: Candidates of a user, from the first stage.
        history_length: Latest items of a history that are attended to.
        content_dim: Dimensions that each content block is reduced to.
        attention_dim: Dimensions of an item's vector in the attention.
        hidden_dim: Hidden units over a candidate's features.
        windows: Where examples come from: `time` takes what happened after a cut of the fit's data, `random` events
            held out at random; `auto` takes time where the validation part follows the training part.
        num_windows: Held-out windows, each with a first stage of its own that has not seen it.
        window_share: Share of the interactions in a window.
        max_items: Items with interactions up to which it is tried: each window fits a first stage of its own.
        max_interactions: Interactions up to which it is tried.
        max_users: Users of a window whose candidates are learned from, at most (a seeded sample above).
        num_negatives: Candidates drawn for each user and epoch besides the relevant ones; the loss corrects for it.
        hard_negatives: Share of the chance of being drawn that goes by the first stage's score instead of to all alike.
        false_negative_cosine: Candidates whose contents are so much like a relevant one's are not drawn as negatives;
            null draws from all.
        epochs: Passes over the examples.
        learning_rate: Largest learning rate of the cycle.
        weight_decay: Decay of the weights.
        dropout: Share of hidden units that are dropped in training.
        modality_dropout: Share of an item's content blocks that are dropped in training.
        content_noise: Length of the random vector that is added to each content block (of length 1) in training.
        adversarial: Length of the step against the network that is added to each content block in training, for a
            second loss beside the first; doubles the time of training.
        context: Parts of the context of a request that are tried: `time` (hour and day of the week, UTC), `market`,
            `device` and `search` (words of the last search). They are kept together where the order with them beats the
            one without on held-out requests. None costs nothing.
        market_attribute: Attribute of users that names their market; as `features.market_attribute`.
        precision: `float32`, or `bfloat16` for the products of the training where the processor has instructions for
            it, else float32 too; weights stay float32.
        accumulate: Micro-batches that each step is divided into, one after the other; takes less memory, and changes
            nothing but rounding, as long as `dropout` is 0.
        num_processes: Processes that each step is divided among; changes nothing but rounding, as long as `dropout` is
            0. Each holds all examples.
        launcher: Starts the processes: `processes` on the driver's machine, `torch_distributor` by Spark's
            TorchDistributor.
        shared_folder: Folder that the driver and all executors see, such as a mounted volume, through which
            `torch_distributor` brings the examples to tasks of Spark. Null runs its processes on the driver's machine,
            where that is the master too.
        checkpoint: Folder on this machine, or a mounted volume, for a checkpoint after each epoch, from which a
            training that was killed goes on to the same weights; null keeps none. Processes on several machines need
            one that all see.
    """

    form: FusionForm = "gated"
    level: FusionLevel = "feature"
    loss: Loss = "bpr"
    num_candidates: int = Field(default=200, ge=2)
    history_length: int = Field(default=20, ge=1)
    content_dim: int = Field(default=24, ge=1)
    attention_dim: int = Field(default=16, ge=1)
    hidden_dim: int = Field(default=32, ge=1)
    windows: Literal["auto", "time", "random"] = "auto"
    num_windows: int = Field(default=3, ge=2)
    window_share: float = Field(default=0.1, gt=0, le=0.3)
    max_items: int = Field(default=5_000, ge=1)
    max_interactions: int = Field(default=2_000_000, ge=1)
    max_users: int = Field(default=4_000, ge=1)
    num_negatives: int = Field(default=32, ge=1)
    hard_negatives: float = Field(default=0.5, ge=0, lt=1)
    false_negative_cosine: float | None = Field(default=None, gt=0, lt=1)
    epochs: int = Field(default=10, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    modality_dropout: float = Field(default=0.1, ge=0, lt=1)
    content_noise: float = Field(default=0.0, ge=0)
    adversarial: float = Field(default=0.0, ge=0)
    context: tuple[ContextKind, ...] = ()
    market_attribute: str = Field(default="country", min_length=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    accumulate: int = Field(default=1, ge=1)
    num_processes: int = Field(default=1, ge=1)
    launcher: Literal["processes", "torch_distributor"] = "processes"
    shared_folder: str | None = Field(default=None, min_length=1)
    checkpoint: str | None = Field(default=None, min_length=1)

    @field_validator("checkpoint", "shared_folder")
    @classmethod
    def _is_a_folder(cls, place: str | None, info: ValidationInfo) -> str | None:
        if place is not None and is_uri(place):
            raise ValueError(
                f"second_stage: {info.field_name} must be a folder, such as of a mounted volume, got {place}"
            )
        return place

    @model_validator(mode="after")
    def _shares_with_somebody(self) -> SecondStageSettings:
        if self.shared_folder is not None and self.launcher == "processes":
            raise ValueError(
                "second_stage: shared_folder is for launcher: torch_distributor; processes of the driver's machine "
                f"need none, got {self.shared_folder}"
            )
        return self

    @field_validator("context")
    @classmethod
    def _each_once_in_order(cls, kinds: tuple[ContextKind, ...]) -> tuple[ContextKind, ...]:
        return tuple(kind for kind in get_args(ContextKind) if kind in kinds)

    @model_validator(mode="after")
    def _has_a_network_that_sees_context(self) -> SecondStageSettings:
        if self.context and self.level == "decision":
            raise ValueError(
                "second_stage: context needs the level feature, model or hybrid, because decision weighs the shares of "
                f"the first stage's score alone; got context {', '.join(self.context)}"
            )
        return self

    @model_validator(mode="after")
    def _leaves_something_to_fit(self) -> SecondStageSettings:
        held_out = self.num_windows * self.window_share
        if held_out > _MOST_HELD_OUT:
            raise ValueError(
                f"second_stage: num_windows times window_share must be {_MOST_HELD_OUT} at most, so that each window's "
                f"first stage has data, got {held_out:.2f}"
            )
        return self
