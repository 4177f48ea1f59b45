"""Settings of evaluation."""

from __future__ import annotations

from pydantic import Field, field_validator

from mmrec_lib.section import Section

MAX_BLOCK_USERS = 1024


class GroupConfig(Section):
    """Groups of users and items whose metrics are told apart; see `evaluation.groups`."""

    min_users: int = Field(default=30, ge=2, description="Users that a group needs; smaller ones are not told.")
    max_attributes: int = Field(
        default=6, ge=0, description="Attributes of users that make groups, at most: those known of the most users."
    )
    max_values: int = Field(
        default=6,
        ge=0,
        description="Values of an attribute that are groups, at most; below 2 there are no groups at all.",
    )
    head_share: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of the items with interactions, most popular first, that is the head.",
    )


class AblationConfig(Section):
    """Evaluation on the validation part without each source and modality; see `models.tuning.ablation`.

    Each modality fits the sources that use content again, so it is done in stores up to a size.
    """

    max_items: int = Field(
        default=2_000,
        ge=0,
        description="Items with interactions up to which the ranker is evaluated without each of its parts; 0 does "
        "without.",
    )
    max_cells: int = Field(
        default=4_000_000,
        ge=0,
        description="Users times items with interactions in train up to which the ranker is evaluated without each of "
        "its parts.",
    )


class EvaluationConfig(Section):
    """Settings of evaluation; the ranking itself is always over the full catalogue."""

    ks: tuple[int, ...] = Field(default=(10, 20), description="Cut-offs of the metrics.")
    num_bootstrap: int = Field(
        default=1000, ge=100, description="Resamples of users for the 95 % intervals, and draws of signs for p-values."
    )
    max_users: int = Field(
        default=20_000,
        ge=1,
        description="Users that a part is evaluated on, and requests with a context, at most: seeded samples of those "
        "with something to find.",
    )
    block_bytes: int = Field(
        default=128 * 2**20, ge=2**20, description="Memory of one block of scores; users are evaluated in such blocks."
    )

    groups: GroupConfig = Field(default_factory=GroupConfig)
    ablation: AblationConfig = Field(default_factory=AblationConfig)

    def block_users(self, num_items: int) -> int:
        """Number of users whose scores over `num_items` items fit into a block."""
        return max(1, min(MAX_BLOCK_USERS, self.block_bytes // (4 * max(num_items, 1))))

    def without_groups(self) -> EvaluationConfig:
        """The same settings without groups of users and items."""
        return self.model_copy(update={"groups": GroupConfig(max_values=0)})

    @field_validator("ks")
    @classmethod
    def _ks_are_cut_offs(cls, ks: tuple[int, ...]) -> tuple[int, ...]:
        if not ks or min(ks) < 1 or len(set(ks)) != len(ks):
            raise ValueError(f"evaluation.ks: distinct cut-offs of at least 1 are needed, got {list(ks)}")
        return ks
