from __future__ import annotations

from tests.benchmarks.scoring import measure_batches


def test_batches_and_the_served_model_are_measured_with_and_without_rules() -> None:
    found = measure_batches(num_items=400, num_users=20, rounds=1)
    assert set(found["served_user_ms"]) == {"plain", "with rules", "with rules and a mute"}
    assert all(value > 0 for part in found.values() for value in part.values())
