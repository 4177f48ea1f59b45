from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from mmrec_lib.encoders.config import EncoderConfig, ModelsConfig
from mmrec_lib.encoders.directory import directory_revision, local_directory
from mmrec_lib.encoders.registry import encoder_spec, make_encoder, make_extractor
from mmrec_lib.errors import ConfigError, EncoderError


def write_model(folder: Path, weights: bytes = b"abc") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"hidden_size": 8}), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_revision_is_of_the_content_and_not_of_the_place(tmp_path: Path) -> None:
    first, second = write_model(tmp_path / "a"), write_model(tmp_path / "b" / "c")
    assert directory_revision(first) == directory_revision(second)


def test_revision_changes_with_the_weights(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "a")
    before = directory_revision(folder)
    write_model(folder, b"abcd")
    assert directory_revision(folder) != before


def test_described_revision_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "a")
    (folder / "mmrec.json").write_text('{"revision": "1234"}', encoding="utf-8")
    assert directory_revision(folder) == "1234"


def test_missing_directory_is_named_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"nowhere.*prepare"):
        local_directory(str(tmp_path), "nowhere")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", None])
def test_weights_that_are_no_safetensors_are_refused_before_anything_reads_them(
    tmp_path: Path, name: str | None
) -> None:
    folder = write_model(tmp_path / "mine")
    (folder / "model.safetensors").unlink()
    if name is not None:
        (folder / name).write_bytes(b"pickle")
    with pytest.raises(EncoderError, match=rf"safetensors are needed, got .*{name or 'no weights'}"):
        encoder_spec(EncoderConfig(id="mine", kind="text"), ModelsConfig(root=str(tmp_path)))


def test_a_model_that_brings_its_own_code_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    (folder / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Model"}}', encoding="utf-8")
    with pytest.raises(EncoderError, match="code of its own"):
        encoder_spec(EncoderConfig(id="mine", kind="text"), ModelsConfig(root=str(tmp_path)))


@pytest.mark.parametrize("kind", ["text", "image", "speech"])
@pytest.mark.parametrize("fault", ["cut", "incomplete"])
def test_damaged_or_incomplete_weights_are_no_model(
    tiny_models: ModelsConfig, tmp_path: Path, kind: str, fault: str
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(Path(tiny_models.root, f"tiny-{kind}"), folder)
    weights = folder / "model.safetensors"
    if fault == "cut":
        weights.write_bytes(weights.read_bytes()[:-1000])
    else:
        kept = load_file(weights)
        del kept[max(name for name in kept if "layer" in name)]
        save_file(kept, weights, metadata={"format": "pt"})
    models = ModelsConfig(root=str(tmp_path))
    config = EncoderConfig(id="mine", kind=kind)  # type: ignore[arg-type]
    make = make_extractor if kind == "speech" else make_encoder
    with pytest.raises(EncoderError, match="weights"):
        make(config, models).load()


def test_directory_behind_a_uri_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    remote = write_model(tmp_path / "remote" / "mine")
    monkeypatch.setattr("mmrec_lib.encoders.directory.LOCAL_SCHEMES", ())
    copied = local_directory((tmp_path / "remote").as_uri(), "mine")
    assert copied != remote and (copied / "model.safetensors").read_bytes() == b"abc"
    inode = copied.stat().st_ino
    assert local_directory((tmp_path / "remote").as_uri(), "mine").stat().st_ino == inode
    write_model(remote, b"abcd")
    assert local_directory((tmp_path / "remote").as_uri(), "mine") != copied


def test_file_uri_is_used_in_place(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "with space" / "mine")
    assert local_directory((tmp_path / "with space").as_uri(), "mine") == folder


@pytest.mark.parametrize("change", [{"max_tokens": 9}, {"pooling": "cls"}, {"normalise": False}, {"dtype": "float32"}])
def test_settings_that_change_vectors_change_the_revision(tmp_path: Path, change: dict[str, object]) -> None:
    write_model(tmp_path / "mine")
    models = ModelsConfig(root=str(tmp_path))
    config = EncoderConfig(id="mine", kind="text")
    changed = config.model_copy(update=change)
    assert encoder_spec(config, models).revision != encoder_spec(changed, models).revision


def test_settings_that_only_change_speed_do_not(tmp_path: Path) -> None:
    write_model(tmp_path / "mine")
    models = ModelsConfig(root=str(tmp_path))
    config = EncoderConfig(id="mine", kind="text")
    changed = config.model_copy(update={"batch_tokens": 7})
    assert encoder_spec(config, models) == encoder_spec(changed, models)


def test_packaged_models_stay_when_one_is_added() -> None:
    given = {"mine": {"kind": "text"}, "whisper-tiny-en": {"language": "en"}}
    models = ModelsConfig.model_validate({"encoders": given})
    assert models.encoder("mine", "text").folder == "mine"
    assert models.encoder("all-minilm-l6-v2", "text").id == "all-minilm-l6-v2"
    assert models.encoder("whisper-tiny-en", "speech").language == "en"


@pytest.mark.parametrize("name", ["nobody", "efficientnet-lite0"])
def test_unknown_name_or_kind_lists_what_there_is(name: str) -> None:
    with pytest.raises(ConfigError, match="all-minilm-l6-v2"):
        ModelsConfig().encoder(name, "text")


def test_encoders_and_extractors_are_not_confused(tiny_models: ModelsConfig) -> None:
    with pytest.raises(EncoderError, match="tiny-speech"):
        make_encoder(tiny_models.encoders["tiny-speech"], tiny_models)
    with pytest.raises(EncoderError, match="tiny-text"):
        make_extractor(tiny_models.encoders["tiny-text"], tiny_models)


def test_looking_up_a_model_does_not_import_torch() -> None:
    code = (
        "import sys; import mmrec_lib.encoders.prepare, mmrec_lib.encoders.registry, mmrec_lib.encoders.config;"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
