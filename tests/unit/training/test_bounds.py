"""The job's message names the bounds that a store is above."""

from __future__ import annotations

import pytest

from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.training.train import bounds_note
from tests.unit.training.test_data_hash import snapshot

# Two users and two items have interactions in train.
CASES = {
    "max_fit_users": "; of 2 users of train a sample is read: training.max_fit_users = 1",
    "max_search_fit_users": "; of 2 users of train a sample is read: training.max_search_fit_users = 1",
    "max_search_items": "; of 2 items the most frequent choose settings of item-by-item matrices: "
    "training.max_search_items = 1",
    "max_dense_items": "; 2 items are too many for item-by-item matrices: training.max_dense_items = 1, so the sources "
    "are ials, graph_filter",
}


@pytest.mark.parametrize("bound", CASES)
def test_a_bound_is_told_from_one_user_or_item_above_it_on(bound: str) -> None:
    assert bounds_note(snapshot(), TrainingConfig.model_validate({bound: 1})) == CASES[bound]
    assert bounds_note(snapshot(), TrainingConfig.model_validate({bound: 2})) == ""
