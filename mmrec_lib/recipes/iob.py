"""Spans of texts ↔ one tag a token: B-<label> begins a part, I-<label> is inside of it, O is outside of all.

Ramshaw and Marcus, "Text Chunking using Transformation-Based Learning" (1995).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from mmrec_lib.recipes.examples import TextSpan

OUTSIDE = "O"
Offsets = Sequence[tuple[int, int]]


def tag_names(labels: Iterable[str]) -> list[str]:
    """Tags of labels: O, then B and I of each."""
    return [OUTSIDE, *(f"{place}-{label}" for label in labels for place in "BI")]


def label_of(tag: str) -> str:
    """Label of a tag; O stays O."""
    return tag if tag == OUTSIDE else tag[2:]


def tags_of(spans: Iterable[TextSpan], offsets: Offsets) -> list[str]:
    """The tag of each token: a token belongs to the span that it shares a character with.

    Args:
        spans: Parts that do not overlap.
        offsets: First character and end of each token.
    """
    tags = [OUTSIDE] * len(offsets)
    for span in spans:
        inside = [n for n, (start, end) in enumerate(offsets) if start < span.end and end > span.start and end > start]
        for number in inside:
            tags[number] = f"{'B' if number == inside[0] else 'I'}-{span.label}"
    return tags


def spans_of(
    tags: Sequence[str], offsets: Offsets, confidences: npt.NDArray[np.float64] | None = None
) -> list[tuple[TextSpan, float]]:
    """Spans of tagged tokens with the mean confidence of their tokens; an I without its B begins a part."""
    found: list[tuple[str, list[int]]] = []
    before = OUTSIDE
    for number, tag in enumerate(tags):
        label = label_of(tag)
        if tag != OUTSIDE:
            if tag[0] == "B" or label != before:
                found.append((label, []))
            found[-1][1].append(number)
        before = label
    weights = np.ones(len(tags)) if confidences is None else confidences
    return [
        (TextSpan(offsets[numbers[0]][0], offsets[numbers[-1]][1], label), float(weights[numbers].mean()))
        for label, numbers in found
    ]
