"""Support answers: the store's own questions that are near a customer's question, and how near that is.

Shape letters: A answers, n queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
from numpy.typing import NDArray

from mmrec_lib.search.config import SupportConfig
from mmrec_lib.search.spaces import nearest_cosines
from mmrec_lib.topk.exact import exact_top
from mmrec_lib.topk.selection import NO_ITEM

_VECTORS, _IDS, _DISTANCES = "questions.npy", "answers.arrow", "nearest.npy"


@dataclass(frozen=True)
class FoundAnswer:
    """An answer to a question.

    Attributes:
        answer: Position of the answer.
        cosine: Of its question with the customer's.
        confidence: Share of the store's questions that lie farther from their nearest neighbour.
    """

    answer: int
    cosine: float
    confidence: float


@dataclass(frozen=True)
class AnswerIndex:
    """Answers by their questions.

    Different questions of a store are as near to each other as questions get that ask for something else. So how near
    each lies to the nearest other one (left out itself) tells what nearness means here: a customer's question is
    answered with as much confidence as there are questions whose neighbours are farther away.

    Attributes:
        answer_ids: [A] ids.
        vectors: [A, dim] float32 of the questions.
        nearest: [m] ascending cosines of the questions with their nearest other ones; questions that are the same text
            as another have no say.
    """

    answer_ids: pa.Array
    vectors: NDArray[np.float32]
    nearest: NDArray[np.float32]

    @classmethod
    def of(cls, answer_ids: pa.Array, vectors: NDArray[np.float32]) -> AnswerIndex:
        """The index of answers whose questions have these vectors."""
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = np.ascontiguousarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
        distinct = np.unique(unit, axis=0)
        cosines = nearest_cosines(distinct) if len(distinct) > 1 else np.zeros(0, np.float32)
        return cls(answer_ids, unit, np.sort(cosines[np.isfinite(cosines)]))

    def confidence(self, cosines: NDArray[np.float32]) -> NDArray[np.float64]:
        """[…] share of the questions whose nearest other one is farther than these cosines; 1 without a neighbour."""
        if not len(self.nearest):
            return np.ones(cosines.shape)
        return np.searchsorted(self.nearest, cosines, side="left") / len(self.nearest)

    def answer(self, queries: NDArray[np.float32], config: SupportConfig) -> list[list[FoundAnswer]]:
        """The best answers of each question, best first; none where none is near.

        Args:
            queries: [n, dim] vectors of the customers' questions, by the encoder of the store's own.
            config: Bounds.
        """
        norms = np.linalg.norm(queries, axis=1, keepdims=True)
        unit = (queries / np.where(norms > 0, norms, 1)).astype(np.float32)
        top = exact_top(unit, self.vectors, config.num_answers, num_threads=1)
        confidences = self.confidence(top.scores)
        is_given = (
            (top.indices != NO_ITEM) & (confidences >= config.least_confidence) & (top.scores >= config.least_cosine)
        )
        return [
            [
                FoundAnswer(
                    int(top.indices[row, at]), min(1.0, float(top.scores[row, at])), float(confidences[row, at])
                )
                for at in np.flatnonzero(is_given[row])
            ]
            for row in range(len(queries))
        ]

    def save(self, folder: Path) -> None:
        """Write the index to a folder, which is made where it is missing; without pickles."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / _VECTORS, self.vectors)
        np.save(folder / _DISTANCES, self.nearest)
        pyarrow.feather.write_feather(pa.table({"answer_id": self.answer_ids}), str(folder / _IDS))

    @classmethod
    def load(cls, folder: Path) -> AnswerIndex:
        """Read the index of a folder."""
        ids = pyarrow.feather.read_table(str(folder / _IDS))["answer_id"].combine_chunks()
        return cls(ids, np.load(folder / _VECTORS), np.load(folder / _DISTANCES))
