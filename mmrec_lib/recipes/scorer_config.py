"""Settings of the scorer."""

from __future__ import annotations

from pydantic import Field

from mmrec_lib.recipes.config import TextField
from mmrec_lib.section import Section


class ScorerConfig(Section):
    """A model that reads what a person turned to beside each of the first candidates, and judges how they fit.

    Attributes:
        model: Directory, a path or a URI that every worker can read: a trained recipe of kind pair, such as
            models/recipe-rating_level, or a causal language model in transformers format. None does without, and costs
            nothing. Validation chooses its weight, which may be 0.
        fields: Fields of items' texts that it reads, in this order; of a recipe those that it was trained with. The
            first field that an item has is what it is called in the text of a person.
        num_candidates: First candidates of each user that it judges.
        num_history: Items of a user that make the user's text, those that weigh most first; a recipe has its own.
        max_tokens: Longest question to a language model, in tokens; texts are cut to it. A recipe has its own.
        batch_size: Pairs that are computed at once; all are of one user.
        device: What it computes on: cpu, cuda, cuda:<number>, or auto: a GPU where there is one.
        max_users: Users of the validation part that its weight is chosen on, at most.
    """

    model: str | None = Field(default=None, min_length=1)
    fields: tuple[TextField, ...] = Field(default=("title", "description"), min_length=1)
    num_candidates: int = Field(default=30, ge=2, le=200)
    num_history: int = Field(default=8, ge=1)
    max_tokens: int = Field(default=256, ge=32, le=4_096)
    batch_size: int = Field(default=32, ge=2)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    max_users: int = Field(default=1_000, ge=20)

    @property
    def name(self) -> str:
        """Last part of the directory's path; empty without one."""
        return "" if self.model is None else self.model.rstrip("/").rpartition("/")[2]
