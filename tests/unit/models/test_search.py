from __future__ import annotations

from collections.abc import Mapping

from mmrec_lib.models.coordinate_search import coordinate_search, learn_weights
from mmrec_lib.models.sources.ials import IalsSettings


def test_climbing_finds_the_top_of_a_hill() -> None:
    grids = {"regulariser": (0.001, 0.01, 0.1, 1.0), "rank": (8, 16, 32, 64)}

    def hill(settings: IalsSettings) -> float:
        return 1 - abs(settings.regulariser - 1.0) - abs(settings.rank - 8) / 64

    best, value = coordinate_search(IalsSettings(), grids, hill)
    assert (best.regulariser, best.rank) == (1.0, 8)
    assert value == 1.0


def test_a_gain_within_the_noise_moves_nothing() -> None:
    best, _ = coordinate_search(IalsSettings(rank=16), {"rank": (16, 32)}, lambda s: 1.0 + s.rank * 1e-6)
    assert best.rank == 16


def test_nothing_is_evaluated_twice() -> None:
    seen: list[int] = []

    def once(settings: IalsSettings) -> float:
        seen.append(settings.rank)
        return float(settings.rank)

    coordinate_search(IalsSettings(rank=8), {"rank": (8, 16, 32)}, once, rounds=5)
    assert sorted(seen) == [8, 16, 32]


def test_learned_weights_are_kept_when_they_win_on_the_other_half() -> None:
    def evaluate(weights: Mapping[str, float], part: int) -> float:
        return 1.0 + weights["good"] - weights["bad"]

    assert learn_weights(["good", "bad"], evaluate) == {"good": 2.0, "bad": 0.0}


def test_weights_that_only_fit_their_own_half_are_dropped() -> None:
    def evaluate(weights: Mapping[str, float], part: int) -> float:
        tilt = weights["a"] - weights["b"]
        return 1.0 + {0: tilt, 1: -tilt, 2: tilt}[part]

    assert learn_weights(["a", "b"], evaluate) == {"a": 1.0, "b": 1.0}


def test_one_source_needs_no_weights() -> None:
    assert learn_weights(["only"], lambda weights, part: 0.0) == {"only": 1.0}
