"""Candidates in words: what is told of a user is their history, and each user is judged alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmrec_lib.generation.candidate_texts import ItemTexts, TextScorer
from mmrec_lib.models.data import Histories, Interactions
from mmrec_lib.topk.selection import NO_ITEM


class Recorder:
    """Keeps what it is asked; the value is the length of both texts."""

    def __init__(self) -> None:
        self.asked: list[list[tuple[str, str]]] = []

    def scores(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float64]:
        self.asked.append(list(pairs))
        return np.array([float(len(a) + 100 * len(b)) for a, b in pairs])


TEXTS = ItemTexts(
    np.array(["a", "b", "c", "d", None], dtype=object), np.array(["A.", "B..", "C...", None, None], dtype=object)
)


def histories() -> Histories:
    """User 0: c most, then b and d alike, d later; user 1 only what has no title; user 2 nothing."""
    found = Interactions.from_rows([0, 0, 0, 1], [1, 2, 3, 4], (3, 5), [1.0, 5.0, 1.0, 1.0], [10.0, 1.0, 20.0, 5.0])
    return Histories(found.weights, {}, found.times)


def test_a_profile_tells_the_heaviest_then_the_latest_without_the_judged_item() -> None:
    recorder = Recorder()
    values = TextScorer(recorder, TEXTS, num_history=2).values(
        histories(), np.array([[0, 2, 3, NO_ITEM], [0, 1, NO_ITEM, NO_ITEM], [0, 1, 2, NO_ITEM]])
    )
    assert recorder.asked == [[("c; d", "A."), ("d; b", "C...")]]
    assert values[0, :2].tolist() == [204.0, 404.0]
    assert np.isnan(values[0, 2:]).all(), "an item without words, and no item"
    assert np.isnan(values[1:]).all(), "users of whom no words tell"


def test_the_same_lists_are_judged_once() -> None:
    recorder = Recorder()
    scorer = TextScorer(recorder, TEXTS, num_history=2)
    items = np.array([[0, 1]] * 3)
    again = [scorer.values(histories(), items) for _ in range(2)]
    assert np.array_equal(again[0], again[1], equal_nan=True)
    assert len(recorder.asked) == 1


def test_texts_follow_other_ids_and_survive_a_file(tmp_path: Path) -> None:
    ids = np.array(["i0", "i1", "i2", "i3", "i4"])
    other = TEXTS.of_items(ids, np.array(["i2", "zz", "i0"]))
    assert other.titles.tolist() == ["c", None, "a"]
    assert other.documents.tolist() == ["C...", None, "A."]
    other.save(tmp_path / "texts.arrow")
    loaded = ItemTexts.load(tmp_path / "texts.arrow")
    assert loaded.titles.tolist() == other.titles.tolist()
    assert loaded.digest() == other.digest() != TEXTS.digest()
