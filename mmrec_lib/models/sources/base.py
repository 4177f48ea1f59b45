"""The base class of collaborative sources: each turns histories into scores over the items that had interactions.

A source keeps nothing of a user. Its class owns everything about it: settings, fit, saved arrays, search space and
search. `registry` lists the classes; nothing else knows them by name.

Shape letters: n users of a block, U users of a fit, W items with interactions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.models.data import Bools, Floats, Ints
from mmrec_lib.models.sources.content import BlockKernels, ContentFeatures
from mmrec_lib.models.sources.ease import gram
from mmrec_lib.section import Section

SettingsT = TypeVar("SettingsT", bound=Section)


@dataclass(frozen=True)
class FitInputs:
    """Inputs of a source's fit.

    Attributes:
        histories: [U, W] histories of all users, see `history_rows`.
        kernel: [W, W] weighted content kernel for a source that `uses_content`; None without content.
        seed: Seed of everything random.
        max_dense_items: Largest W for item-by-item matrices.
    """

    histories: sparse.csr_matrix
    kernel: Floats | None
    seed: int
    max_dense_items: int

    @property
    def is_dense(self) -> bool:
        """True when item-by-item matrices fit in memory."""
        return bool(self.histories.shape[1] <= self.max_dense_items)


@dataclass(frozen=True)
class FrequentItems:
    """The F items with most interactions, `training.max_search_items` at most, for the search of item-by-item matrices.

    Attributes:
        histories: [U, F] histories to fit on.
        known: [n, F] histories in train of the users that `evaluate` looks at.
        evaluate: Objective of scores [n, F], higher is better.
        features: Contents as unit rows, over all items.
        items: [I] the F items.
    """

    histories: sparse.csr_matrix
    known: sparse.csr_matrix
    evaluate: Callable[[Floats], float]
    features: ContentFeatures
    items: Bools
    _grams: dict[float, Floats] = field(default_factory=dict)

    def gram(self, user_exponent: float) -> Floats:
        """[F, F] Gram matrix of the histories, computed once for all sources."""
        if user_exponent not in self._grams:
            self._grams[user_exponent] = gram(self.histories, user_exponent)
        return self._grams[user_exponent]

    @cached_property
    def kernels(self) -> BlockKernels:
        """[F, F] content kernels, computed once for all sources."""
        return BlockKernels.of(self.features, self.items, self.items)


@dataclass(frozen=True)
class SearchInputs:
    """Inputs of a source's search: train to fit on, and users of the validation part to evaluate on.

    Attributes:
        histories: [U, W] histories to fit on.
        known: [n, W] histories in train of the users that `evaluate` looks at.
        evaluate: Objective of scores [n, W], higher is better.
        features: Contents as unit rows, over all items.
        warm_items: [I] the W items with interactions.
        seed: Seed of everything random.
        max_dense_items: Largest W for item-by-item matrices.
        rounds: Rounds of the coordinate search.
        content_weights: Weight of each content block that an earlier source found; None before the first.
        frequent: The part of it that a search looks at which inverts item-by-item matrices.
    """

    histories: sparse.csr_matrix
    known: sparse.csr_matrix
    evaluate: Callable[[Floats], float]
    features: ContentFeatures
    warm_items: Bools
    seed: int
    max_dense_items: int
    rounds: int
    frequent: FrequentItems
    content_weights: Mapping[str, float] | None = None

    def fit_inputs(self) -> FitInputs:
        """Inputs of a fit without content, for a search that fits and evaluates."""
        return FitInputs(self.histories, None, self.seed, self.max_dense_items)


@dataclass(frozen=True)
class SearchResult(Generic[SettingsT]):
    """Settings that a search chose.

    Attributes:
        settings: Settings of the source.
        content_weights: Weight of each content block, from a source that `uses_content`.
    """

    settings: SettingsT
    content_weights: Mapping[str, float] | None = None


class Source(ABC, Generic[SettingsT]):
    """A fitted source: histories in, scores out. The class methods fit, load and search it.

    Attributes:
        name: Name in `training.sources`, in saved models and in explanations.
        settings_type: Class of its settings; every field has a default.
        grids: Ordered values of each setting that a search chooses among.
        uses_content: True for a source that is fitted with the content kernel.
        is_searched: False for a source that no search chooses, such as one that stands in for a baseline.
    """

    name: ClassVar[str]
    settings_type: type[SettingsT]
    grids: ClassVar[Mapping[str, tuple[float, ...]]] = MappingProxyType({})
    uses_content: ClassVar[bool] = False
    is_searched: ClassVar[bool] = True

    @classmethod
    def is_possible(cls, num_items: int, max_dense_items: int) -> bool:
        """True when the source can be fitted on that many items with interactions."""
        return True

    @classmethod
    @abstractmethod
    def fit(cls, inputs: FitInputs, settings: SettingsT) -> Self:
        """Fit on the histories of all users."""

    @abstractmethod
    def score(self, x_NW: sparse.csr_matrix) -> Floats:
        """Scores of users from their histories, [n, W] float32; see `history_rows`."""

    @abstractmethod
    def contributions(self, x_NW: sparse.csr_matrix, items_NK: Ints) -> Floats:
        """Parts of the history's entries in the scores of some items of each user, [nnz, K] float32.

        Args:
            x_NW: Histories; the rows of the result are its stored entries in their order.
            items_NK: [n, K] columns of W.

        Returns:
            The parts of a user's entries add up to the user's score.
        """

    def low_rank(self, x_NW: sparse.csr_matrix) -> tuple[Floats, Floats] | None:
        """Factors of users and of items, [n, rank] and [W, rank], whose product is `score`; None where it has none."""
        return None

    @abstractmethod
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """All of its state, for saving."""

    @classmethod
    @abstractmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]], settings: SettingsT) -> Self:
        """Rebuild from what `arrays` gave.

        Raises:
            ModelError: When the arrays are not those of this source.
        """

    @classmethod
    def search(cls, inputs: SearchInputs, start: SettingsT) -> SearchResult[SettingsT]:
        """Choose settings; without a search of its own, a source keeps those that it starts with."""
        return SearchResult(start)

    @classmethod
    def check_arrays(cls, arrays: Collection[str], *expected: Collection[str]) -> None:
        """Refuse saved arrays whose names are none of the expected sets.

        Raises:
            ModelError: When they are others.
        """
        if set(arrays) not in [set(names) for names in expected]:
            allowed = " or ".join(str(sorted(names)) for names in expected)
            raise ModelError(
                f"source {cls.name}: its saved arrays must be {allowed}, got {sorted(arrays)}; fit the model again"
            )


def matrix_contributions(x_NW: sparse.csr_matrix, matrix_WW: Floats | sparse.csr_matrix, items_NK: Ints) -> Floats:
    """`contributions` of a source whose scores are history @ matrix, [nnz, K] float32."""
    picked = np.repeat(items_NK, np.diff(x_NW.indptr), axis=0)
    values = matrix_WW[x_NW.indices[:, None], picked]
    dense = values if isinstance(values, np.ndarray) else values.toarray()
    parts: Floats = (dense.reshape(picked.shape) * x_NW.data[:, None]).astype(np.float32)
    return parts
