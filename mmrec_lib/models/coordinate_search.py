"""Coordinate search over grids of values: few evaluations, no randomness, no clock: it ends the same each time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from mmrec_lib.section import Section

_log = logging.getLogger(__name__)
SectionT = TypeVar("SectionT", bound=Section)


def coordinate_search(
    start: SectionT,
    grids: Mapping[str, Sequence[Any]],
    evaluate: Callable[[SectionT], float],
    rounds: int = 1,
    tolerance: float = 1e-3,
) -> tuple[SectionT, float]:
    """Improve one field after the other by steps up and down its grid.

    Args:
        start: Where to begin; a field's value need not be on its grid (the nearest value of it is taken).
        grids: For each field its ordered values.
        evaluate: The objective, higher is better.
        rounds: How often all fields are visited.
        tolerance: Relative gain that a step needs: smaller ones are noise.

    Returns:
        The best section and its objective.
    """
    known: dict[str, float] = {}

    def value_of(section: SectionT) -> float:
        key = section.model_dump_json()
        if key not in known:
            started = time.process_time()
            known[key] = evaluate(section)
            _log.debug("search: %s: %.5f, %.2f processor seconds", key, known[key], time.process_time() - started)
        return known[key]

    best = start
    for field, values in grids.items():
        best = best.model_copy(update={field: values[_nearest(values, getattr(best, field))]})
    best_value = value_of(best)
    for _ in range(rounds):
        before = best
        for field, values in grids.items():
            for step in (1, -1):
                place = _nearest(values, getattr(best, field)) + step
                moved = False
                while 0 <= place < len(values):
                    candidate = best.model_copy(update={field: values[place]})
                    value = value_of(candidate)
                    if value <= best_value * (1 + tolerance) + 1e-12:
                        break
                    best, best_value, moved = candidate, value, True
                    place += step
                if moved:
                    break
        if best == before:
            break
    return best, best_value


def _nearest(values: Sequence[Any], value: Any) -> int:
    if value in values:
        return list(values).index(value)
    return min(range(len(values)), key=lambda place: abs(values[place] - value))


def learn_weights(
    names: Sequence[str],
    evaluate: Callable[[Mapping[str, float], int], float],
    values: Sequence[float] = (0.0, 0.25, 0.5, 1.0, 2.0),
    rounds: int = 2,
    tolerance: float = 1e-3,
) -> dict[str, float]:
    """Weights of sources: equal ones, unless learned ones win where they were not learned.

    Users are in two halves. Weights learned on one half must, over both directions, beat equal weights on the other;
    then weights are learned on all users.

    Args:
        names: The sources.
        evaluate: (weights, part) → objective; part 0 and 1 are the halves, 2 is everybody.
        values: Values that a weight may take.
        rounds: How often all weights are visited.
        tolerance: Relative gain that a step needs.
    """
    equal = {name: 1.0 for name in names}
    if len(names) < 2:
        return equal

    def on_part(part: int) -> Callable[[Mapping[str, float]], float]:
        return lambda weights: evaluate(weights, part)

    gain = 0.0
    for half in (0, 1):
        learned = _ascend(equal, on_part(half), values, rounds, tolerance)
        gain += evaluate(learned, 1 - half) - evaluate(equal, 1 - half)
    if gain <= 0:
        return equal
    return _ascend(equal, on_part(2), values, rounds, tolerance)


def _ascend(
    start: dict[str, float],
    evaluate: Callable[[Mapping[str, float]], float],
    values: Sequence[float],
    rounds: int,
    tolerance: float,
) -> dict[str, float]:
    best, best_value = dict(start), evaluate(start)
    for _ in range(rounds):
        before = dict(best)
        for name in start:
            for weight in values:
                candidate = {**best, name: weight}
                if candidate == best or not any(candidate.values()):
                    continue
                value = evaluate(candidate)
                if value > best_value * (1 + tolerance):
                    best, best_value = candidate, value
        if best == before:
            break
    return best
