"""A store's registry with one small ranker, made once; tests work on copies of its folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mmrec_lib.models.ranker.ranker import FittedRanker
from tests.registered import small_ranker, write_registered_store


@pytest.fixture(scope="session")
def ranker() -> FittedRanker:
    return small_ranker()


@pytest.fixture(scope="session")
def made_store(ranker: FittedRanker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT of a store with version 1, which is the champion."""
    out = tmp_path_factory.mktemp("registry") / "store"
    write_registered_store(out, ranker)
    return out


@pytest.fixture
def copy_store(made_store: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies of the store under names of their own."""

    def copy(name: str) -> Path:
        shutil.copytree(made_store, tmp_path / name)
        return tmp_path / name

    return copy
