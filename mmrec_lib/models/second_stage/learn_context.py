"""Learning how items go with parts of the context from the data of a fit.

Shape letters: P interactions, I items, V values of a part of the context, W words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mmrec_lib.models.data import FitData, Floats, Ints
from mmrec_lib.models.second_stage.context import (
    NUM_HOURS,
    NUM_WEEKDAYS,
    ContextSignals,
    hour_codes,
    search_words,
    weekday_codes,
)
from mmrec_lib.models.second_stage.lifts import log_lifts, no_pairs
from mmrec_lib.models.second_stage_settings import SecondStageSettings
from mmrec_lib.text.tokenizer import tokenize

# Pseudo-count that shrinks the ratios of items with few interactions to 1.
_PRIOR = 5.0
_MAX_VALUES = 64
_MAX_WORDS = 20_000
# Interactions after a search that may belong to it, and how long after it.
_STEPS, _MOST_SECONDS = 3, 86_400.0
# Robertson and Zaragoza 2009, The Probabilistic Relevance Framework: BM25 and Beyond.
_K1, _B = 1.2, 0.75


def learn_context(data: FitData, settings: SecondStageSettings) -> ContextSignals:
    """Learn signals of the wanted parts of the context; what the data do not tell has no rows.

    Args:
        data: The data of the fit; nothing after its cut is in them.
        settings: Which parts, and the attribute that names the market.
    """
    weights, kinds, num_items = data.interactions.weights, settings.context, len(data.item_ids)
    items = weights.indices.astype(np.int64)
    users = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    nothing: Floats = np.zeros((0, num_items), dtype=np.float32)
    hours = weekdays = markets = devices = nothing
    names: dict[str, tuple[str, ...]] = {"markets": (), "devices": (), "words": ()}
    times = data.interactions.times.data
    if "time" in kinds and (times > 0).any():
        known = np.where(times > 0, times, np.nan)
        hours = log_ratios(hour_codes(known), items, NUM_HOURS, num_items, is_cyclic=True)
        weekdays = log_ratios(weekday_codes(known), items, NUM_WEEKDAYS, num_items)
    groups = data.user_attributes.get(settings.market_attribute)
    if "market" in kinds and groups is not None:
        names["markets"], codes = _coded(groups[users])
        markets = log_ratios(codes, items, len(names["markets"]), num_items)
    if "device" in kinds and data.interactions.devices is not None:
        told = np.array([*data.device_names, None], dtype=np.object_)
        names["devices"], codes = _coded(told[data.interactions.devices])
        devices = log_ratios(codes, items, len(names["devices"]), num_items)
    matches = follows = no_pairs(0, num_items)
    if "search" in kinds and data.searches is not None:
        names["words"], matches, follows = _learn_words(data)
    return ContextSignals(kinds, settings.market_attribute, names, hours, weekdays, markets, devices, matches, follows)


def log_ratios(codes_P: Ints, items_P: Ints, num_values: int, num_items: int, *, is_cyclic: bool = False) -> Floats:
    """[V, I] float32 log of observed over expected interactions of an item with a value, shrunken where few.

    Args:
        codes_P: Value of each interaction, -1 where unknown.
        items_P: Item of each interaction.
        num_values: V.
        num_items: I.
        is_cyclic: Neighbouring values are near, the first and the last too: half of an interaction goes to its own, a
            quarter to each neighbour.
    """
    known = codes_P >= 0
    cells = np.bincount(codes_P[known] * num_items + items_P[known], minlength=num_values * num_items)
    counts = cells.reshape(num_values, num_items).astype(np.float64)
    if is_cyclic:
        counts = (np.roll(counts, 1, axis=0) + 2 * counts + np.roll(counts, -1, axis=0)) / 4
    shares = counts.sum(axis=1, keepdims=True) / max(counts.sum(), 1.0)
    pseudo = _PRIOR * np.where(shares > 0, shares, 1.0)
    ratios: Floats = np.log((counts + pseudo) / (shares * counts.sum(axis=0) + pseudo)).astype(np.float32)
    return ratios


def _coded(values_P: npt.NDArray[np.object_]) -> tuple[tuple[str, ...], Ints]:
    """The most frequent values, sorted, and the place of each interaction's among them, -1 for others and None."""
    counts = Counter(value for value in values_P.tolist() if value is not None)
    names = tuple(sorted(sorted(counts, key=lambda name: (-counts[name], name))[:_MAX_VALUES]))
    place = {name: at for at, name in enumerate(names)}
    return names, np.array([place.get(value, -1) for value in values_P.tolist()], dtype=np.int64)


def _learn_words(data: FitData) -> tuple[tuple[str, ...], sparse.csr_matrix, sparse.csr_matrix]:
    """Words, how well items match them, and how much likelier items follow a search for them."""
    assert data.searches is not None
    documents = _documents(data)
    queries = {text: search_words(text) for text in set(data.searches.words.tolist())}
    of_searches = [queries[text] for text in data.searches.words.tolist()]
    counts = Counter(word for document in documents for word in set(document))
    counts.update(word for words in of_searches for word in words)
    words = tuple(sorted(sorted(counts, key=lambda word: (-counts[word], word))[:_MAX_WORDS]))
    row_of = {word: row for row, word in enumerate(words)}
    return words, _bm25(documents, row_of), _follows(data, of_searches, row_of)


def _documents(data: FitData) -> list[list[str]]:
    """Words of each item: of its texts, and of its attributes and other named contents."""
    texts: Sequence[str | None] = [None] * len(data.item_ids) if data.item_texts is None else data.item_texts.tolist()
    documents = [tokenize(text or "") for text in texts]
    for content in data.contents.values():
        if isinstance(content.matrix, sparse.csr_matrix) and content.tokens:
            of_tokens = [tokenize(token) for token in content.tokens]
            rows = np.repeat(np.arange(content.matrix.shape[0]), np.diff(content.matrix.indptr))
            for item, token in zip(rows.tolist(), content.matrix.indices.tolist(), strict=True):
                documents[item] += of_tokens[token]
    return documents


def _bm25(documents: Sequence[Sequence[str]], row_of: dict[str, int]) -> sparse.csr_matrix:
    """[W, I] float32 part of a word in the BM25 of a document."""
    num_items = len(documents)
    lengths = np.array([len(document) for document in documents], dtype=np.float64)
    rows = np.array([row_of[word] for document in documents for word in document if word in row_of], dtype=np.int64)
    kept = np.array([sum(word in row_of for word in document) for document in documents], dtype=np.int64)
    columns = np.repeat(np.arange(num_items), kept)
    counts = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(row_of), num_items))
    holding = np.repeat(np.diff(counts.indptr), np.diff(counts.indptr))
    idf = np.log1p((num_items - holding + 0.5) / (holding + 0.5))
    norm = 1 - _B + _B * lengths / max(lengths[lengths > 0].mean() if (lengths > 0).any() else 1.0, 1.0)
    values = idf * counts.data / (_K1 * norm[counts.indices] + counts.data)
    return sparse.csr_matrix((values.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape)


def _follows(data: FitData, of_searches: Sequence[Sequence[str]], row_of: dict[str, int]) -> sparse.csr_matrix:
    """[W, I] float32 log(1 + lift) of an item among the next three interactions within a day of a search for a word.

    Interactions at the very time of a search are not after it.
    """
    assert data.searches is not None
    times = data.interactions.times
    users = np.repeat(np.arange(times.shape[0]), np.diff(times.indptr))
    order = np.lexsort((times.data, users))
    users, items, moments = users[order], times.indices[order].astype(np.int64), times.data[order]
    # Where the interactions after each search begin: interactions of its time stand before it.
    searches = data.searches
    both = np.lexsort(
        (
            np.repeat([0, 1], [len(users), len(searches.users)]),
            np.concatenate([moments, searches.times]),
            np.concatenate([users, searches.users]),
        )
    )
    is_search = both >= len(users)
    starts = np.empty(len(searches.users), dtype=np.int64)
    starts[both[is_search] - len(users)] = np.cumsum(~is_search)[is_search]
    row_lists = [[row_of[word] for word in words if word in row_of] for words in of_searches]
    sizes = np.array([len(rows) for rows in row_lists], dtype=np.int64)
    rows = np.array([row for own in row_lists for row in own], dtype=np.int64)
    counts = no_pairs(len(row_of), times.shape[1]).astype(np.float64)
    for step in range(_STEPS):
        at = starts + step
        there = at < len(users)
        there[there] &= users[at[there]] == searches.users[there]
        there[there] &= moments[at[there]] <= searches.times[there] + _MOST_SECONDS
        of_words = np.repeat(there, sizes)
        pairs = (rows[of_words], np.repeat(items[np.minimum(at, max(len(users) - 1, 0))], sizes)[of_words])
        counts = counts + sparse.csr_matrix((np.full(len(pairs[0]), 1.0 / (step + 1)), pairs), shape=counts.shape)
    return log_lifts(counts)
