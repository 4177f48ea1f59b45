"""A model of ratings: words → how likely each rating is, and with it sentiment and a pseudo-rating.

One multinomial logistic regression over TF-IDF of words and pairs of words answers all three questions, so that they
never contradict each other: the sentiment is the sum over the ratings that mean it, the pseudo-rating the mean of the
distribution, its uncertainty the standard deviation. Where it helps on validation, the score of a general lexicon is
one more feature: it knows words that the store's few rated reviews do not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array, hstack

from mmrec_lib.opinions.config import OpinionConfig
from mmrec_lib.opinions.lexicon import lexicon_scores
from mmrec_lib.text.clauses import features
from mmrec_lib.text.tfidf import Vocabulary

Floats = npt.NDArray[np.float64]
Part = str
TRAIN, VALID, TEST = "train", "valid", "test"
SENTIMENTS = ("negative", "neutral", "positive")

_STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
_MIN_DOCUMENTS, _MAX_FEATURES = 2, 50_000
# Beside vectors of length 1, so that regularisation weighs the lexicon about as much as a text's words together.
_LEXICON_SCALE = 3.0
_LEAST_CHANCE = 1e-12


@dataclass(frozen=True)
class Judgement:
    """Predictions of a model for texts.

    Attributes:
        probabilities: `[n, 3]`, in the order of `SENTIMENTS`.
        ratings: `[n]`, NaN where the model gives none.
        stds: `[n]`, standard deviation of the rating, NaN likewise.
        is_known: `[n]`, False where the model knows no word of the text; its row means nothing then.
    """

    probabilities: Floats
    ratings: Floats
    stds: Floats
    is_known: npt.NDArray[np.bool_]


def sentiment_of(ratings: Floats, config: OpinionConfig) -> npt.NDArray[np.int64]:
    """Index into `SENTIMENTS` of each rating: `[n]`."""
    return (ratings > config.negative_max).astype(np.int64) + (ratings >= config.positive_min)


def lexicon_features(texts: Sequence[str]) -> Floats:
    """Positive and negative weight of each text by the general lexicon: `[n, 2]`, at least 0."""
    scores = lexicon_scores(texts) * _LEXICON_SCALE
    return np.stack([np.maximum(scores, 0.0), np.maximum(-scores, 0.0)], axis=1)


class RatingModel:
    """Multinomial logistic regression over words.

    Shape legend: N texts, F features, C classes (ratings rounded to whole ones).
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        weight_FC: Floats,
        lexicon_2C: Floats,
        bias_C: Floats,
        class_mean_C: Floats,
        class_var_C: Floats,
    ) -> None:
        self.vocabulary, self.weight_FC, self.lexicon_2C, self.bias_C = vocabulary, weight_FC, lexicon_2C, bias_C
        self.class_mean_C, self.class_var_C = class_mean_C, class_var_C

    def class_probabilities(self, texts: Sequence[str]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Probability of each class, `[N, C]`, and whether any word is known, `[N]`."""
        vectors_NF = self.vocabulary.vectors([features(text) for text in texts])
        lexicon_N2 = lexicon_features(texts) if self.uses_lexicon else np.zeros((len(texts), 2))
        is_known = (np.diff(vectors_NF.indptr) > 0) | lexicon_N2.any(axis=1)
        return self.chances(vectors_NF, lexicon_N2), is_known

    @property
    def uses_lexicon(self) -> bool:
        """True when the general lexicon is a feature."""
        return bool(self.lexicon_2C.any())

    def chances(self, vectors_NF: csr_array, lexicon_N2: Floats) -> Floats:
        """Probability of each class, from TF-IDF and from `lexicon_features`: `[N, C]`."""
        logits_NC = vectors_NF @ self.weight_FC + self.bias_C
        # Not as a matrix product, which may round differently for other numbers of rows.
        logits_NC += lexicon_N2[:, :1] * self.lexicon_2C[0] + lexicon_N2[:, 1:] * self.lexicon_2C[1]
        chances_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
        result: Floats = chances_NC / chances_NC.sum(axis=1, keepdims=True)
        return result

    def judge(self, texts: Sequence[str], config: OpinionConfig) -> Judgement:
        """Sentiment, pseudo-rating and its uncertainty; the result of a text does not depend on the others."""
        chances_NC, is_known = self.class_probabilities(texts)
        member = np.eye(3)[sentiment_of(self.class_mean_C, config)]
        probabilities = np.stack([(chances_NC * member[:, s]).sum(axis=1) for s in range(3)], axis=1)
        ratings = (chances_NC * self.class_mean_C).sum(axis=1)
        squares = (chances_NC * (self.class_var_C + self.class_mean_C**2)).sum(axis=1)
        return Judgement(probabilities, ratings, np.sqrt(np.maximum(squares - ratings**2, 0.0)), is_known)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Weights, to be saved."""
        return {
            "rating_weight": self.weight_FC.astype(np.float32),
            "rating_lexicon": self.lexicon_2C,
            "rating_bias": self.bias_C,
            "rating_class_mean": self.class_mean_C,
            "rating_class_var": self.class_var_C,
        }

    @classmethod
    def of_arrays(cls, vocabulary: Vocabulary, arrays: Mapping[str, npt.NDArray[Any]]) -> RatingModel:
        """The model whose `arrays` were saved."""
        return cls(
            vocabulary,
            arrays["rating_weight"].astype(np.float64),
            arrays["rating_lexicon"],
            arrays["rating_bias"],
            arrays["rating_class_mean"],
            arrays["rating_class_var"],
        )


@dataclass(frozen=True)
class RatingFit:
    """A fitted model and what it is worth.

    Attributes:
        model: Fitted on the parts train and valid; None when there are too few ratings.
        metrics: By name, such as `accuracy`, `mae` and `majority.accuracy`, over the part test, on which nothing was
            chosen; empty without a model.
        reason: Why there is no model.
    """

    model: RatingModel | None
    metrics: dict[str, float]
    reason: str | None = None


def fit_ratings(texts: Sequence[str], ratings: Floats, parts: Sequence[Part], config: OpinionConfig) -> RatingFit:
    """Fit on train and valid what was chosen on valid, and read test once.

    Args:
        texts: Rated reviews.
        ratings: `[n]`.
        parts: train, valid or test for each; equal texts belong to one part.
        config: How much is enough, and which ratings mean what.
    """
    part = np.array(parts)
    sentiments = sentiment_of(ratings, config)
    reason = _too_few(sentiments, part, config)
    if reason is not None:
        return RatingFit(None, {}, reason)
    reviews = _Reviews(texts, ratings)
    is_train, is_valid = part == TRAIN, part == VALID
    losses = {
        (uses, strength): reviews.losses(reviews.model(is_train, uses, strength), is_valid)
        for uses in (False, True)
        for strength in _STRENGTHS
    }
    best = _choice(losses)
    model = reviews.model(part != TEST, *best)
    # What is measured must be what is saved.
    model = RatingModel.of_arrays(model.vocabulary, model.arrays())
    held_out = np.flatnonzero(part == TEST).tolist()
    judgement = model.judge([texts[row] for row in held_out], config)
    metrics = {
        **measure(ratings[held_out], judgement.ratings, judgement.probabilities.argmax(axis=1), config),
        "mean_std": float(judgement.stds.mean()),
        "known_share": float(judgement.is_known.mean()),
        "num_train": float((part == TRAIN).sum()),
        "num_valid": float((part == VALID).sum()),
        "num_test": float(len(held_out)),
        "valid.log_loss": float(losses[best].mean()),
        "uses_lexicon": float(best[0]),
        "strength": best[1],
        **_baselines(ratings, part, config),
    }
    return RatingFit(model, metrics)


def measure(
    ratings: Floats, predicted: Floats, sentiments: npt.NDArray[np.int64], config: OpinionConfig
) -> dict[str, float]:
    """Accuracy and macro-F1 of sentiments, MAE, RMSE and Spearman's correlation of ratings.

    Spearman's correlation is 0 where all predictions are equal; macro-F1 is the mean over the sentiments that occur.
    """
    truth = sentiment_of(ratings, config)
    f1 = []
    for sentiment in np.unique(truth):
        hits = np.sum((truth == sentiment) & (sentiments == sentiment))
        f1.append(2 * hits / (np.sum(truth == sentiment) + np.sum(sentiments == sentiment)))
    varies = np.ptp(predicted) > 0 and np.ptp(ratings) > 0
    return {
        "accuracy": float(np.mean(truth == sentiments)),
        "macro_f1": float(np.mean(f1)),
        "mae": float(np.mean(np.abs(ratings - predicted))),
        "rmse": float(np.sqrt(np.mean((ratings - predicted) ** 2))),
        "spearman": float(pd.Series(ratings).rank().corr(pd.Series(predicted).rank())) if varies else 0.0,
    }


def _baselines(ratings: Floats, part: npt.NDArray[np.str_], config: OpinionConfig) -> dict[str, float]:
    """The most frequent sentiment and the mean rating of what the model was fitted on, on the same part test."""
    known, held_out = ratings[part != TEST], ratings[part == TEST]
    most = np.bincount(sentiment_of(known, config), minlength=3).argmax()
    found = measure(held_out, np.full(len(held_out), known.mean()), np.full(len(held_out), most, np.int64), config)
    names = {"accuracy": "majority.accuracy", "macro_f1": "majority.macro_f1", "mae": "mean_rating.mae"}
    return {name: found[metric] for metric, name in names.items()}


class _Reviews:
    """Rated reviews, and models that are fitted on some of them."""

    def __init__(self, texts: Sequence[str], ratings: Floats) -> None:
        self._ratings = ratings
        self._documents = [features(text) for text in texts]
        self._lexicon_N2 = lexicon_features(texts)

    def model(self, chosen: npt.NDArray[np.bool_], uses_lexicon: bool, strength: float) -> RatingModel:
        """The model of the chosen reviews with an inverse regularisation strength."""
        from sklearn.linear_model import LogisticRegression

        rows = np.flatnonzero(chosen)
        documents = [self._documents[row] for row in rows]
        vocabulary = Vocabulary.of(documents, _MIN_DOCUMENTS, _MAX_FEATURES)
        lexicon_N2 = self._lexicon_N2[rows] * uses_lexicon
        inputs = hstack([vocabulary.vectors(documents), csr_array(lexicon_N2)], format="csr")
        classes = np.rint(self._ratings[rows]).astype(np.int64)
        found = LogisticRegression(C=strength, max_iter=1000, tol=1e-3).fit(inputs, classes)
        weight_CF, bias_C = found.coef_, found.intercept_
        if len(found.classes_) == 2:
            # Of two classes scikit-learn keeps the second one's weights only.
            weight_CF, bias_C = np.vstack([-weight_CF / 2, weight_CF / 2]), np.array([-bias_C[0] / 2, bias_C[0] / 2])
        weight_FC = np.ascontiguousarray(weight_CF.T)
        of_class = [self._ratings[rows][classes == value] for value in found.classes_]
        return RatingModel(
            vocabulary,
            weight_FC[: len(vocabulary)],
            weight_FC[len(vocabulary) :],
            bias_C,
            np.array([values.mean() for values in of_class]),
            np.array([values.var() for values in of_class]),
        )

    def losses(self, model: RatingModel, chosen: npt.NDArray[np.bool_]) -> Floats:
        """Log loss of the rating of each chosen review; a rating that the model has not seen counts as its nearest."""
        rows = np.flatnonzero(chosen)
        vectors = model.vocabulary.vectors([self._documents[row] for row in rows])
        chances = model.chances(vectors, self._lexicon_N2[rows])
        nearest = np.abs(self._ratings[rows, None] - model.class_mean_C).argmin(axis=1)
        result: Floats = -np.log(np.maximum(chances[np.arange(len(rows)), nearest], _LEAST_CHANCE))
        return result


def _choice(losses: Mapping[tuple[bool, float], Floats]) -> tuple[bool, float]:
    """Choose the use of the lexicon and the inverse regularisation strength: the smallest mean loss.

    A few reviews easily prefer to do without the lexicon by chance, so it must be worse by more than one standard error
    (Breiman et al. 1984, Classification and regression trees).
    """

    def best_of(uses_lexicon: bool) -> tuple[bool, float]:
        # At equal losses the simpler model.
        return min((s for s in losses if s[0] == uses_lexicon), key=lambda s: (float(losses[s].mean()), s[1]))

    using, without = best_of(True), best_of(False)
    gain = losses[using] - losses[without]
    error = float(gain.std()) / np.sqrt(len(gain))
    return without if float(gain.mean()) > error else using


def _too_few(sentiments: npt.NDArray[np.int64], part: npt.NDArray[np.str_], config: OpinionConfig) -> str | None:
    if len(sentiments) < config.min_rated_reviews:
        return f"too_few_ratings: {config.min_rated_reviews} rated reviews are needed, there are {len(sentiments)}"
    for index, name in enumerate(SENTIMENTS):
        count = int((sentiments == index).sum())
        if count < config.min_class_reviews:
            return f"too_few_ratings: {config.min_class_reviews} {name} ratings are needed, there are {count}"
    for name in (TRAIN, VALID, TEST):
        if not (part == name).any():
            return f"too_few_ratings: no rated review fell into the part {name}"
    return None
