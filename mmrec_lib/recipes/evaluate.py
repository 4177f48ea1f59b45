"""Evaluation of recipes: accuracy, precision, recall and F1 by class, confusion, beside the most frequent class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mmrec_lib.recipes.examples import TextSpan

RECIPE, MAJORITY, SHUFFLED_IMAGES = "recipe", "majority", "shuffled_images"
LABELS_ALONE, PSEUDO_LABELS = "labels_alone", "pseudo_labels"
"""Rounds of a recipe with pseudo-labels: before them, and with them."""


@dataclass(frozen=True)
class Figure:
    """One figure of an evaluation; see table recipe_metric.

    Attributes:
        model: recipe, majority, shuffled_images, labels_alone or pseudo_labels.
        metric: Such as f1.
        value: The value.
        label: Class; empty for all.
        predicted: Predicted class of a confusion.
    """

    model: str
    metric: str
    value: float
    label: str = ""
    predicted: str = ""


def class_figures(model: str, right: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> list[Figure]:
    """Figures of one class an example.

    Precision is 0 where a class is never predicted, recall 0 where it is never right; the mean F1 is over the classes
    that are right at least once.

    Args:
        model: Who predicted.
        right: Right class of each example.
        predicted: Predicted class of each.
        labels: Classes, in order.
    """
    confusion = Counter(zip(right, predicted, strict=True))
    support, judged = Counter(right), Counter(predicted)
    figures = [Figure(model, "accuracy", float(np.mean([a == b for a, b in zip(right, predicted, strict=True)])))]
    scores = []
    for label in dict.fromkeys([*labels, *sorted(support)]):
        figures += _scores(model, label, confusion[label, label], judged[label], support[label])
        if support[label]:
            scores.append(figures[-2].value)
    figures.append(Figure(model, "macro_f1", float(np.mean(scores))))
    figures += [Figure(model, "confusion", float(n), one, other) for (one, other), n in sorted(confusion.items())]
    return figures


def span_figures(
    model: str, right: Sequence[Iterable[TextSpan]], predicted: Sequence[Iterable[TextSpan]], labels: Sequence[str]
) -> list[Figure]:
    """Figures of whole spans: a predicted one is right where start, end and label are.

    Tjong Kim Sang and De Meulder, "Introduction to the CoNLL-2003 Shared Task" (2003).
    """
    wanted = {(number, span) for number, spans in enumerate(right) for span in spans}
    found = {(number, span) for number, spans in enumerate(predicted) for span in spans}
    hits = Counter(span.label for _, span in wanted & found)
    support, judged = Counter(span.label for _, span in wanted), Counter(span.label for _, span in found)
    figures, scores = [], []
    for label in labels:
        figures += _scores(model, label, hits[label], judged[label], support[label])
        if support[label]:
            scores.append(figures[-2].value)
    figures += _scores(model, "", hits.total(), judged.total(), support.total())
    figures.append(Figure(model, "macro_f1", float(np.mean(scores)) if scores else 0.0))
    return figures


def mean_level_error(model: str, right: Sequence[str], expected: Sequence[float]) -> Figure:
    """Mean absolute difference between right rating levels and expected ones."""
    return Figure(model, "mae", float(np.mean(np.abs(np.array(right, float) - np.array(expected)))))


def value_of(figures: Iterable[Figure], metric: str, model: str = RECIPE) -> float:
    """The overall value of a metric.

    Raises:
        StopIteration: When it was not measured.
    """
    return next(f.value for f in figures if (f.model, f.metric, f.label) == (model, metric, ""))


def majority(values: Iterable[Hashable]) -> Hashable:
    """The most frequent value; of equally frequent ones the least by name."""
    return min(Counter(values).items(), key=lambda entry: (-entry[1], str(entry[0])))[0]


def _scores(model: str, label: str, hits: int, judged: int, support: int) -> list[Figure]:
    precision, recall = hits / judged if judged else 0.0, hits / support if support else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    named = (("precision", precision), ("recall", recall), ("f1", f1), ("support", float(support)))
    return [Figure(model, metric, value, label) for metric, value in named]
