"""Settings of scoring."""

from __future__ import annotations

from pydantic import Field

from mmrec_lib.config import Section


class ScoringConfig(Section):
    """Sizes of the published tables and of the tasks that make them.

    Attributes:
        k: Items a user.
        num_neighbors: Neighbours an item.
        users_per_task: Users that one task scores.
        max_catalogue_items: Largest catalogue that a worker holds as vectors (4 bytes a dimension and item).
    """

    k: int = Field(default=50, ge=1)
    num_neighbors: int = Field(default=20, ge=1)
    users_per_task: int = Field(default=20_000, ge=1)
    max_catalogue_items: int = Field(default=5_000_000, ge=1)
