from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from scipy.special import expit, logit

from mmrec_lib.errors import ModelError
from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.data import Histories
from mmrec_lib.models.heads.heads import Heads
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.served_heads import read_worths
from tests.unit.models.checkerboard import Checkerboard
from tests.unit.models.given_heads import head_of

pyfunc_file = pytest.importorskip("mmrec_lib.models.ranker.pyfunc_file")


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


@pytest.fixture(scope="module")
def served(ranker: FittedRanker, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The model as others load it, with its signature."""
    mlflow = pytest.importorskip("mlflow")
    folder = tmp_path_factory.mktemp("served")
    ranker.save(folder / "ranker")
    mlflow.pyfunc.save_model(
        folder / "model",
        python_model=pyfunc_file.__file__,
        artifacts={"ranker": str(folder / "ranker")},
        signature=pyfunc_file.signature(),
        input_example=pd.DataFrame({"item_ids": [["i00"]]}),
        pip_requirements=["numpy"],
    )
    assert not list((folder / "model").rglob("*.pkl"))
    return mlflow.pyfunc.load_model(str(folder / "model"))


def test_the_file_is_a_model_for_mlflow(served: Any, ranker: FittedRanker) -> None:
    rows = pd.DataFrame({"item_ids": [["i00", "i02"]]}, index=[7])
    pd.testing.assert_frame_equal(served.predict(rows), pyfunc_file.recommend(ranker, rows))


def test_optional_columns_may_be_missing_none_or_nan(served: Any) -> None:
    alone = served.predict(pd.DataFrame({"item_ids": [["i00", "i02"], None]}))
    nothing = pd.DataFrame(
        {"item_ids": [["i00", "i02"], None], "weights": [None, float("nan")], "attributes": [None, float("nan")]}
    )
    pd.testing.assert_frame_equal(served.predict(nothing), alone)
    pd.testing.assert_frame_equal(served.predict(nothing[["attributes", "item_ids"]]), alone)
    assert [len(items) for items in alone["item_ids"]] == [10, 10]


@pytest.mark.parametrize(
    "weights",
    [
        [3, 1],
        [3.0, 1.0],
        [np.int64(3), np.float32(1)],
        np.array([3, 1]),
        np.array([3, 1], dtype=np.int8),
        (3, 1),
        [Decimal("3"), Decimal("1.0")],
        [3, None],
        [3, float("nan")],
        ["3", "1"],
    ],
    ids=str,
)
def test_weights_of_any_numeric_type_are_the_same_weights(served: Any, weights: Any) -> None:
    expected = served.predict(pd.DataFrame({"item_ids": [["i00", "i03"]], "weights": [[3.0, 1.0]]}))
    found = served.predict(pd.DataFrame({"item_ids": [["i00", "i03"]], "weights": [weights]}))
    pd.testing.assert_frame_equal(found, expected)


def test_weights_matter(ranker: FittedRanker) -> None:
    strong = pyfunc_file.recommend(ranker, pd.DataFrame({"item_ids": [["i00", "i03"]], "weights": [[9, 1]]}))
    weak = pyfunc_file.recommend(ranker, pd.DataFrame({"item_ids": [["i00", "i03"]], "weights": [[1, 9]]}))
    assert ranker.settings.weight_exponent == 0 or strong["scores"][0] != weak["scores"][0]


@pytest.mark.parametrize("k", [1, 3, 12, np.int64(3), 100])
def test_k_is_the_length_of_the_lists(served: Any, k: int) -> None:
    found = served.predict(pd.DataFrame({"item_ids": [["i00"], None]}), params={"k": k})
    assert [len(items) for items in found["item_ids"]] == [min(k, 39), min(k, 40)]
    assert [len(items) for items in found["scores"]] == [min(k, 39), min(k, 40)]


@pytest.mark.parametrize("k", [0, -1])
def test_an_impossible_k_is_refused(served: Any, k: int) -> None:
    with pytest.raises(Exception, match="at least 1, got"):
        served.predict(pd.DataFrame({"item_ids": [["i00"]]}), params={"k": k})


def test_pairs_of_a_user_and_candidates_are_scored(served: Any, ranker: FittedRanker) -> None:
    """All candidates that the model knows, in its order, with the scores of whole lists; other rows stay."""
    rows = pd.DataFrame({"item_ids": [["i00", "i02"], ["i01"]], "candidates": [["i05", "i04", "i04", "?"], None]})
    found = served.predict(rows, params={"k": 1})
    whole = pyfunc_file.recommend(ranker, rows[["item_ids"]], k=40)
    scores = dict(zip(whole["item_ids"][0], whole["scores"][0], strict=True))
    assert found["item_ids"][0] == ["i04", "i05"]
    np.testing.assert_allclose(found["scores"][0], [scores["i04"], scores["i05"]], atol=1e-6)
    assert found["item_ids"][1] == whole["item_ids"][1][:1]


def test_candidates_may_be_in_the_history_or_none_at_all(ranker: FittedRanker) -> None:
    rows = pd.DataFrame({"item_ids": [["i00", "i02"], ["i00"]], "candidates": [["i00", "i03"], []]})
    found = pyfunc_file.recommend(ranker, rows)
    assert found["item_ids"][0] == ["i00", "i03"]
    assert found["item_ids"][1] == []
    alone = pyfunc_file.recommend(ranker, pd.DataFrame({"item_ids": [["i00"]], "candidates": [["unknown"]]}))
    assert (alone["item_ids"][0], alone["scores"][0]) == ([], [])


def test_candidates_that_are_no_list_name_their_row(ranker: FittedRanker) -> None:
    with pytest.raises(ModelError, match="row 0: candidates must be a list or None, got str"):
        pyfunc_file.recommend(ranker, pd.DataFrame({"item_ids": [["i00"]], "candidates": ["i03"]}))


def test_no_rows_give_no_lists(ranker: FittedRanker) -> None:
    found = pyfunc_file.recommend(ranker, pd.DataFrame({"item_ids": []}))
    assert found.columns.tolist() == ["item_ids", "scores", "probabilities", "expected_worths"] and len(found) == 0


@pytest.mark.parametrize(
    "attributes",
    ['{"likes": "red"}', {"likes": "red"}, {"likes": " RED "}, {"likes": "red", "x": None}, [("likes", "red")]],
    ids=str,
)
def test_attributes_are_read_as_at_the_fit(ranker: FittedRanker, attributes: Any) -> None:
    expected = ranker.score(
        Histories(csr_matrix((1, 40), dtype=np.float32), {"likes": np.array(["red"], dtype=object)})
    )
    found = pyfunc_file.recommend(ranker, pd.DataFrame({"item_ids": [None], "attributes": [attributes]}), k=40)
    order = [ranker.item_ids.tolist().index(item) for item in found["item_ids"][0]]
    np.testing.assert_allclose(found["scores"][0], expected[0][order], rtol=1e-6)


def test_numbers_fall_into_the_groups_of_the_fit() -> None:
    read = pyfunc_file.group_values([pyfunc_file._attributes(0, value) for value in ({"age": 24}, '{"age": "24.0"}')])
    assert read["age"].tolist() == ["20", "20"]


def test_whole_numbers_are_item_ids(board: Checkerboard, settings: RankerSettings) -> None:
    numbered = replace(board.train, item_ids=np.array([item[1:].lstrip("0") or "0" for item in board.train.item_ids]))
    ranker = fit_ranker(numbered, settings)
    expected = pyfunc_file.recommend(ranker, pd.DataFrame({"item_ids": [["4", "6"]]}))
    for ids in ([4, 6], np.array([4, 6]), [4.0, 6.0, None], [np.int32(4), "6"]):
        found = pyfunc_file.recommend(ranker, pd.DataFrame({"item_ids": [ids]}))
        pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("item_ids", "i00", "row 1: item_ids must be a list or None, got str 'i00'"),
        ("item_ids", [["i00"]], "row 1: item_ids must be texts or whole numbers, got list"),
        ("item_ids", [1.5], "row 1: item_ids must be texts or whole numbers, got float 1.5"),
        ("weights", [1.0, 2.0], "row 1: needs one weight an item, got 2 weights for 1 items"),
        ("weights", ["many"], "row 1: weights must be finite numbers or None, got 'many'"),
        ("weights", [float("inf")], "row 1: weights must be finite numbers or None, got inf"),
        ("attributes", "{likes", "row 1: attributes is no JSON"),
        ("attributes", "[1, 2]", "row 1: attributes must be a mapping or a JSON object"),
    ],
)
def test_what_cannot_be_read_names_its_row_and_column(
    ranker: FittedRanker, column: str, value: Any, message: str
) -> None:
    rows = pd.DataFrame({"item_ids": [["i01"]] * 2, "weights": [None] * 2, "attributes": [None] * 2}, dtype=object)
    rows.at[1, column] = value
    with pytest.raises(ModelError, match=re.escape(message)):
        pyfunc_file.recommend(ranker, rows)


def test_a_model_with_heads_tells_probabilities_and_orders_by_worth(ranker: FittedRanker) -> None:
    """A worth below 0 turns the first places around; the scores stay in order."""
    own = replace(ranker, heads=Heads((head_of("view", 0.2, slope=1.0),), {"buy": "few"}, 5))
    rows = pd.DataFrame({"item_ids": [["i00", "i02"], None]})
    plain, told = pyfunc_file.recommend(ranker, rows, k=5), pyfunc_file.recommend(own, rows, k=5)
    assert plain["probabilities"].tolist() == [{}, {}]
    assert told["item_ids"].tolist() == plain["item_ids"].tolist()
    by_score = expit(logit(0.2) + np.array(plain["scores"][0]))
    assert told["probabilities"][0]["view"] == pytest.approx(by_score.tolist(), abs=1e-5)
    assert told["expected_worths"].tolist() == [[], []]
    turned = pyfunc_file.recommend(own, rows, k=5, worths={"view": -2.0})
    assert turned["item_ids"][0] == plain["item_ids"][0][::-1]
    assert turned["scores"].tolist() == plain["scores"].tolist()
    assert turned["expected_worths"][0] == pytest.approx((-2 * by_score[::-1]).tolist(), abs=1e-5)
    assert turned["item_ids"][1] == plain["item_ids"][1], "of somebody new the head says one thing of all items"


@pytest.mark.parametrize(
    ("worths", "message"),
    [
        ([1], "must be a mapping"),
        ({"view": float("nan")}, "must be a finite number"),
        ({"buy": 1}, "no head for it \\(few\\)"),
        ({"sale": 1}, "sale must be an outcome"),
    ],
)
def test_worths_that_cannot_count_are_refused(ranker: FittedRanker, worths: Any, message: str) -> None:
    own = replace(ranker, heads=Heads((head_of("view", 0.2),), {"buy": "few"}, 5))
    with pytest.raises(ModelError, match=message):
        read_worths(worths, own)
    assert read_worths({"view": 2}, own) == {"view": 2.0}
    assert read_worths(None, own) == {}
