"""The catalogue of a scoring run: what the model knows as it is, what came after its fit from its content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmrec_lib.errors import ModelError
from mmrec_lib.features.interactions import Cuts
from mmrec_lib.features.load import SnapshotItems
from mmrec_lib.models.config import ColdItemSettings
from mmrec_lib.models.data import Content
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.scoring.catalogue import Catalogue, build_catalogue, load_catalogue, save_catalogue
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.config import ShowingConfig
from tests.unit.models.checkerboard import SETTINGS, Checkerboard, checkerboard


@pytest.fixture(scope="module")
def board() -> Checkerboard:
    return checkerboard()


@pytest.fixture(scope="module")
def ranker(board: Checkerboard) -> FittedRanker:
    cold = ColdItemSettings(scale=1.5, shift=0.2)
    return fit_ranker(board.train, SETTINGS.model_copy(update={"cold_items": cold}))


def catalogue_of(*item_ids: str) -> SnapshotItems:
    table = pa.table({"item_id": item_ids, "available": [not item.endswith("3") for item in item_ids]})
    return SnapshotItems("s1", Cuts(date(2026, 1, 1), "given"), np.array(item_ids), table)


def catalogue_from(
    ranker: FittedRanker, items: SnapshotItems, load: Callable[[], Mapping[str, Content]], *, is_of_fit: bool = False
) -> Catalogue:
    rules = build_rules(items.table, ShowingConfig(max_removed_share=1.0), date(2026, 1, 1), {})
    return build_catalogue(ranker, items, load, rules, is_of_fit=is_of_fit)


def test_a_saved_catalogue_is_loaded_as_it_was(ranker: FittedRanker, tmp_path: Path) -> None:
    made = catalogue_from(ranker, catalogue_of(*map(str, ranker.item_ids)), dict)
    ranker.save(tmp_path / "model")
    save_catalogue(made, tmp_path / "model", str(tmp_path / "place"))
    loaded = load_catalogue(str(tmp_path / "place"))
    np.testing.assert_array_equal(loaded.item_ids, made.item_ids)
    np.testing.assert_array_equal(loaded.item_vectors, made.item_vectors)
    np.testing.assert_array_equal(loaded.rules.is_listed, made.rules.is_listed)
    assert loaded.facts is None
    with pytest.raises(ModelError, match="there is no items"):
        load_catalogue(str(tmp_path / "nowhere"))


def test_without_a_late_item_no_content_is_loaded(ranker: FittedRanker) -> None:
    def load() -> Mapping[str, Content]:
        raise AssertionError("no item came after the fit")

    ids = [str(item) for item in ranker.item_ids]
    made = catalogue_from(ranker, catalogue_of(*ids[1:]), load, is_of_fit=True)
    np.testing.assert_array_equal(made.item_vectors, ranker.item_vectors()[1:])
    assert (~made.rules.is_listed).tolist() == [item.endswith("3") for item in ids[1:]]


def test_a_late_item_has_the_vector_of_its_content(ranker: FittedRanker, board: Checkerboard) -> None:
    ids = [str(item) for item in ranker.item_ids]
    like = int(np.flatnonzero(board.cold_items)[0])
    rows = np.array([*range(len(ids)), like])

    def load() -> Mapping[str, Content]:
        return {
            name: Content(name, c.kind, c.matrix[rows], c.has[rows], c.tokens)
            for name, c in board.train.contents.items()
        }

    made = catalogue_from(ranker, catalogue_of(*ids, "zz-late"), load)
    np.testing.assert_array_equal(made.item_vectors[:-1][ranker.warm], ranker.item_vectors()[ranker.warm])
    np.testing.assert_allclose(made.item_vectors[:-1], ranker.item_vectors(), atol=1e-5)
    np.testing.assert_allclose(made.item_vectors[-1], made.item_vectors[like], atol=1e-5)
    assert np.abs(made.item_vectors[-1]).max() > 0


def test_a_changed_content_changes_the_vector_of_an_item_without_interactions_alone(
    ranker: FittedRanker, board: Checkerboard
) -> None:
    ids = [str(item) for item in ranker.item_ids]
    cold, warm = int(np.flatnonzero(board.cold_items)[0]), int(np.flatnonzero(~board.cold_items)[0])

    def load() -> Mapping[str, Content]:
        image = board.train.contents["image:images"]
        turned = np.array(image.matrix)
        turned[[cold, warm]] *= -1
        return {**board.train.contents, image.name: Content(image.name, image.kind, turned, image.has)}

    made = catalogue_from(ranker, catalogue_of(*ids), load)
    moved = np.abs(made.item_vectors - ranker.item_vectors()).max(axis=1)
    assert moved[cold] > 0.01
    assert np.delete(moved, cold).max() < 1e-5, "others keep theirs; one with interactions keeps that of the fit"


def test_the_hashes_of_a_catalogue_tell_which_part_changed(ranker: FittedRanker, tmp_path: Path) -> None:
    ranker.save(tmp_path / "model")
    ids = [str(item) for item in ranker.item_ids]

    def hashes(name: str, *item_ids: str, **rules: Any) -> dict[str, str]:
        items = catalogue_of(*item_ids)
        config = ShowingConfig.model_validate({"max_removed_share": 1.0} | rules)
        built = build_rules(items.table, config, date(2026, 1, 1), {})
        made = build_catalogue(ranker, items, dict, built, is_of_fit=True)
        return save_catalogue(made, tmp_path / "model", str(tmp_path / name))

    first = hashes("first", *ids)
    assert set(first) == {"model", "item_vectors", "items", "rules"}
    assert hashes("same", *ids) == first
    other = hashes("fewer", *ids[1:])
    assert {name for name in first if first[name] != other[name]} == {"item_vectors", "items", "rules"}
    ruled = hashes("ruled", *ids, rules=[{"name": "no", "kind": "exclude", "items": {"item_ids": ids[:1]}}])
    assert {name for name in first if first[name] != ruled[name]} == {"rules"}
