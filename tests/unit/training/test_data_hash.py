"""The identity of what a fit sees: it changes with everything that a fit sees, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from mmrec_lib.features.interactions import Cuts
from mmrec_lib.features.load import Snapshot
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.models.data import Content, Interactions
from mmrec_lib.models.heads.outcomes import PairValues
from mmrec_lib.models.request_context import Searches
from mmrec_lib.training.train import fit_fingerprint

SHAPE = (3, 2)


def snapshot() -> Snapshot:
    """Users a and b did something, c did nothing."""
    return Snapshot(
        snapshot_id="s1",
        cuts=Cuts(date(2025, 1, 1), "given"),
        user_ids=np.array(["a", "b", "c"]),
        item_ids=np.array(["i", "j"]),
        is_available=np.array([True, True]),
        parts={
            "train": Interactions.from_rows([0, 1], [0, 1], SHAPE, [1.0, 2.0], [5.0, 6.0]),
            "valid": Interactions.from_rows([0], [1], SHAPE),
            "test": Interactions.from_rows([], [], SHAPE),
        },
        contents={
            ("all", "text"): Content.from_vectors("text", [[1.0, 0.0], [0.0, 1.0]]),
            ("fit1", "tags"): Content.from_tokens("tags", [["x"], ["x", "y"]]),
        },
        user_attributes={"city": np.array(["p", "q", "r"], dtype=object)},
    )


def with_part(name: str, part: Interactions) -> Callable[[Snapshot], Snapshot]:
    return lambda one: replace(one, parts={**one.parts, name: part})


def with_content(fit: str, content: Content) -> Callable[[Snapshot], Snapshot]:
    return lambda one: replace(one, contents={**one.contents, (fit, content.name): content})


SEEN: dict[str, Callable[[Snapshot], Snapshot]] = {
    "an item": lambda one: replace(one, item_ids=np.array(["i", "k"])),
    "a weight": with_part("train", Interactions.from_rows([0, 1], [0, 1], SHAPE, [1.0, 3.0], [5.0, 6.0])),
    "a time": with_part("train", Interactions.from_rows([0, 1], [0, 1], SHAPE, [1.0, 2.0], [5.0, 7.0])),
    "an outcome": lambda one: replace(one, outcomes={"valid": {"view": PairValues(np.array([1]), np.ones(1), 2)}}),
    "a pair less": with_part("train", Interactions.from_rows([1], [1], SHAPE, [2.0], [6.0])),
    "a device": with_part(
        "train", Interactions.from_rows([0, 1], [0, 1], SHAPE, [1.0, 2.0], [5.0, 6.0], np.array([0, -1]))
    ),
    "a search": lambda one: replace(one, searches=Searches.of([0], [4.0], ["hat"])),
    "another part": with_part("test", Interactions.from_rows([0], [1], SHAPE)),
    "a vector": with_content("all", Content.from_vectors("text", [[1.0, 0.0], [0.0, 2.0]])),
    "a token": with_content("fit1", Content.from_tokens("tags", [["x"], ["x", "z"]])),
    "the fit that knows a content": lambda one: replace(
        one, contents={("all", name): content for (_, name), content in one.contents.items()}
    ),
    "an attribute": lambda one: replace(one, user_attributes={"city": np.array(["p", None, "r"], dtype=object)}),
}
UNSEEN: dict[str, Callable[[Snapshot], Snapshot]] = {
    "nothing": lambda one: one,
    "availability": lambda one: replace(one, is_available=np.array([False, True])),
    "names of users": lambda one: replace(one, user_ids=np.array(["d", "e", "f"])),
    "an attribute of a user who did nothing": lambda one: replace(
        one, user_attributes={"city": np.array(["p", "q", "s"], dtype=object)}
    ),
}


@pytest.mark.parametrize("change", SEEN.values(), ids=SEEN)
def test_whatever_a_fit_sees_makes_another_fit(change: Callable[[Snapshot], Snapshot]) -> None:
    before, after = snapshot(), change(snapshot())
    assert before.data_hash != after.data_hash
    assert fit_fingerprint(before, TrainingConfig()) != fit_fingerprint(after, TrainingConfig())


@pytest.mark.parametrize("change", UNSEEN.values(), ids=UNSEEN)
def test_what_no_fit_sees_makes_no_other_fit(change: Callable[[Snapshot], Snapshot]) -> None:
    before, after = snapshot(), change(snapshot())
    assert before.data_hash == after.data_hash
    assert fit_fingerprint(before, TrainingConfig()) == fit_fingerprint(after, TrainingConfig())
