"""Settings of scoring."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mmrec_lib.scoring.checks import ChecksConfig
from mmrec_lib.section import Section
from mmrec_lib.topk.approximate import ApproximateConfig


class ListConfig(Section):
    """Lengths of lists and of their explanations.

    Attributes:
        k: Items a user.
        explained_ranks: First items of a list that are explained, by default those that the report shows; all k where
            that is less, 0 is none.
        num_reasons: Items of the history that an explanation names, at most.
        worths: Worth of each outcome that the ranker has a head for, such as `purchase: 10`, or of one unit of a
            quantity. With worths, candidates are ordered by their sum times probabilities.
        outcome_ranks: First items of a list that tell of outcomes (`probabilities` and `expected_values`), where the
            ranker has heads; null: all k. These are two maps a row, of which writing a large table takes longest.
        path_reasons: Name a fact that an explained item shares with one of the history (`user_topk.path`), where the
            items have such facts: relations of the graph, categories and other attributes that are no numbers.
        items_per_block: Items that a worker prepares for search at once (about 10 bytes a dimension and item, beside
            the model and the vectors themselves). A larger catalogue is cut into blocks whose lists are merged; the
            lists are the same.
    """

    k: int = Field(default=50, ge=1)
    explained_ranks: int = Field(default=12, ge=0)
    num_reasons: int = Field(default=3, ge=0)
    worths: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(default_factory=dict)
    outcome_ranks: int | None = Field(default=None, ge=0)
    path_reasons: bool = True
    items_per_block: int = Field(default=1_000_000, ge=1)

    @model_validator(mode="after")
    def _reasons_have_places(self) -> ListConfig:
        if not self.explained_ranks and self.num_reasons != type(self).model_fields["num_reasons"].default:
            raise ValueError(
                f"scoring.num_reasons has an effect only where scoring.explained_ranks is above 0, got "
                f"{self.num_reasons} reasons for none"
            )
        return self


class ScoringConfig(ListConfig):
    """Sizes of the published tables and of the tasks that make them.

    Attributes:
        num_neighbors: Neighbours an item.
        num_questions: Items in `elicitation_item`, at most; 0 leaves it empty.
        users_per_task: Users that one task scores.
        max_catalogue_items: Largest catalogue that the driver makes vectors of (4 bytes a dimension and item).
        only_affected: While model, catalogue, rules and settings are those of the published lists, score only users of
            whom something changed. False scores everyone in each run; the lists are the same.
        deletion_vectors: Mark the rows of users who are scored again as deleted, instead of writing the files of
            `user_topk` and `user_vector` again, which is most of what they cost in large stores. Readers of these
            tables must know deletion vectors of Delta; a table that has had them keeps that requirement.
        search: `exact`, or an index of faiss for very large catalogues: `ivf` (inverted lists), `hnsw` (a graph) or
            `pq` (inverted lists of product-quantized vectors). Rules hold, and scores are exact all the same.
        approximate: Effort of an index, and the recall that it must reach.
        checks: Bounds of what may take the place of the published lists.
    """

    num_neighbors: int = Field(default=20, ge=1)
    num_questions: int = Field(default=20, ge=0)
    users_per_task: int = Field(default=20_000, ge=1)
    max_catalogue_items: int = Field(default=5_000_000, ge=1)
    only_affected: bool = True
    deletion_vectors: bool = False
    search: Literal["exact", "ivf", "hnsw", "pq"] = "exact"
    approximate: ApproximateConfig = ApproximateConfig()
    checks: ChecksConfig = ChecksConfig()

    @model_validator(mode="after")
    def _keys_are_of_the_search(self) -> ScoringConfig:
        if self.search == "exact" and self.approximate != ApproximateConfig():
            raise ValueError(
                "scoring.approximate has an effect only where scoring.search is ivf, hnsw or pq, got exact"
            )
        if self.search != "exact" and self.items_per_block != type(self).model_fields["items_per_block"].default:
            raise ValueError(
                "scoring.items_per_block has an effect only where scoring.search is exact: an index is never cut, got "
                f"{self.items_per_block} with {self.search}"
            )
        return self
