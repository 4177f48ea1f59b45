"""Candidates of facts, and the choice among them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mmrec_lib.generation.candidates import Bounds, Candidate, Choice, choose, template_candidates
from mmrec_lib.generation.facts import Fact
from mmrec_lib.generation.names import NameRules
from mmrec_lib.generation.nearness import DEFAULT_ALPHA, choose_alpha, validation_pairs
from mmrec_lib.generation.templates import LANGUAGES, FactKind

HISTORY = Fact(FactKind.HISTORY, {"title": "Alien"}, "i1", is_item=True)
CATEGORY = Fact(FactKind.CATEGORY, {"category": "Space"}, "Space")
ASPECT = Fact(FactKind.ASPECT, {"num": "4", "aspect": "fit"}, "fit")
RATING = Fact(FactKind.RATING, {"rating": "4.5", "num": "7"})
BOUNDS = Bounds("en", 200, NameRules(blocked=("gratis",)))


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_templates_tell_one_fact_or_two_and_pass_the_check(language: str) -> None:
    found = template_candidates([HISTORY, CATEGORY, ASPECT], language, "u1 i2")
    told = [{fact.kind for fact in one.facts} for one in found]
    assert told == [
        {FactKind.HISTORY, FactKind.ASPECT},
        {FactKind.CATEGORY, FactKind.ASPECT},
        {FactKind.HISTORY},
        {FactKind.CATEGORY},
        {FactKind.ASPECT},
    ]
    bounds = Bounds(language, 200, NameRules())
    assert [bounds.grounding(one) for one in found] == [1.0] * 5


def test_wordings_differ_between_items_and_stay_for_the_same_one() -> None:
    texts = {seed: template_candidates([HISTORY], "en", seed)[0].text for seed in map(str, range(20))}
    assert len(set(texts.values())) == 2
    assert texts["3"] == template_candidates([HISTORY], "en", "3")[0].text


def test_items_of_a_list_do_not_all_tell_the_same() -> None:
    told: Counter[tuple[str, ...]] = Counter()
    candidates = template_candidates([HISTORY, CATEGORY, ASPECT, RATING], "en", "s")
    firsts = []
    for _ in range(2):
        found = choose(candidates, told, BOUNDS)
        assert found is not None and found.grounding == 1 and found.score is None
        firsts.append([fact.kind for fact in found.candidate.facts])
    assert firsts == [
        [FactKind.HISTORY, FactKind.ASPECT],
        [FactKind.CATEGORY, FactKind.RATING],
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("You turned to “Alien”, and it is free.", "not grounded"),
        ("Because you turned to “Alien”. " * 20, "too long"),
        ("Because you turned to “Alien”.\u202e", "hidden"),
        ("Because you turned to “Alien”. gratis", "blocked"),
    ],
)
def test_what_is_out_of_bounds_is_not_grounded(text: str, why: str) -> None:
    assert BOUNDS.grounding(Candidate(text, (HISTORY,))) < 1, why
    assert choose([Candidate(text, (HISTORY,))], Counter(), BOUNDS) is None


def test_vectors_choose_what_lies_near_the_history_or_near_the_item() -> None:
    axes = {"i1": np.array([1, 0], np.float32), "Space": np.array([0, 1], np.float32)}
    candidates = template_candidates([HISTORY, CATEGORY, RATING], "en", "s")

    def first(alpha: float, *, has_profile: bool = True) -> tuple[FactKind, float | None]:
        profile = axes["i1"] if has_profile else None
        choice = Choice(lambda fact: axes.get(fact.about or ""), profile, axes["Space"], alpha)
        found = choose(candidates, Counter(), BOUNDS, choice)
        assert found is not None
        return found.candidate.facts[0].kind, found.score

    assert first(0.9) == (FactKind.HISTORY, pytest.approx(0.9))
    assert first(0.1) == (FactKind.CATEGORY, pytest.approx(0.9))
    assert first(0.9, has_profile=False) == (FactKind.CATEGORY, pytest.approx(1.0))


def test_a_text_of_two_facts_has_the_direction_of_their_sum() -> None:
    axes = {"i1": np.array([1, 0], np.float32), "fit": np.array([0, 1], np.float32)}
    choice = Choice(lambda fact: axes.get(fact.about or ""), axes["i1"], axes["fit"], 0.5)
    assert choice.score([HISTORY, ASPECT]) == pytest.approx(np.sqrt(0.5))
    assert choice.score([RATING]) is None
    assert Choice(lambda fact: None, axes["i1"], None, 0.5).score([HISTORY]) is None


def test_alpha_is_the_weight_that_tells_held_out_items_from_others() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(40), 10)
    held_out = np.tile(np.arange(10) < 2, 40)
    noise, signal = rng.normal(size=400), held_out + rng.normal(size=400) * 0.3
    assert choose_alpha(signal, noise, held_out, users) == 1.0
    assert choose_alpha(noise, signal, held_out, users) == 0.0
    assert choose_alpha(noise, noise, held_out, users) == DEFAULT_ALPHA
    assert choose_alpha(signal, noise, np.zeros(400, bool), users) == DEFAULT_ALPHA


def test_pairs_of_validation_name_the_nearest_item_of_the_training_history() -> None:
    items = np.zeros((30, 2), np.float32)
    items[:28, 0], items[27, :] = 1, (0, 1)
    items[0], items[1] = (0, 1), (1, 0)
    nan = np.nan
    rows = np.array(
        [
            [7, 0, 3.0, nan],  # of training
            [7, 1, 1.0, nan],
            [7, 27, nan, 1.0],  # held out, like item 0
            [7, 29, nan, 1.0],  # held out, without a vector
            [7, 1, 1.0, 1.0],  # in both: not held out
            [8, 2, nan, 1.0],  # nobody of whom there is a history
        ]
    )
    to_profile, to_item, held_out, users = validation_pairs(rows, items)
    assert set(users) == {7}
    assert held_out.sum() == 1 and len(held_out) > 10
    # The history weighs (2, 3), its direction has the length of the root of 13.
    assert to_item[held_out] == pytest.approx(1.0)
    assert to_profile[held_out] == pytest.approx(3 / np.sqrt(13))
    assert to_profile[~held_out] == pytest.approx(2 / np.sqrt(13))
    assert [len(column) for column in validation_pairs(np.zeros((0, 4)), items)] == [0, 0, 0, 0]
