"""Topics of reviews: parts of a non-negative factorisation of their words, each named by its top words.

Lee and Seung (1999), Learning the parts of objects by non-negative matrix factorization. The number of topics is the
one with the best coherence of their top words (NPMI: Lau, Newman and Baldwin 2014, Machine reading tea leaves).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from mmrec_lib.opinions.nouns import Use
from mmrec_lib.text.clauses import clauses, tokens, without_elision
from mmrec_lib.text.tfidf import Feature, Vocabulary

Floats = npt.NDArray[np.float64]

_MIN_DOCUMENTS, _MAX_FEATURES = 3, 5_000
_NAME_WORDS = 4
_FREQUENT_SHARE, _FREQUENT_NOUN_SHARE = 0.02, 0.15
_SWEEPS = 30
# Of what a text is about, a topic with a smaller share is noise.
_MIN_SHARE = 0.15


class TopicModel:
    """Topics and how much of each is in a text.

    Shape legend: N texts, F words, T topics.
    """

    def __init__(self, vocabulary: Vocabulary, topic_TF: Floats) -> None:
        self.vocabulary, self.topic_TF = vocabulary, topic_TF
        self._gram_TT = topic_TF @ topic_TF.T
        words = list(vocabulary.idf)
        self.names = [
            ", ".join(words[column] for column in np.argsort(-topic, kind="stable")[:_NAME_WORDS] if topic[column] > 0)
            for topic in topic_TF
        ]

    def shares(self, texts: Sequence[str]) -> Floats:
        """Share of each topic in each text: `[N, T]`, rows add up to 1, or are 0 where no word is known.

        The topics stay as they are and each text is explained by them alone (non-negative least squares by coordinate
        descent, a fixed number of sweeps): its shares do not depend on the other texts.
        """
        vectors_NF = self.vocabulary.vectors([_words(text) for text in texts])
        product_NT = vectors_NF @ self.topic_TF.T
        amount_NT = np.zeros_like(product_NT)
        for _ in range(_SWEEPS):
            for topic, gram_T in enumerate(self._gram_TT):
                if gram_T[topic] > 0:
                    rest = product_NT[:, topic] - (amount_NT * gram_T).sum(axis=1)
                    amount_NT[:, topic] = np.maximum(amount_NT[:, topic] + rest / gram_T[topic], 0.0)
        total = amount_NT.sum(axis=1, keepdims=True)
        shares_NT: Floats = np.divide(amount_NT, total, out=np.zeros_like(amount_NT), where=total > 0)
        return shares_NT

    def topics(self, texts: Sequence[str]) -> list[list[tuple[int, float]]]:
        """Topics of each text with their shares, largest first; without those of small shares."""
        found: list[list[tuple[int, float]]] = []
        for shares in self.shares(texts):
            order = np.argsort(-shares, kind="stable")
            found.append([(int(topic), float(shares[topic])) for topic in order if shares[topic] >= _MIN_SHARE])
        return found

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays to save."""
        return {"topic_words": self.topic_TF.astype(np.float32)}

    @classmethod
    def of_arrays(cls, vocabulary: Vocabulary, arrays: Mapping[str, npt.NDArray[Any]]) -> TopicModel:
        """The model whose `arrays` were saved."""
        return cls(vocabulary, arrays["topic_words"].astype(np.float64))


def fit_topics(
    texts: Sequence[str], uses: Mapping[str, Use], counts: Sequence[int], seed: int
) -> tuple[TopicModel | None, dict[str, float]]:
    """Topics of a store.

    Args:
        texts: Reviews.
        uses: See `nouns.word_uses`; frequent words that are hardly ever nouns carry no topic.
        counts: Numbers of topics to choose from; those above a tenth of the reviews are left out.
        seed: Seed of the factorisation.

    Returns:
        The model, or None where there are too few reviews or words, and the coherence of each number of topics as
        `coherence.<number>`.
    """
    frequent = _FREQUENT_SHARE * len(texts)
    kept = {w for w, use in uses.items() if use.num_reviews <= frequent or use.share >= _FREQUENT_NOUN_SHARE}
    documents = [[feature for feature in _words(text) if feature[0] in kept] for text in texts]
    vocabulary = Vocabulary.of(documents, _MIN_DOCUMENTS, _MAX_FEATURES)
    vectors = vocabulary.vectors(documents)
    fitting = sorted({count for count in counts if 2 <= count <= min(len(texts) // 10, len(vocabulary) // 2)})
    models = {count: _factorised(vectors, count, seed) for count in fitting}
    coherence = {count: _coherence(topics, vectors) for count, topics in models.items()}
    metrics = {f"coherence.{count}": value for count, value in coherence.items()}
    if not models:
        return None, metrics
    # At equal coherence the smaller number.
    best = min(coherence, key=lambda count: (-round(coherence[count], 6), count))
    model = TopicModel(vocabulary, models[best])
    return TopicModel.of_arrays(vocabulary, model.arrays()), metrics


def _words(text: str) -> list[Feature]:
    return [(without_elision(token)[0], None) for clause in clauses(text) for token in tokens(clause)]


def _factorised(vectors: csr_array, count: int, seed: int) -> Floats:
    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    model = NMF(n_components=count, init="nndsvda", random_state=seed, max_iter=100, tol=1e-3)
    with warnings.catch_warnings():
        # The factorisation is good enough long before it stops moving.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(vectors)
    topics: Floats = model.components_
    lengths = np.linalg.norm(topics, axis=1, keepdims=True)
    unit: Floats = np.divide(topics, lengths, out=np.zeros_like(topics), where=lengths > 0)
    return unit


def _coherence(topics: Floats, vectors: csr_array) -> float:
    """Mean NPMI of pairs of a topic's top words, as 0 to 1, times two shares that keep the topics many and apart.

    These are the share of top words that no other topic has, and the share of reviews that have a top word.
    """
    top = [np.argsort(-topic, kind="stable")[:_NAME_WORDS] for topic in topics]
    used = np.unique(np.concatenate(top))
    has = csr_array(vectors[:, used])
    has.data[:] = 1.0
    together = np.asarray((has.T @ has).todense()) / vectors.shape[0]
    place = {int(column): index for index, column in enumerate(used)}
    scores = []
    for columns in top:
        for first, a in enumerate(columns):
            for b in columns[first + 1 :]:
                i, j = place[int(a)], place[int(b)]
                scores.append(_npmi(together[i, i], together[j, j], together[i, j]))
    distinct = len(used) / (len(topics) * _NAME_WORDS)
    covered = float(np.mean(np.diff(has.indptr) > 0))
    return (1 + float(np.mean(scores))) / 2 * distinct * covered


def _npmi(a: float, b: float, both: float) -> float:
    """From -1 (never together) to 1 (always)."""
    if both == 0:
        return -1.0
    return 1.0 if both == 1 else float(np.log(both / (a * b)) / -np.log(both))
