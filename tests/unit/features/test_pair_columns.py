"""Columns of pairs, gathered batch by batch."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mmrec_lib.features.pair_columns import PairColumns
from mmrec_lib.features.request_context import DeviceCodes
from mmrec_lib.models.data import Interactions


@pytest.mark.parametrize("has_devices", [True, False])
def test_batches_make_the_interactions_of_all_rows_together(has_devices: bool) -> None:
    rng = np.random.default_rng(0)
    pairs = rng.choice(7 * 9, 40, replace=False)
    users, items = np.divmod(pairs, 9)
    weights, times = rng.random(40) + 0.1, rng.random(40) * 1e9
    devices, names = DeviceCodes(), rng.choice(["tv", "phone", "web"], 40) if has_devices else [None] * 40
    codes = devices.codes(pa.array(list(names), pa.string()))
    columns = PairColumns((7, 9))
    for rows in (slice(0, 15), slice(15, 15), slice(15, 40)):
        columns.add(users[rows], items[rows], weights[rows], times[rows], codes[rows])
    found = columns.interactions(devices)
    own = devices.in_order(codes) if has_devices else None
    expected = Interactions.from_rows(users, items, (7, 9), weights, times, own)
    np.testing.assert_array_equal(found.weights.toarray(), expected.weights.toarray())
    np.testing.assert_array_equal(found.times.toarray(), expected.times.toarray())
    if own is None:
        assert found.devices is None
    else:
        order = np.argsort(pairs)
        assert found.devices is not None
        np.testing.assert_array_equal(found.devices, own[order])
        assert [devices.names[code] for code in found.devices] == [str(names[at]) for at in order]


def test_no_batch_makes_no_interaction() -> None:
    found = PairColumns((3, 4)).interactions(DeviceCodes())
    assert found.shape == (3, 4)
    assert found.weights.nnz == 0
    assert found.devices is None
