"""Settings of scoring."""

from __future__ import annotations

from pydantic import Field

from mmrec_lib.scoring.checks import ChecksConfig
from mmrec_lib.section import Section


class ListConfig(Section):
    """Lengths of lists and of their explanations.

    Attributes:
        k: Items a user.
        explained_ranks: First items of a list that are explained, by default those that the report shows; 0 is none.
        num_reasons: Items of the history that an explanation names, at most.
        items_per_block: Items that a worker prepares for search at once (about 10 bytes a dimension and item, beside
            the model and the vectors themselves). A larger catalogue is cut into blocks whose lists are merged; the
            lists are the same.
    """

    k: int = Field(default=50, ge=1)
    explained_ranks: int = Field(default=12, ge=0)
    num_reasons: int = Field(default=3, ge=0)
    items_per_block: int = Field(default=1_000_000, ge=1)


class ScoringConfig(ListConfig):
    """Sizes of the published tables and of the tasks that make them.

    Attributes:
        num_neighbors: Neighbours an item.
        users_per_task: Users that one task scores.
        max_catalogue_items: Largest catalogue that the driver makes vectors of (4 bytes a dimension and item).
        checks: Bounds of what may take the place of the published lists.
    """

    num_neighbors: int = Field(default=20, ge=1)
    users_per_task: int = Field(default=20_000, ge=1)
    max_catalogue_items: int = Field(default=5_000_000, ge=1)
    checks: ChecksConfig = ChecksConfig()
