"""Retrieval from texts to images and back by an encoder of both, on items that training did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrec_lib.recipes.adapt_joint import JointAdapter
from mmrec_lib.recipes.adapter import Floats

TEXT_TO_IMAGE, IMAGE_TO_TEXT = "text_to_image", "image_to_text"
_ROWS_TOGETHER = 1024


@dataclass(frozen=True)
class CrossModalHits:
    """Queries by whether the right content of the other modality is among the first of all of it.

    Attributes:
        of_texts: `[num_texts]`, 1 where a text finds an image of an item that has this text.
        of_images: `[num_images]` the other way round.
    """

    of_texts: npt.NDArray[np.float64]
    of_images: npt.NDArray[np.float64]

    @property
    def by_metric(self) -> dict[str, npt.NDArray[np.float64]]:
        """The same by the names of the metrics."""
        return {TEXT_TO_IMAGE: self.of_texts, IMAGE_TO_TEXT: self.of_images}


def cross_modal_hits(adapter: JointAdapter, items: Sequence[int], k: int) -> CrossModalHits:
    """Texts of items that find their images among the first `k` of all these, and images that find their texts.

    Equal texts are one, and so are equal images; any image of an item with the text is right.

    Args:
        adapter: The encoder, which has read the items.
        items: Numbers of the items; those with a text and an image count.
        k: Cut-off.
    """
    both = adapter.with_both(items)
    text_ids, image_ids = adapter.content_ids(both.tolist())
    _, first_texts, texts = np.unique(text_ids, return_index=True, return_inverse=True)
    _, first_images, images = np.unique(image_ids, return_index=True, return_inverse=True)
    of_texts, of_images = adapter.encode_both(both.tolist())
    vectors, others = of_texts[first_texts], of_images[first_images]
    return CrossModalHits(_hits(vectors, others, texts, images, k), _hits(others, vectors, images, texts, k))


def _hits(
    queries: Floats, candidates: Floats, of_query: npt.NDArray[np.intp], right: npt.NDArray[np.intp], k: int
) -> npt.NDArray[np.float64]:
    """1 where one of the first `k` candidates is right for a query; `of_query` and `right` are pairs of both."""
    found = np.zeros(len(queries))
    is_right = np.zeros((min(_ROWS_TOGETHER, len(queries)), len(candidates)), np.bool_)
    for start in range(0, len(queries), _ROWS_TOGETHER):
        scores = queries[start : start + _ROWS_TOGETHER] @ candidates.T
        is_right[:] = False
        inside = (of_query >= start) & (of_query < start + len(scores))
        is_right[of_query[inside] - start, right[inside]] = True
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        found[start : start + len(scores)] = np.take_along_axis(is_right[: len(scores)], best, axis=1).any(axis=1)
    return found
