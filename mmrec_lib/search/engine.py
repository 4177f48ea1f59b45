"""The catalogue as queries see it: words, vectors and rules together, in memory or in a folder that every worker reads.

Shape letters: n queries, I items.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.search.config import SearchConfig
from mmrec_lib.search.fusion import Candidates, FusedList, fuse, nearest_look, with_taste
from mmrec_lib.search.reasons import EmptyReason
from mmrec_lib.search.spaces import VectorSpace
from mmrec_lib.search.words import QueryWords, WordIndex
from mmrec_lib.showing.item_rules import NO_GROUP, ItemRules, UserLimits
from mmrec_lib.topk.items import PreparedItems
from mmrec_lib.topk.selection import NO_ITEM, TopItems, select_top

WORDS, PERSONAL = "words", "personal"
_RULES, _WORDS, _SPACES, _PERSONAL, _ABOUT = "rules", "words", "spaces", "item_vectors.npy", "search.json"
# Scores of words that are held at once.
_MOST_SCORES = 4_000_000


@dataclass(frozen=True)
class QueryVectors:
    """Vectors of some queries of a batch in one space.

    Attributes:
        space: Name of the space, its encoder.
        rows: [m] ascending positions of the queries.
        vectors: [m, dim] float32.
        content: What the vectors are of, such as a photo. Several looks at one content are one way of finding, by which
            an item counts as its nearest look.
    """

    space: str
    rows: NDArray[np.int64]
    vectors: NDArray[np.float32]
    content: str


@dataclass(frozen=True)
class QueryBatch:
    """Queries, and who asks.

    Attributes:
        texts: [n] their words; None where they have none.
        lengths: [n] items that each wants.
        vectors: Their vectors, where they have some.
        attributes: [n] map<string, string> attributes of the users; null without.
        controls: [n] controls of the users, see `controls.CONTROLS_TYPE`; None where nobody has some.
        users: Positions and vectors of the queries whose user the ranker knows; None without.
    """

    texts: Sequence[str | None]
    lengths: NDArray[np.int64]
    vectors: Sequence[QueryVectors]
    attributes: pa.Array
    controls: pa.Array | None = None
    users: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def only(self, rows: Sequence[int]) -> QueryBatch:
        """Some of the queries, in ascending order, without who asks."""
        kept = np.asarray(rows, np.int64)
        vectors = []
        for one in self.vectors:
            own = np.isin(one.rows, kept)
            if own.any():
                vectors.append(replace(one, rows=np.searchsorted(kept, one.rows[own]), vectors=one.vectors[own]))
        texts = [self.texts[row] for row in rows]
        return QueryBatch(texts, self.lengths[kept], vectors, self.attributes.take(pa.array(kept)))


@dataclass(frozen=True)
class SearchedList:
    """Items that were found for a query.

    Attributes:
        items: [m] items, best first.
        shares: By way of finding, [m] its part of each score.
        scores: [m] sums of the shares.
        reason: Why there are no items; None where there are some.
        is_cut: True where the query has more words than are searched.
    """

    items: NDArray[np.int64]
    shares: Mapping[str, NDArray[np.float64]]
    scores: NDArray[np.float64]
    reason: EmptyReason | None
    is_cut: bool


@dataclass(frozen=True)
class SearchIndex:
    """Items as queries find them.

    Attributes:
        words: Exact words of the items.
        spaces: Vectors of the items by encoder.
        modalities: Modality of each encoder: text, image or joint.
        rules: What may be shown to whom; `rules.item_ids` are the items.
        item_vectors: [I, dim] the ranker's vectors, zeros for items that it does not know; None without a ranker.
    """

    words: WordIndex
    spaces: Mapping[str, VectorSpace]
    modalities: Mapping[str, str]
    rules: ItemRules
    item_vectors: NDArray[np.float32] | None = None

    def answer(self, batch: QueryBatch, config: SearchConfig) -> list[SearchedList]:
        """A list for each query: candidates of words and of vectors, fused; reordered for a user whom the ranker knows.

        A list depends on its query, its user and the index alone, not on what else is in the batch.
        """
        rules = self.rules.regrouped(batch.attributes)
        limits = rules.of_users(batch.attributes, batch.controls)
        words = [QueryWords.of(text, config.max_query_words) for text in batch.texts]
        found = self._candidates(batch, words, config, rules, limits)
        results = []
        personal = self._personal_vectors(batch, limits, config)
        for row, own in enumerate(found):
            weights = {name: config.weights[_way(name, self.modalities)] for name in own}  # type: ignore[index]
            fused = fuse(own, weights, config.fusion, config.rank_constant)
            if row in personal and len(fused.items) and self.item_vectors is not None:
                first = fused.items[: max(config.personal_candidates, int(batch.lengths[row]))]
                scores = self._of_user(first, personal[row])
                fused = with_taste(fused, PERSONAL, scores, config.personal_weight, config.fusion, config.rank_constant)
            results.append(self._listed(fused, int(batch.lengths[row]), words[row].is_cut))
        return self._explained(results, batch, words, config)

    def _candidates(
        self,
        batch: QueryBatch,
        words: Sequence[QueryWords],
        config: SearchConfig,
        rules: ItemRules | None,
        limits: UserLimits | None,
    ) -> list[dict[str, Candidates]]:
        """By query and way of finding the best items; those that a user must not get are none of them."""
        most = max(self.rules.num_items, 1)
        wanted = np.minimum(np.maximum(batch.lengths, config.candidates), most)
        sizes = np.minimum(_search_sizes(wanted, config.candidates), most)
        found: list[dict[str, Candidates]] = [{} for _ in words]

        def keep(way: str, rows: Sequence[int] | NDArray[np.int64], top: TopItems) -> None:
            for at, row in enumerate(rows):
                num = min(int((top.indices[at] != NO_ITEM).sum()), int(wanted[row]))
                if num:
                    own = Candidates(top.indices[at, :num], top.scores[at, :num])
                    known = found[row].get(way)
                    found[row][way] = own if known is None else nearest_look(known, own, int(wanted[row]))

        for rows, top in self._by_words(words, wanted, rules, limits):
            keep(WORDS, rows, top)
        for one in batch.vectors:
            space = self.spaces[one.space]
            groups = blocked = prepared = None
            if rules is not None and limits is not None:
                prepared = self._prepared(one.space, rules)
            for size in np.unique(sizes[one.rows]).tolist():
                own = np.flatnonzero(sizes[one.rows] == size)
                if limits is not None:
                    groups = limits.group_of_user[one.rows[own]]
                    blocked = None if limits.blocked is None else sparse.csr_matrix(limits.blocked[one.rows[own]])
                top = space.find(one.vectors[own], size, prepared, blocked, groups)
                keep(f"{one.space}#{one.content}", one.rows[own], top)
        return found

    def _by_words(
        self,
        words: Sequence[QueryWords],
        wanted: NDArray[np.int64],
        rules: ItemRules | None,
        limits: UserLimits | None,
    ) -> Iterator[tuple[list[int], TopItems]]:
        """Queries with words, some at a time, and at least as many items of each as it wants."""
        at_once = max(1, _MOST_SCORES // max(self.rules.num_items, 1))
        asked = [row for row, one in enumerate(words) if one.counts]
        for start in range(0, len(asked), at_once):
            rows = asked[start : start + at_once]
            scores = np.stack([self.words.score(words[row].counts) for row in rows])
            scores[scores <= 0] = -np.inf
            if rules is not None and limits is not None:
                scores[:, ~rules.is_listed] = -np.inf
                for at, row in enumerate(rows):
                    group = limits.group_of_user[row]
                    if rules.allowed is not None and group != NO_GROUP:
                        scores[at, ~rules.allowed[group]] = -np.inf
                    if limits.blocked is not None:
                        scores[at, limits.blocked[row].indices] = -np.inf
            yield rows, select_top(scores, int(wanted[rows].max()))

    def _prepared(self, name: str, rules: ItemRules) -> PreparedItems:
        if rules is self.rules:
            # Without groups all batches share what was prepared.
            if name not in self._kept:
                self._kept[name] = self.spaces[name].prepared(rules.is_listed, None)
            return self._kept[name]
        return self.spaces[name].prepared(rules.is_listed, rules.allowed)

    @cached_property
    def _kept(self) -> dict[str, PreparedItems]:
        return {}

    def _personal_vectors(
        self, batch: QueryBatch, limits: UserLimits, config: SearchConfig
    ) -> dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """By query the vector of its user, and what rules and the user's controls boost."""
        if batch.users is None or not config.personal_weight:
            return {}
        rows, vectors = batch.users
        return {int(row): (vector, limits.user_boosts[row]) for row, vector in zip(rows, vectors, strict=True)}

    def _of_user(
        self, items: NDArray[np.int64], user: tuple[NDArray[np.float32], NDArray[np.float32]]
    ) -> NDArray[np.float64]:
        """Scores of items for a user, as the lists of that user have them before re-ranking."""
        assert self.item_vectors is not None
        own = self.item_vectors[items].astype(np.float64) @ user[0].astype(np.float64)
        return np.asarray(own + self.rules.item_boosts[items].astype(np.float64) @ user[1], np.float64)

    def _listed(self, fused: FusedList, k: int, is_cut: bool) -> SearchedList:
        shares: dict[str, NDArray[np.float64]] = {}
        for name, share in fused.shares.items():
            way = PERSONAL if name == PERSONAL else _way(name, self.modalities)
            shares[way] = shares.get(way, np.zeros(min(k, len(share)))) + share[:k]
        return SearchedList(
            fused.items[:k],
            shares,
            np.sum([*shares.values(), np.zeros(len(fused.items[:k]))], axis=0),
            None if len(fused.items) else EmptyReason.NO_MATCH,
            is_cut,
        )

    def _explained(
        self, results: list[SearchedList], batch: QueryBatch, words: Sequence[QueryWords], config: SearchConfig
    ) -> list[SearchedList]:
        """The same lists, where those that are empty tell whether without limits there would be items."""
        empty = [row for row, result in enumerate(results) if result.reason is not None]
        if not empty:
            return results
        has_vector = {int(row) for one in batch.vectors for row in one.rows}
        unlimited = self._candidates(batch.only(empty), [words[row] for row in empty], config, None, None)
        for at, row in enumerate(empty):
            reason = EmptyReason.NO_MATCH
            if unlimited[at]:
                reason = EmptyReason.NOT_SHOWN
            elif not words[row].counts and row not in has_vector:
                reason = EmptyReason.NO_WORDS
            one = results[row]
            results[row] = SearchedList(one.items, one.shares, one.scores, reason, one.is_cut)
        return results

    def save(self, folder: Path) -> None:
        """Write the index to a folder, which is made where it is missing; without pickles."""
        folder.mkdir(parents=True, exist_ok=True)
        self.rules.save(folder / _RULES)
        self.words.save(folder / _WORDS)
        for number, space in enumerate(self.spaces.values()):
            space.save(folder / _SPACES / str(number))
        if self.item_vectors is not None:
            np.save(folder / _PERSONAL, self.item_vectors)
        about = {"spaces": [[name, self.modalities[name]] for name in self.spaces]}
        (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> SearchIndex:
        """Read the index of a folder; vectors are mapped, not read."""
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        personal = folder / _PERSONAL
        return cls(
            words=WordIndex.load(folder / _WORDS),
            spaces={
                name: VectorSpace.load(folder / _SPACES / str(number))
                for number, (name, _) in enumerate(about["spaces"])
            },
            modalities=dict(about["spaces"]),
            rules=ItemRules.load(folder / _RULES),
            item_vectors=np.load(personal, mmap_mode="r") if personal.exists() else None,
        )


def _search_sizes(wanted: NDArray[np.int64], candidates: int) -> NDArray[np.int64]:
    """[n] how many items are searched for: `candidates`, doubled until it is enough.

    A longer search sees more vectors of an item that has many, so the size must follow from the query alone. Few sizes
    make few searches.
    """
    doublings = np.ceil(np.log2(np.maximum(wanted / candidates, 1)))
    return np.asarray(candidates * 2**doublings, np.int64)


def _way(name: str, modalities: Mapping[str, str]) -> str:
    """The way of finding that candidates come from: words, or the modality of their space."""
    return WORDS if name == WORDS else modalities[name.rpartition("#")[0]]
