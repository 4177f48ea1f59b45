from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mmrec_lib.errors import ModelError
from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.ranker import FittedRanker, fit_ranker
from tests.unit.models.checkerboard import Checkerboard

pyfunc_file = pytest.importorskip("mmrec_lib.models.pyfunc_file")


@pytest.fixture(scope="module")
def ranker(board: Checkerboard, settings: RankerSettings) -> FittedRanker:
    return fit_ranker(board.train, settings)


def test_lists_hold_unseen_items_of_the_own_taste(ranker: FittedRanker) -> None:
    rows = pd.DataFrame({"item_ids": [["i00", "i02", "i04"], ["i01", "unknown"]]}, index=[5, 9])
    found = pyfunc_file.recommend(ranker, rows, k=4)
    assert found.index.tolist() == [5, 9]
    assert all(int(item[1:]) % 2 == 0 for item in found["item_ids"][5])
    assert all(int(item[1:]) % 2 == 1 for item in found["item_ids"][9])
    assert not set(found["item_ids"][5]) & {"i00", "i02", "i04"}
    assert found["scores"][5] == sorted(found["scores"][5], reverse=True)


def test_attributes_alone_are_enough(ranker: FittedRanker) -> None:
    rows = pd.DataFrame({"item_ids": [[], None], "attributes": ['{"likes": "red"}', None]})
    found = pyfunc_file.recommend(ranker, rows, k=3)
    assert [len(items) for items in found["item_ids"]] == [3, 3]


def test_a_list_longer_than_the_catalogue_ends_with_it(ranker: FittedRanker) -> None:
    found = pyfunc_file.recommend(ranker, pd.DataFrame({"item_ids": [["i00"]]}), k=100)
    assert len(found["item_ids"][0]) == 39


def test_a_missing_column_is_named(ranker: FittedRanker) -> None:
    with pytest.raises(ModelError, match="needs a column item_ids"):
        pyfunc_file.recommend(ranker, pd.DataFrame({"items": [[]]}))


def test_the_file_is_a_model_for_mlflow(ranker: FittedRanker, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    ranker.save(tmp_path / "ranker")
    mlflow.pyfunc.save_model(
        tmp_path / "model", python_model=pyfunc_file.__file__, artifacts={"ranker": str(tmp_path / "ranker")}
    )
    assert not list((tmp_path / "model").rglob("*.pkl"))
    found = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(pd.DataFrame({"item_ids": [["i00", "i02"]]}))
    assert (
        found["item_ids"][0]
        == pyfunc_file.recommend(ranker, pd.DataFrame({"item_ids": [["i00", "i02"]]}))["item_ids"][0]
    )
