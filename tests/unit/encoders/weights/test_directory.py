from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
from safetensors.torch import load_file, save_file

from mmrec_lib.encoders.config import EncoderConfig, ModelsConfig
from mmrec_lib.encoders.encoder_config import Changes, DirectoryConfig
from mmrec_lib.encoders.kinds import KINDS, Kind, encoder_config, register
from mmrec_lib.encoders.registry import encoder_spec, make_encoder, make_extractor
from mmrec_lib.encoders.spec import EncoderSpec
from mmrec_lib.encoders.weights import directory
from mmrec_lib.encoders.weights.directory import directory_revision, local_directory
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
        encoder_spec(encoder_config(id="mine", kind="text"), ModelsConfig(root=str(tmp_path)))


def test_a_model_that_brings_its_own_code_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    (folder / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Model"}}', encoding="utf-8")
    with pytest.raises(EncoderError, match="code of its own"):
        encoder_spec(encoder_config(id="mine", kind="text"), ModelsConfig(root=str(tmp_path)))


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
    config = encoder_config(id="mine", kind=kind)
    make = make_extractor if kind == "speech" else make_encoder
    with pytest.raises(EncoderError, match="weights"):
        make(config, models).load()


class _Bomb:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def _without(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


def _with_settings(name: str, **settings: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **settings}), encoding="utf-8")

    return change


def _holding(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def _only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Bomb(folder / "ran")))


def _pickle_called_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(_Bomb(folder / "ran")))


_KINDS = ("text", "image", "speech")
FAULTS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "missing": (shutil.rmtree, _KINDS),
    "empty": (lambda folder: [path.unlink() for path in folder.iterdir()] and None, _KINDS),
    "no config": (_without("config.json"), _KINDS),
    "config no JSON": (_holding("config.json", b"{"), _KINDS),
    "config no object": (_holding("config.json", b"[1, 2]"), _KINDS),
    "config no text": (_holding("config.json", b"\xff\xfe\x00"), _KINDS),
    "no family": (_holding("config.json", b"{}"), _KINDS),
    "unknown family": (_with_settings("config.json", model_type="no-such-family"), ("text", "image")),
    "absurd sizes": (_with_settings("config.json", hidden_size="big", d_model="big"), _KINDS),
    "other sizes": (_with_settings("config.json", hidden_size=24, d_model=24), _KINDS),
    "no weights": (_without("model.safetensors"), _KINDS),
    "empty weights": (_holding("model.safetensors", b""), _KINDS),
    "only pickles": (_only_pickles, _KINDS),
    "pickle called safetensors": (_pickle_called_safetensors, _KINDS),
    "code of its own": (_with_settings("config.json", auto_map={"AutoModel": "evil.Model"}), _KINDS),
    "no tokenizer": (_without("tokenizer.json", "tokenizer_config.json"), ("text", "speech")),
    "tokenizer no JSON": (_holding("tokenizer.json", b"{"), ("text", "speech")),
    "no preprocessor": (_without("preprocessor_config.json"), ("image", "speech")),
    "preprocessor no JSON": (_holding("preprocessor_config.json", b"{"), ("image", "speech")),
    "preprocessor no object": (_holding("preprocessor_config.json", b"[]"), ("image", "speech")),
    "preprocessor of nothing": (_holding("preprocessor_config.json", b"{}"), ("image",)),
}


def _load(kind: str, models: ModelsConfig) -> None:
    config = encoder_config(id="mine", kind=kind)
    (make_extractor if kind == "speech" else make_encoder)(config, models).load()


@pytest.mark.parametrize(("fault", "kind"), [(fault, kind) for fault, (_, kinds) in FAULTS.items() for kind in kinds])
def test_a_directory_that_is_no_such_model_is_refused_by_name(
    tiny_models: ModelsConfig, tmp_path: Path, fault: str, kind: str
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(Path(tiny_models.root, f"tiny-{kind}"), folder)
    FAULTS[fault][0](folder)
    with pytest.raises(EncoderError, match="mine"):
        _load(kind, ModelsConfig(root=str(tmp_path)))
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("other", _KINDS)
def test_a_model_of_another_family_is_refused_by_name(
    tiny_models: ModelsConfig, tmp_path: Path, kind: str, other: str
) -> None:
    if kind == other:
        _load(kind, _copied(tiny_models, other, tmp_path))
        return
    with pytest.raises(EncoderError, match="mine"):
        _load(kind, _copied(tiny_models, other, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("kind", _KINDS)
def test_pickles_and_code_beside_good_weights_are_never_read(
    tiny_models: ModelsConfig, tmp_path: Path, kind: str
) -> None:
    models = _copied(tiny_models, kind, tmp_path)
    folder = tmp_path / "mine"
    for name in ("pytorch_model.bin", "training_args.bin", "vocab.pkl", "optimizer.pt", "tf_model.h5"):
        (folder / name).write_bytes(pickle.dumps(_Bomb(folder / "ran")))
    for name in ("modeling_mine.py", "tokenization_mine.py", "__init__.py"):
        (folder / name).write_text(f"open({str(folder / 'ran')!r}, 'w')", encoding="utf-8")
    _load(kind, models)
    assert not (folder / "ran").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "speech"])
def test_a_tokenizer_that_needs_code_of_its_own_is_refused_or_read_without_it(
    tiny_models: ModelsConfig, tmp_path: Path, kind: str
) -> None:
    models = _copied(tiny_models, kind, tmp_path)
    folder = tmp_path / "mine"
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')", encoding="utf-8")
    classes = {"AutoTokenizer": ["evil.Tokenizer", "evil.TokenizerFast"]}
    _with_settings("tokenizer_config.json", auto_map=classes, tokenizer_class="EvilTokenizer")(folder)
    with contextlib.suppress(EncoderError):
        _load(kind, models)
    assert not (folder / "ran").exists()


def _copied(models: ModelsConfig, kind: str, folder: Path) -> ModelsConfig:
    shutil.copytree(Path(models.root, f"tiny-{kind}"), folder / "mine")
    return ModelsConfig(root=str(folder))


def test_directory_behind_a_uri_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    remote = write_model(tmp_path / "remote" / "mine")
    monkeypatch.setattr("mmrec_lib.encoders.weights.directory.LOCAL_SCHEMES", ())
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
    config = encoder_config(id="mine", kind="text")
    changed = config.model_copy(update=change)
    assert encoder_spec(config, models).revision != encoder_spec(changed, models).revision


def test_settings_that_only_change_speed_do_not(tmp_path: Path) -> None:
    write_model(tmp_path / "mine")
    models = ModelsConfig(root=str(tmp_path))
    config = encoder_config(id="mine", kind="text")
    changed = config.model_copy(update={"batch_tokens": 7})
    assert encoder_spec(config, models) == encoder_spec(changed, models)


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        ("text", {"max_labels": 3}),
        ("image", {"pooling": "cls"}),
        ("speech", {"batch_tokens": 64}),
        ("joint", {"prompt": "query: "}),
        ("sentiment", {"dtype": "bfloat16"}),
        ("sound_statistics", {"directory": "mine"}),
        ("image", {"text_directory": "mine"}),
    ],
)
def test_a_setting_that_a_kind_does_not_read_is_refused_by_name(kind: str, setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=rf"mine.*kind {kind} reads.*got {next(iter(setting))}"):
        encoder_config(id="mine", kind=kind, **setting)


def test_a_misspelled_setting_is_answered_with_the_right_one() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean `min_probability` instead of `min_probabilty`"):
        ModelsConfig.model_validate({"encoders": {"mine": {"kind": "labels", "min_probabilty": 0.2}}})


def test_a_kind_that_was_renamed_is_answered_with_its_new_names() -> None:
    with pytest.raises(ConfigError, match=r"`words` was renamed, write `tfidf` or `word2vec`"):
        ModelsConfig.model_validate({"encoders": {"mine": {"kind": "words"}}})


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"a kind of .*image.*got `imge`. Did you mean `image`"):
        ModelsConfig.model_validate({"encoders": {"mine": {"kind": "imge"}}})


def test_a_field_must_say_whether_it_changes_results() -> None:
    with pytest.raises(TypeError, match="got none or several for size"):

        class Undeclared(EncoderConfig):
            kind: str = "undeclared"
            size: int = 3


class PlantedConfig(DirectoryConfig):
    """A kind that a test adds."""

    kind: str = "planted"
    size: Annotated[int, Changes.RESULTS] = 3
    batch: Annotated[int, Changes.SPEED] = 1


def test_a_new_kind_is_a_config_class_and_one_registration(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    write_model(tmp_path / "mine")
    request.addfinalizer(lambda: KINDS.pop("planted"))
    register(Kind(PlantedConfig, "planted:Planted", "vectors", "image", "image", 1, dim=lambda config, _: config.size))

    def spec(**settings: object) -> EncoderSpec:
        entry = {"kind": "planted", "directory": "mine", **settings}
        models = ModelsConfig.model_validate({"root": str(tmp_path), "encoders": {"own": entry}})
        return encoder_spec(models.encoder("own", "planted"), models)

    assert spec().dim == 3 and spec(size=5).dim == 5
    assert spec().revision == spec(batch=8).revision != spec(size=5).revision
    with pytest.raises(ConfigError, match=r"kind planted reads are needed \(batch, directory, size\), got max_labels"):
        spec(max_labels=3)


def test_packaged_models_stay_when_one_is_added() -> None:
    given = {"mine": {"kind": "text"}, "whisper-tiny-en": {"language": "en"}}
    models = ModelsConfig.model_validate({"encoders": given})
    assert models.encoder("mine", "text").directories() == {"directory": "mine"}
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
        "import sys; import mmrec_lib.encoders.weights.prepare, mmrec_lib.encoders.registry, mmrec_lib.encoders.config;"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    directory._private_cache.cache_clear()
    return tmp_path


def test_the_machine_s_cache_is_private(temporary_folder: Path) -> None:
    cache = directory.machine_cache()
    assert cache == directory.machine_cache()
    assert cache.parent == temporary_folder and cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_cache_that_others_can_write_to_is_not_used(
    temporary_folder: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    cache = directory.machine_cache()
    cache.chmod(mode)
    mine = directory.machine_cache()
    assert mine != cache and mine.stat().st_mode & 0o777 == 0o700
    assert directory.machine_cache() == mine
    assert str(cache) in caplog.text
    cache.chmod(0o700)
    assert directory.machine_cache() == cache


def test_a_cache_that_is_a_link_or_somebody_else_s_is_not_used(
    temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = directory.machine_cache()
    monkeypatch.setattr("os.getuid", lambda: cache.stat().st_uid + 1)
    assert directory.machine_cache() != cache
    monkeypatch.undo()
    monkeypatch.setattr("tempfile.tempdir", str(temporary_folder))
    cache.rmdir()
    (temporary_folder / "planted").mkdir()
    cache.symlink_to(temporary_folder / "planted")
    assert directory.machine_cache().parent == temporary_folder
    assert directory.machine_cache().resolve() != (temporary_folder / "planted").resolve()
