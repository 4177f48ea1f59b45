"""Training, evaluation and promotion are done only while all that they wrote to the registry is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from mmrec_lib.tracking.registry import CHAMPION
from mmrec_lib.training.evaluate import is_evaluated
from mmrec_lib.training.promote import DECISION_TAG, is_decided, is_same_fit
from mmrec_lib.training.train import VERSION_COUNT, is_registered
from tests.registered import open_registry

CopyStore = Callable[[str], Path]


def test_a_whole_registry_is_complete(copy_store: CopyStore) -> None:
    registry = open_registry(copy_store("whole"))
    champion = registry.by_alias(CHAMPION)
    assert champion is not None
    assert is_registered(registry, {VERSION_COUNT: 1}) and is_evaluated(registry)
    assert not is_decided(registry)  # nobody decided yet
    registry.tag(champion, {DECISION_TAG: "promoted"})
    assert is_decided(registry)
    assert is_same_fit(champion, champion)


def test_a_run_that_counted_no_version_or_another_is_not_complete(made_store: Path) -> None:
    registry = open_registry(made_store)
    assert not is_registered(registry, None)
    assert not is_registered(registry, {"items": 3})
    assert not is_registered(registry, {VERSION_COUNT: 2})


def test_without_a_database_nothing_is_complete(copy_store: CopyStore) -> None:
    out = copy_store("lost")
    (out / "mlflow.db").unlink()
    registry = open_registry(out)
    assert not is_registered(registry, {VERSION_COUNT: 1})
    assert not is_evaluated(registry) and not is_decided(registry)


def test_without_artifacts_nothing_is_complete(copy_store: CopyStore) -> None:
    out = copy_store("bare")
    registry = open_registry(out)
    champion = registry.by_alias(CHAMPION)
    assert champion is not None
    registry.tag(champion, {DECISION_TAG: "promoted"})
    shutil.rmtree(out / "mlartifacts")
    assert not is_registered(registry, {VERSION_COUNT: 1})
    assert not is_evaluated(registry) and not is_decided(registry)


def test_a_model_card_that_is_gone_is_written_again(copy_store: CopyStore) -> None:
    out = copy_store("no card")
    (card,) = out.glob("mlartifacts/**/model_card.md")
    card.unlink()
    assert not is_evaluated(open_registry(out))
