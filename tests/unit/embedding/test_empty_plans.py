"""A task that has nothing to do loads nothing: with little news most tasks are such."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from mmrec_lib.embedding import operator
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.reviews import extract_opinions
from mmrec_lib.scoring import users
from mmrec_lib.scoring.config import ListConfig

EMPTY = pa.RecordBatch.from_pydict({"content_id": pa.array([], pa.string()), "text": pa.array([], pa.string())})
ONE = pa.RecordBatch.from_pydict({"content_id": ["a"], "text": ["word"]})
TASK: Any = SimpleNamespace(
    columns=operator.TEXT_COLUMNS, portions=EmbeddingConfig(), encoder=None, models=None, spec=None, model=("", b"")
)
Partition = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]

PARTITIONS: dict[str, Partition] = {
    "encode": lambda batches: operator._encode_partition(batches, TASK),
    "extract": lambda batches: operator._extract_partition(batches, TASK),
    "opinions": lambda batches: extract_opinions._analyse_partition(batches, TASK, pa.schema([])),
    "scores": lambda batches: users.score_partition(
        batches, users.ScoringTask("nowhere", ListConfig(), RerankingConfig())
    ),
}


class LoadedError(Exception):
    """Raised where a model would be loaded."""


@pytest.fixture(autouse=True)
def loading_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise LoadedError

    monkeypatch.setattr(operator, "_encoder", load)
    monkeypatch.setattr(operator, "_extractor", load)
    monkeypatch.setattr(extract_opinions, "_classifier", load)
    monkeypatch.setattr(extract_opinions.OpinionModel, "of_saved", load)
    monkeypatch.setattr(users, "load_catalogue", load)


@pytest.mark.parametrize("batches", [[], [EMPTY], [EMPTY, EMPTY]], ids=["no batch", "an empty one", "two"])
@pytest.mark.parametrize("name", PARTITIONS)
def test_nothing_is_loaded_for_nothing(name: str, batches: list[pa.RecordBatch]) -> None:
    assert list(PARTITIONS[name](iter(batches))) == []


@pytest.mark.parametrize("name", PARTITIONS)
def test_it_is_loaded_for_a_row(name: str) -> None:
    with pytest.raises(LoadedError):
        list(PARTITIONS[name](iter([EMPTY, ONE])))
