"""Training a candidate: threads of its fits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.models.data import Interactions
from mmrec_lib.training import train


class StoppedError(Exception):
    """Raised where the fits begin: what they do is no matter here."""


@pytest.mark.parametrize(("num_items", "is_limited"), [(1_000, True), (1_001, False)])
def test_few_items_are_fitted_by_one_thread_of_blas(
    monkeypatch: pytest.MonkeyPatch, num_items: int, is_limited: bool
) -> None:
    inside: list[str] = []
    seen: list[bool] = []

    @contextmanager
    def limited() -> Iterator[None]:
        inside.append("limit")
        yield

    def choose(*_: Any) -> None:
        seen.append(bool(inside))
        raise StoppedError

    empty = sparse.csr_matrix((2, num_items), dtype=np.float32)
    parts = dict.fromkeys(("train", "valid", "test"), Interactions(empty, empty.astype(np.float64)))
    snapshot = SimpleNamespace(parts=parts, item_ids=np.arange(num_items), user_ids=np.arange(2), num_gone=0)
    monkeypatch.setattr(train, "load_snapshot", lambda _: snapshot)
    monkeypatch.setattr(train, "fit_fingerprint", lambda *_: "new")
    monkeypatch.setattr(train, "single_threaded_blas", limited)
    monkeypatch.setattr(train, "choose_all", choose)
    registry: Any = SimpleNamespace(by_fingerprint=lambda _: None)
    with pytest.raises(StoppedError):
        train.train(SimpleNamespace(spark=None), registry, TrainingConfig())  # type: ignore[arg-type]
    assert seen == [is_limited]
