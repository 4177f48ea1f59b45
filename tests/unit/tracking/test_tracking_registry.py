"""The registry in a store's folder: names of any kind, files that are gone, folders that moved."""

from __future__ import annotations

import errno
import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException

from mmrec_lib.errors import ModelError
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.tracking.config import TrackingConfig
from mmrec_lib.tracking.local import check_database, move_places, recorded_folders
from mmrec_lib.tracking.names import decode_key, sqlite_uri
from mmrec_lib.tracking.registry import CHAMPION, FINGERPRINT_TAG, RegisteredModel, Registry
from tests.data.hostile_names import LINES, LONG, NAMES, RELATIONS
from tests.registered import HEADPHONE, LONG_NAME, TAGS, open_registry

CopyStore = Callable[[str], Path]


def champion_of(out: Path) -> tuple[Registry, RegisteredModel]:
    registry = open_registry(out)
    champion = registry.by_alias(CHAMPION)
    assert champion is not None
    return registry, champion


def model_files(out: Path) -> list[Path]:
    return sorted(out.glob("mlartifacts/models/*/artifacts/artifacts/ranker/model.*"))


def damage_artifacts(out: Path) -> None:
    """Write rubbish into every artifact of a store: whoever reads it from now on fails."""
    for path in out.glob("mlartifacts/**/*"):
        if path.is_file():
            path.write_bytes(b"rubbish")


# names


def test_names_and_texts_of_any_kind_come_back(made_store: Path) -> None:
    registry, champion = champion_of(made_store)
    params = registry.params(champion)
    assert params["ranker.content_weights.graph:made of (%)"] == "0.5"
    assert params[LONG_NAME] == "v" * 9_000
    data = MlflowClient(sqlite_uri(f"{made_store}/mlflow.db")).get_run(champion.run_id).data
    assert {decode_key(key): value for key, value in data.metrics.items()} == {"audio-my@model/storage_recall@10": 0.9}
    assert "audio-my_at_model/storage_recall_at_10" in data.metrics
    assert {decode_key(key): value for key, value in data.tags.items()}["a tag (of %)"] == f"value {HEADPHONE}"


def test_a_description_is_shown_and_a_long_one_names_the_hash_of_its_whole_text(copy_store: CopyStore) -> None:
    out = copy_store("described")
    registry, champion = champion_of(out)
    client = MlflowClient(sqlite_uri(f"{out}/mlflow.db"))
    for card in ("# Model card", "# Model card\n" + "long " * 2_000):
        registry.describe(champion, card)
        shown = client.get_model_version(champion.name, champion.version).description
        assert shown == card or (len(shown) <= 5_000 and shown.endswith(hashlib.sha256(card.encode()).hexdigest()))
        assert shown.startswith("# Model card")


def test_table_versions_are_those_of_the_inputs(made_store: Path) -> None:
    registry, champion = champion_of(made_store)
    assert registry.table_versions(champion) == {"event": 3}


def test_a_loss_by_epoch_is_a_metric_with_steps(copy_store: CopyStore) -> None:
    out = copy_store("steps")
    registry = open_registry(out)
    with registry.run("train", {}) as run:
        run.log_series("second_stage.loss", (0.5, 0.25))
    history = MlflowClient(sqlite_uri(f"{out}/mlflow.db")).get_metric_history(run.run_id, "second_stage.loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.5), (2, 0.25)]


def test_a_decision_of_any_length_is_a_tag(copy_store: CopyStore) -> None:
    registry, champion = champion_of(copy_store("tagged"))
    registry.tag(champion, {"mmrec.promotion": "refused: " + "x" * 20_000, "odd (%)": "1"})
    tags = champion_of(Path(registry._store.out or ""))[1].tags
    assert tags["mmrec.promotion"].startswith("refused: xxx")
    assert len(tags["mmrec.promotion"]) == 5_000
    assert tags["odd (%)"] == "1"


def test_hostile_relations_are_parameters_metrics_and_tags(copy_store: CopyStore) -> None:
    out = copy_store("hostile")
    registry = open_registry(out)
    names = sorted({*NAMES, *RELATIONS, LINES, LONG, ""})
    weights = {f"graph:{name}": position / 2 for position, name in enumerate(names)}
    with registry.run("hostile", {name: name for name in names}) as run:
        run.log_params({"weights": weights})
        run.log_metrics({f"recall/{name}": value for name, value in weights.items()})
    logged = RegisteredModel("any", "1", run.run_id, {})
    expected = {f"weights.{name}": str(value) for name, value in weights.items()}
    assert registry.params(logged) == expected
    found = MlflowClient(sqlite_uri(f"{out}/mlflow.db")).get_run(run.run_id).data
    assert len(found.metrics) == len(names)
    assert {decode_key(key) for key in found.tags} >= {name for name in names if len(name) < 40}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["100%", "a%20b", "what?", "c#", "it's", 'say "no"', "spa ce", HEADPHONE])
def test_a_store_may_lie_in_a_folder_of_any_name(copy_store: CopyStore, name: str, tmp_path: Path) -> None:
    out = copy_store(name)
    registry, champion = champion_of(out)
    assert registry.is_intact(champion)
    FittedRanker.load(registry.model_artifact(champion, "ranker", tmp_path))
    registry.tag(champion, {"seen": "yes"})
    with sqlite3.connect(out / "mlflow.db") as database:
        assert database.execute("SELECT value FROM model_version_tags WHERE key = 'seen'").fetchall() == [("yes",)]


@pytest.mark.parametrize("name", ["a'b", "x/y", "models:/m", "", "a..b", "a%b"])
def test_names_of_models_that_registries_refuse_are_refused_at_once(name: str) -> None:
    with pytest.raises(ValueError, match="a model's name has letters"):
        TrackingConfig(model_name=name)
    assert TrackingConfig(model_name="main.mmrec.mmrec_ranker").model_name == "main.mmrec.mmrec_ranker"


def test_a_registry_that_does_not_answer_is_no_registry_without_a_champion(
    made_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = open_registry(made_store)
    assert registry.by_alias("nobody") is None
    stranger = Registry(TrackingConfig(model_name="stranger"), StoreConfig(out=str(made_store)))
    assert stranger.by_alias(CHAMPION) is None

    def refuse(*_: object) -> None:
        raise RestException({"error_code": "PERMISSION_DENIED", "message": "no"})

    monkeypatch.setattr(MlflowClient, "get_model_version_by_alias", refuse)
    with pytest.raises(MlflowException, match="PERMISSION_DENIED"):
        registry.by_alias(CHAMPION)


@pytest.mark.parametrize("code", ["RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"])
def test_servers_that_say_absent_by_other_codes_are_understood(
    made_store: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def absent(*_: object) -> None:
        raise RestException({"error_code": code, "message": "Alias 'champion' does not exist."})

    monkeypatch.setattr(MlflowClient, "get_model_version_by_alias", absent)
    assert open_registry(made_store).by_alias(CHAMPION) is None


# files that are gone


def test_a_whole_version_is_intact_also_after_others_loaded_it(copy_store: CopyStore) -> None:
    import mlflow

    registry, champion = champion_of(copy_store("loaded"))
    assert registry.is_intact(champion)
    mlflow.pyfunc.load_model(champion.uri)
    assert registry.is_intact(champion)
    assert registry.by_fingerprint(TAGS[FINGERPRINT_TAG]) is not None
    assert registry.has_intact(1) and not registry.has_intact(2) and not registry.has_intact(None)


@pytest.mark.parametrize("what", ["weights", "truncated", "code", "fits", "run folder", "everything"])
def test_a_version_with_a_file_gone_is_not_found_by_its_fingerprint(copy_store: CopyStore, what: str) -> None:
    out = copy_store("broken")
    if what == "weights":
        model_files(out)[1].unlink()
    elif what == "truncated":
        path = model_files(out)[1]
        path.write_bytes(path.read_bytes()[:-1])
    elif what == "code":
        next(out.glob("mlartifacts/models/*/artifacts/code/*/models/ranker/ranker.py")).unlink()
    elif what == "fits":
        next(out.glob("mlartifacts/*/artifacts/fits/fits.json")).unlink()
    elif what == "run folder":
        shutil.rmtree(next(out.glob("mlartifacts/*/artifacts/fits")).parent)
    else:
        shutil.rmtree(out / "mlartifacts")
    registry, champion = champion_of(out)
    assert not registry.is_intact(champion)
    assert registry.by_fingerprint(TAGS[FINGERPRINT_TAG]) is None
    assert not registry.has_intact(1)


def test_plots_that_are_gone_are_seen(copy_store: CopyStore) -> None:
    out = copy_store("plots")
    registry, champion = champion_of(out)
    assert registry.is_sealed(champion, "plots", "mmrec.plots")
    next(out.glob("mlartifacts/*/artifacts/plots/plot.png")).unlink()
    assert not registry.is_sealed(champion, "plots", "mmrec.plots")


def test_a_gone_database_is_an_empty_registry_and_reading_makes_none(copy_store: CopyStore) -> None:
    out = copy_store("lost")
    (out / "mlflow.db").unlink()
    registry = open_registry(out)
    assert registry.state() == {"newest": "none", "champion": "none"}
    assert registry.versions() == [] and registry.by_alias(CHAMPION) is None
    assert not (out / "mlflow.db").exists()


def test_a_run_that_ends_while_the_database_is_made_leaves_none(
    copy_store: CopyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copy_store("born")
    (out / "mlflow.db").unlink()

    def full(*_: object) -> None:
        (draft,) = out.glob(".mlflow.db-*.part")
        assert draft.stat().st_size > 0
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        # MLflow has made its first tables and is about to bring them to what they are today.
        patch.setattr("mlflow.store.db.utils._upgrade_db", full)
        with pytest.raises(OSError, match="No space left"), open_registry(out).run("x", {}):
            pass
    assert not [path.name for path in out.iterdir() if "mlflow.db" in path.name]
    with open_registry(out).run("x", {}) as run:
        assert run.run_id


@pytest.mark.slow
@pytest.mark.parametrize("has_table", [False, True])
def test_a_half_made_database_is_an_empty_registry_and_is_made_whole(tmp_path: Path, has_table: bool) -> None:
    out = tmp_path / "half"
    out.mkdir()
    (out / f".mlflow.db-{'0a' * 16}.part").write_bytes(b"of a killed run")
    (out / ".mlflow.db-mine.part").write_bytes(b"of somebody")
    with closing(sqlite3.connect(out / "mlflow.db")) as database, database:
        database.execute("CREATE TABLE registered_models (name TEXT)")
        if has_table:
            database.execute("CREATE TABLE experiments (experiment_id INTEGER, artifact_location TEXT)")
    half = (out / "mlflow.db").read_bytes()
    assert open_registry(out, read_only=True).state() == {"newest": "none", "champion": "none"}
    assert (out / "mlflow.db").read_bytes() == half
    registry = open_registry(out)
    with registry.run("x", {}):
        pass
    assert registry.versions() == []
    assert sorted(path.name for path in out.iterdir()) == [".mlflow.db-mine.part", "mlflow.db"]


@pytest.mark.parametrize("damage", ["text", "cut", "scrambled"])
def test_a_damaged_database_is_one_sentence(copy_store: CopyStore, damage: str) -> None:
    out = copy_store("damaged")
    path = out / "mlflow.db"
    whole = path.read_bytes()
    half = len(whole) // 2
    path.write_bytes(
        {"text": b"no database" * 100, "cut": whole[:half], "scrambled": whole[:half] + b"x" * half}[damage]
    )
    with pytest.raises(ModelError, match=r"mlflow\.db cannot be read .*Put a backup in its place, or remove the file"):
        open_registry(out).versions()


def test_a_store_without_a_local_folder_needs_a_server() -> None:
    for store in (StoreConfig(out="s3://bucket/out"), StoreConfig()):
        with pytest.raises(ModelError, match=r"Name one in tracking\.tracking_uri"):
            Registry(TrackingConfig(), store).versions()


def test_a_version_is_told_by_its_number_and_its_fit(made_store: Path) -> None:
    assert open_registry(made_store).state() == {"newest": "1 " + "f" * 16, "champion": "1 " + "f" * 16}


# folders that moved


def test_a_moved_store_uses_its_own_artifacts(copy_store: CopyStore, made_store: Path, tmp_path: Path) -> None:
    out = copy_store("first")
    champion_of(out)
    out.rename(tmp_path / "second")
    registry, champion = champion_of(tmp_path / "second")
    assert registry.is_intact(champion)
    FittedRanker.load(registry.model_artifact(champion, "ranker", tmp_path / "model"))
    assert registry.artifact_folder(champion, "fits", tmp_path).joinpath("fits.json").exists()


def test_a_copy_never_reads_the_original(copy_store: CopyStore, tmp_path: Path) -> None:
    import mlflow

    original = copy_store("original")
    champion_of(original)
    copy = tmp_path / "copy"
    shutil.copytree(original, copy)
    damage_artifacts(original)
    registry, champion = champion_of(copy)
    assert registry.is_intact(champion)
    FittedRanker.load(registry.model_artifact(champion, "ranker", tmp_path / "model"))
    assert len(mlflow.pyfunc.load_model(champion.uri).predict({"item_ids": [["i00"]]})["item_ids"][0]) == 10
    assert str(original) not in "\n".join(sqlite3.connect(copy / "mlflow.db").iterdump())
    # and the original still speaks of itself
    assert recorded_folders(original / "mlflow.db") == []


def test_moving_changes_all_places_once(copy_store: CopyStore, made_store: Path) -> None:
    out = copy_store("moved")
    assert recorded_folders(out / "mlflow.db") == [str(made_store)]
    # our experiment and MLflow's own, run, logged model, the version's place, the table that was read
    assert move_places(out / "mlflow.db") == 6
    assert move_places(out / "mlflow.db") == 0


def test_places_of_others_stay(copy_store: CopyStore) -> None:
    out = copy_store("mixed")
    with sqlite3.connect(out / "mlflow.db") as database:
        database.execute(
            "UPDATE experiments SET artifact_location = '/somewhere/else' WHERE name <> 'mmrec' AND experiment_id = 0"
        )
    move_places(out / "mlflow.db")
    with sqlite3.connect(out / "mlflow.db") as database:
        places = dict(database.execute("SELECT name, artifact_location FROM experiments").fetchall())
    assert places == {"Default": "/somewhere/else", "mmrec": f"{out}/mlartifacts"}


def test_a_dry_run_moves_nothing(copy_store: CopyStore, made_store: Path) -> None:
    out = copy_store("dry")
    before = (out / "mlflow.db").read_bytes()
    assert open_registry(out, read_only=True).by_alias(CHAMPION) is not None
    assert (out / "mlflow.db").read_bytes() == before


def test_a_whole_database_passes(made_store: Path) -> None:
    check_database(made_store / "mlflow.db")
