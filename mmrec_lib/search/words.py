"""Exact words: BM25 over documents of several fields, as an inverted index in sparse arrays.

Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009): BM25F, where each field has its
weight and its own mean length, with the inverse document frequency of Lucene, which is never negative. All that does
not depend on the query is computed when the index is made (Lù, BM25S: Orders of magnitude faster lexical search via
eager sparse scoring, 2024), so that a score is a sum of stored numbers.

Shape letters: I documents, V words, P postings, n queries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
from numpy.typing import NDArray

from mmrec_lib.text.tokenizer import tokenize

_ARRAYS, _VOCABULARY = "postings.npz", "words.arrow"


@dataclass(frozen=True)
class QueryWords:
    """Words of one query.

    Attributes:
        counts: How often each different word occurs, in the order of their first places.
        is_cut: True where it has more different words than are searched.
    """

    counts: Mapping[str, int]
    is_cut: bool

    @classmethod
    def of(cls, text: str | None, limit: int) -> QueryWords:
        """The first `limit` different words of a text."""
        counts = Counter(tokenize(text or ""))
        return cls(dict(list(counts.items())[:limit]), len(counts) > limit)


@dataclass(frozen=True)
class WordIndex:
    """Documents by word.

    Attributes:
        vocabulary: [V] words, sorted.
        starts: [V + 1] int64 where the postings of each word start.
        documents: [P] int32 documents of each word, ascending.
        scores: [P] float32 what one occurrence of the word in a query adds to the document's score.
        num_documents: I.
    """

    vocabulary: pa.Array
    starts: NDArray[np.int64]
    documents: NDArray[np.int32]
    scores: NDArray[np.float32]
    num_documents: int

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {word: row for row, word in enumerate(self.vocabulary.to_pylist())}

    def score(self, words: Mapping[str, int]) -> NDArray[np.float32]:
        """[I] BM25 of each document for a query, 0 where no word is in it.

        Summed in the order of the vocabulary: the same words give the same bits, in whatever order they come.
        """
        totals = np.zeros(self.num_documents, np.float32)
        known = sorted((self._row_of[word], count) for word, count in words.items() if word in self._row_of)
        for row, count in known:
            own = slice(self.starts[row], self.starts[row + 1])
            totals[self.documents[own]] += np.float32(count) * self.scores[own]
        return totals

    def save(self, folder: Path) -> None:
        """Write the index to a folder, which is made where it is missing; without pickles."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            folder / _ARRAYS,
            starts=self.starts,
            documents=self.documents,
            scores=self.scores,
            num_documents=np.int64(self.num_documents),
        )
        pyarrow.feather.write_feather(pa.table({"word": self.vocabulary}), str(folder / _VOCABULARY))

    @classmethod
    def load(cls, folder: Path) -> WordIndex:
        """Read the index of a folder."""
        with np.load(folder / _ARRAYS, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        words = pyarrow.feather.read_table(str(folder / _VOCABULARY))["word"].combine_chunks()
        num_documents = int(arrays.pop("num_documents"))
        return cls(words, arrays["starts"], arrays["documents"], arrays["scores"], num_documents)


class WordIndexBuilder:
    """Collects the texts of documents, field by field, and makes their index.

    Example:
        >>> builder = WordIndexBuilder(2, {"title": 2.0})
        >>> builder.add("title", [0, 1], ["red dress", "red shoes"])
        >>> (builder.build().score({"dress": 1}) > 0).tolist()
        [True, False]
    """

    def __init__(self, num_documents: int, weights: Mapping[str, float], k1: float = 1.2, b: float = 0.75) -> None:
        """Begin without texts.

        Args:
            num_documents: I.
            weights: Weight of each field.
            k1: How soon more of the same word stops to count.
            b: How much long documents are held back.
        """
        self._num_documents, self._weights, self._k1, self._b = num_documents, dict(weights), k1, b
        self._rows: dict[str, int] = {}
        self._parts: dict[str, list[tuple[NDArray[np.int32], NDArray[np.int32]]]] = {name: [] for name in weights}

    def add(self, field: str, documents: Sequence[int] | NDArray[np.integer], texts: Iterable[str]) -> None:
        """Add texts of a field; several texts of one document and field count as one."""
        words: list[int] = []
        lengths: list[int] = []
        for text in texts:
            tokens = tokenize(text)
            lengths.append(len(tokens))
            words += [self._rows.setdefault(token, len(self._rows)) for token in tokens]
        of_words = np.repeat(np.asarray(documents, np.int32), lengths)
        self._parts[field].append((of_words, np.array(words, np.int32)))

    def build(self) -> WordIndex:
        """The index of all that was added."""
        num_words = len(self._rows)
        keys: list[NDArray[np.int64]] = []
        values: list[NDArray[np.float64]] = []
        for field, parts in self._parts.items():
            if not parts or not self._weights[field]:
                continue
            documents = np.concatenate([part[0] for part in parts])
            words = np.concatenate([part[1] for part in parts])
            lengths = np.bincount(documents, minlength=self._num_documents).astype(np.float64)
            has = lengths > 0
            if not has.any():
                continue
            norm = 1 - self._b + self._b * lengths / lengths[has].mean()
            pairs, counts = np.unique(words.astype(np.int64) * self._num_documents + documents, return_counts=True)
            keys.append(pairs)
            values.append(self._weights[field] * counts / norm[pairs % self._num_documents])
        pairs, at = np.unique(np.concatenate(keys or [np.zeros(0, np.int64)]), return_inverse=True)
        frequencies = np.bincount(at, weights=np.concatenate(values or [np.zeros(0)]), minlength=len(pairs))
        words = (pairs // max(self._num_documents, 1)).astype(np.int64)
        holding = np.bincount(words, minlength=num_words)
        idf = np.log1p((self._num_documents - holding + 0.5) / (holding + 0.5))
        # With a weight of zero everywhere a word may stand in no document.
        scores = idf[words] * frequencies / (self._k1 + frequencies)
        names = np.array(list(self._rows), dtype=object)
        order = np.argsort(names, kind="stable") if num_words else np.zeros(0, np.int64)
        place = np.empty(num_words, np.int64)
        place[order] = np.arange(num_words)
        sorted_pairs = np.argsort(place[words], kind="stable")
        return WordIndex(
            vocabulary=pa.array(names[order].tolist(), pa.string()),
            starts=np.concatenate([[0], np.cumsum(holding[order])]).astype(np.int64),
            documents=(pairs % max(self._num_documents, 1)).astype(np.int32)[sorted_pairs],
            scores=scores.astype(np.float32)[sorted_pairs],
            num_documents=self._num_documents,
        )
