"""Packaged models put under a root: whole, once, and nothing of others touched."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import pytest

from mmrec_lib.encoders.config import EncoderConfig, ModelsConfig
from mmrec_lib.encoders.weights import placing
from mmrec_lib.encoders.weights.directory import DESCRIPTION_FILE
from mmrec_lib.encoders.weights.packages import PACKAGES, ModelPackage
from mmrec_lib.encoders.weights.placing import missing_models, packages_of, place_models
from mmrec_lib.errors import MachineError

MINILM = next(package for package in PACKAGES if package.name == "all-minilm-l6-v2")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that were made: three small files instead of a wheel from an index."""
    names: list[str] = []

    def prepare(root: Path, packages: Collection[ModelPackage], wheel_folder: Path | None = None) -> dict[str, bool]:
        for package in packages:
            names.append(package.name)
            folder = root / package.name
            folder.mkdir()
            (folder / "config.json").write_text("{}")
            (folder / "model.safetensors").write_bytes(b"new weights")
            (folder / DESCRIPTION_FILE).write_text(json.dumps({"revision": package.revision}))
        return dict.fromkeys((package.name for package in packages), True)

    monkeypatch.setattr(placing, "prepare_models", prepare)
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
    assert missing_models(str(tmp_path), [MINILM]) == [MINILM.name], "without its description it is no model"
    (folder / DESCRIPTION_FILE).write_text(json.dumps({"revision": "older"}))
    (tmp_path / "of-others").mkdir()
    assert place_models(str(tmp_path), [MINILM]) == {MINILM.name: True}
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", DESCRIPTION_FILE}
    assert (folder / "model.safetensors").read_bytes() == b"new weights"
    assert (tmp_path / "of-others").is_dir()


def test_a_copy_that_breaks_off_leaves_no_model(
    tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / MINILM.name).mkdir()
    (tmp_path / MINILM.name / DESCRIPTION_FILE).write_text(json.dumps({"revision": "older"}))

    def broken(source: str, target: str, **_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(placing.fs, "copy_files", broken)
    with pytest.raises(MachineError, match=r"must be writable.*no space left.*models\.root"):
        place_models(str(tmp_path), [MINILM])
    assert missing_models(str(tmp_path), [MINILM]) == [MINILM.name]


def test_only_packaged_models_that_are_used_are_prepared() -> None:
    models = ModelsConfig()
    used = [models.encoders[name] for name in ("conse-imagenet", "rapidocr", "whisper-base")]
    names = {package.name for package in packages_of([*used, EncoderConfig(id="own", directory="/models/own")])}
    assert names == {"efficientnet-lite0", "all-minilm-l6-v2", "whisper-base"}
