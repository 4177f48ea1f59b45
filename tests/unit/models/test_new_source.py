"""A new source is a class and one line in the registry: everything else works with it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.models.config import RankerSettings, TrainingConfig
from mmrec_lib.models.coordinate_search import coordinate_search
from mmrec_lib.models.data import history_rows
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.sources.base import FitInputs, SearchInputs, SearchResult, Source, matrix_contributions
from mmrec_lib.models.sources.registry import FALLBACK, SOURCES, searched_names
from mmrec_lib.models.tuning.choose import choose_settings
from mmrec_lib.section import Section
from tests.conftest import PROJECT
from tests.unit.models.checkerboard import SETTINGS, Checkerboard


class ToySettings(Section):
    """The default draws users away from what they like, so that a search has something to mend."""

    sign: float = -1.0


@dataclass(frozen=True)
class Toy(Source[ToySettings]):
    """Scores are signed counts of common users."""

    name: ClassVar[str] = "toy"
    settings_type = ToySettings

    common: npt.NDArray[np.float32]

    @classmethod
    def fit(cls, inputs: FitInputs, settings: ToySettings) -> Toy:
        return cls((settings.sign * (inputs.histories.T @ inputs.histories).toarray()).astype(np.float32))

    def score(self, x_NW: sparse.csr_matrix) -> npt.NDArray[np.float32]:
        return np.asarray(x_NW @ self.common, dtype=np.float32)

    def contributions(self, x_NW: sparse.csr_matrix, items_NK: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return matrix_contributions(x_NW, self.common, items_NK)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"common": self.common}

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]], settings: ToySettings) -> Toy:
        cls.check_arrays(arrays, {"common"})
        return cls(arrays["common"])

    @classmethod
    def search(cls, inputs: SearchInputs, start: ToySettings) -> SearchResult[ToySettings]:
        def evaluate(candidate: ToySettings) -> float:
            return inputs.evaluate(cls.fit(inputs.fit_inputs(), candidate).score(inputs.known))

        return SearchResult(coordinate_search(start, {"sign": (-1.0, 1.0)}, evaluate, inputs.rounds)[0])


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> type[Toy]:
    monkeypatch.setitem(SOURCES, Toy.name, Toy)
    return Toy


@pytest.mark.parametrize("names", [("toy",), ("toy", "ials"), ("ridge", "toy")])
def test_a_registered_source_is_searched_fitted_saved_loaded_and_explained(
    names: tuple[str, ...], toy: type[Toy], board: Checkerboard, tmp_path: Path
) -> None:
    config = TrainingConfig(sources=names, dims=(8,), min_group_users=5)
    settings = choose_settings(board.train, board.rest, config)
    assert settings.of(toy) == ToySettings(sign=1.0)

    ranker = fit_ranker(board.train, settings.model_copy(update={"fusion": dict.fromkeys(names, 1.0)}))
    assert set(ranker.sources) == set(names)
    ranker.save(tmp_path)
    loaded = FittedRanker.load(tmp_path)
    assert loaded.settings == ranker.settings
    assert isinstance(loaded.sources["toy"], Toy)
    histories = board.train.histories()
    np.testing.assert_array_equal(loaded.score(histories), ranker.score(histories))

    items = np.tile(np.arange(10), (len(histories), 1))
    shares = loaded.explain(loaded.project(histories), items).shares
    own = board.user_colour[:, None] == board.item_colour[items]
    warm_users = np.diff(histories.weights.indptr) > 0
    assert shares["toy"][own & warm_users[:, None]].mean() > shares["toy"][~own & warm_users[:, None]].mean() + 0.5
    total = np.sum([share.astype(np.float64) for share in shares.values()], axis=0)
    np.testing.assert_allclose(total, np.take_along_axis(loaded.score(histories), items, axis=1), atol=1e-5)


def test_a_registered_source_takes_part_by_default(toy: type[Toy]) -> None:
    assert TrainingConfig().sources == (*SETTINGS.fusion, "toy")
    assert RankerSettings().of(toy) == ToySettings()
    assert RankerSettings().model_dump()["toy"] == {"sign": -1.0}


def test_a_model_with_a_source_that_is_not_registered_is_refused_by_name(
    board: Checkerboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as registered:
        registered.setitem(SOURCES, Toy.name, Toy)
        fit_ranker(board.train, RankerSettings(fusion={"toy": 1.0}, dim=8)).save(tmp_path)
    with pytest.raises(ModelError, match="source toy: must be one of content_ease, ridge"):
        FittedRanker.load(tmp_path)


@pytest.mark.parametrize("name", ["item_knn", "cease", "toy"])
def test_a_config_names_searched_sources_only(name: str) -> None:
    with pytest.raises(ValidationError, match=f"content_ease, ridge, ials, graph_filter, got {name}"):
        TrainingConfig(sources=("ials", name))


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("max_dense_items", [0, 1_000])
def test_every_source_is_rebuilt_from_its_own_arrays(name: str, max_dense_items: int, board: Checkerboard) -> None:
    source, settings = SOURCES[name], SETTINGS.of(SOURCES[name])
    warm = np.flatnonzero(~board.cold_items)
    histories = history_rows(board.train.interactions.weights[:, warm], 0.0)
    fitted = source.fit(FitInputs(histories, None, 0, max_dense_items), settings)
    assert type(fitted) is source
    loaded = source.load(fitted.arrays(), settings)
    np.testing.assert_array_equal(loaded.score(histories), fitted.score(histories))
    with pytest.raises(ModelError, match=f"source {name}: its saved arrays must be"):
        source.load({**fitted.arrays(), "other": np.zeros(1)}, settings)


def test_names_of_sources_are_their_keys_and_no_other_settings() -> None:
    assert [source.name for source in SOURCES.values()] == list(SOURCES)
    assert not set(SOURCES) & (set(RankerSettings.model_fields) | {"content", "popularity", "demographics", "residual"})
    assert FALLBACK.name in searched_names() and FALLBACK.is_possible(10**9, 0)


def test_settings_are_saved_with_a_key_a_source() -> None:
    saved = SETTINGS.model_dump(mode="json")
    assert "sources" not in saved
    assert saved["ridge"]["regulariser"] == 1.0 and saved["ridge"]["diagonal_exponent"] == 0.0
    assert RankerSettings.model_validate(saved) == SETTINGS


@pytest.mark.parametrize("file", ["ranker/*.py", "tuning/choose*.py", "sources/base.py", "config.py"])
def test_only_the_registry_and_the_sources_know_sources_by_name(file: str) -> None:
    paths = [path for path in (PROJECT / "mmrec_lib" / "models").glob(file) if path.name != "saved.py"]
    assert paths
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        compared = {
            node.value
            for compare in ast.walk(tree)
            if isinstance(compare, ast.Compare)
            for node in ast.walk(compare)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not compared & set(SOURCES), path
