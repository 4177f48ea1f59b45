"""Texts as sparse TF-IDF vectors over the words of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import csr_array

from mmrec_lib.text.clauses import document_counts

# A feature and, where it is a negated word, the word itself.
Feature = tuple[str, str | None]


class Vocabulary:
    """Features with their inverse document frequencies.

    Spärck Jones (1972), A statistical interpretation of term specificity and its application in retrieval. A vector has
    length 1 and is a function of its text alone. A negated word that the vocabulary has not seen negated counts as the
    word with the opposite sign: what follows from `good` follows the other way round from `not good`.
    """

    def __init__(self, idf: Mapping[str, float]) -> None:
        self.idf = dict(idf)
        self._column = {name: column for column, name in enumerate(self.idf)}

    def __len__(self) -> int:
        return len(self.idf)

    @classmethod
    def of(cls, documents: Sequence[Sequence[Feature]], min_documents: int, max_features: int) -> Vocabulary:
        """The features that stand in enough documents, the most frequent ones when there are too many."""
        counts = document_counts([[name for name, _ in document] for document in documents])
        kept = sorted((n for n, c in counts.items() if c >= min_documents), key=lambda n: (-counts[n], n))
        kept = sorted(kept[:max_features])
        return cls({name: float(np.log((1 + len(documents)) / (1 + counts[name])) + 1) for name in kept})

    def vectors(self, documents: Sequence[Sequence[Feature]]) -> csr_array:
        """`[n, num_features] float64`; a row is empty where no feature is known."""
        columns: list[int] = []
        values: list[float] = []
        ends = [0]
        for document in documents:
            weights = self._weights(document)
            norm = np.sqrt(sum(weight * weight for weight in weights.values()))
            for column in sorted(weights):
                columns.append(column)
                values.append(weights[column] / norm)
            ends.append(len(columns))
        shape = (len(documents), len(self.idf))
        return csr_array((np.array(values, np.float64), np.array(columns, np.int32), np.array(ends, np.int32)), shape)

    def _weights(self, document: Sequence[Feature]) -> dict[int, float]:
        counts: dict[int, float] = {}
        idf: dict[int, float] = {}
        for feature, turned in document:
            name, sign = feature, 1.0
            if feature not in self._column and turned is not None:
                name, sign = turned, -1.0
            column = self._column.get(name)
            if column is not None:
                counts[column] = counts.get(column, 0.0) + sign
                idf[column] = self.idf[name]
        # Sublinear in the count, so that a word said ten times does not drown the others.
        return {
            column: float(np.sign(count) * (1 + np.log(abs(count))) * idf[column])
            for column, count in counts.items()
            if count
        }
