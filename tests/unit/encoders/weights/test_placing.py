"""Packaged models put under a root: whole, once, and nothing of others touched."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.kinds import encoder_config
from mmrec_lib.encoders.weights import placing
from mmrec_lib.encoders.weights.directory import DESCRIPTION_FILE
from mmrec_lib.encoders.weights.packages import PACKAGES, ModelPackage
from mmrec_lib.encoders.weights.placing import missing_models, packages_of, place_models
from mmrec_lib.errors import EncoderError, MachineError

MINILM = next(package for package in PACKAGES if package.name == "all-minilm-l6-v2")


Prepare = Callable[..., dict[str, bool]]


def prepare_like(names: list[str]) -> Prepare:
    """Makes three small files instead of a wheel from an index, and notes the names of the models."""

    def prepare(root: Path, packages: Collection[ModelPackage], wheel_folder: Path | None = None) -> dict[str, bool]:
        for package in packages:
            names.append(package.name)
            folder = root / package.name
            folder.mkdir()
            (folder / "config.json").write_text("{}")
            (folder / "model.safetensors").write_bytes(b"new weights")
            (folder / DESCRIPTION_FILE).write_text(json.dumps({"id": package.name, "revision": package.revision}))
        return dict.fromkeys((package.name for package in packages), True)

    return prepare


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that were made."""
    names: list[str] = []
    monkeypatch.setattr(placing, "prepare_models", prepare_like(names))
    return names


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_model_is_made_once_whether_the_root_is_a_path_or_a_uri(tmp_path: Path, made: list[str], scheme: str) -> None:
    root = f"{scheme}{tmp_path}/models"
    assert missing_models(root, [MINILM]) == [MINILM.name]
    assert place_models(root, [MINILM]) == {MINILM.name: True}
    assert (tmp_path / "models" / MINILM.name / "model.safetensors").read_bytes() == b"new weights"
    assert missing_models(root, [MINILM]) == []
    assert place_models(root, [MINILM]) == {MINILM.name: False}
    assert made == [MINILM.name]


def test_another_revision_is_replaced_and_a_half_copied_one_is_none(tmp_path: Path, made: list[str]) -> None:
    folder = tmp_path / MINILM.name
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"half")
    (folder / "old.json").write_text("{}")
    (folder / DESCRIPTION_FILE).write_text(json.dumps({"id": MINILM.name, "revision": None}))
    assert missing_models(str(tmp_path), [MINILM]) == [MINILM.name], "without a revision it is no model"
    (folder / DESCRIPTION_FILE).write_text(json.dumps({"id": MINILM.name, "revision": "older"}))
    (tmp_path / "of-others").mkdir()
    assert place_models(str(tmp_path), [MINILM]) == {MINILM.name: True}
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", DESCRIPTION_FILE}
    assert (folder / "model.safetensors").read_bytes() == b"new weights"
    assert (tmp_path / "of-others").is_dir()


def test_a_copy_that_breaks_off_leaves_no_model(
    tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / MINILM.name).mkdir()
    (tmp_path / MINILM.name / DESCRIPTION_FILE).write_text(json.dumps({"id": MINILM.name, "revision": "older"}))

    def broken(source: str, target: str, **_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(placing.fs, "copy_files", broken)
    with pytest.raises(MachineError, match=r"must be writable.*no space left.*models\.root"):
        place_models(str(tmp_path), [MINILM])
    assert missing_models(str(tmp_path), [MINILM]) == [MINILM.name]
    monkeypatch.undo()
    (tmp_path / MINILM.name / "model.safetensors").write_bytes(b"half")
    monkeypatch.setattr(placing, "prepare_models", prepare_like(made))
    assert place_models(str(tmp_path), [MINILM]) == {MINILM.name: True}, "what broke off is known as ours"


@pytest.mark.parametrize("description", [None, "{}", '{"id": "another"}', "no json"])
def test_files_that_are_not_ours_are_neither_replaced_nor_removed(
    tmp_path: Path, made: list[str], description: str | None
) -> None:
    folder = tmp_path / MINILM.name
    folder.mkdir()
    (folder / "thesis.txt").write_text("three years of work")
    if description is not None:
        (folder / DESCRIPTION_FILE).write_text(description)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(EncoderError, match="did not make"):
        place_models(str(tmp_path), [MINILM])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before and made == []


def test_only_packaged_models_that_are_used_are_prepared() -> None:
    models = ModelsConfig()
    used = [models.encoders[name] for name in ("conse-imagenet", "rapidocr", "whisper-base")]
    names = {package.name for package in packages_of([*used, encoder_config(id="own", directory="/models/own")])}
    assert names == {"efficientnet-lite0", "all-minilm-l6-v2", "whisper-base"}
