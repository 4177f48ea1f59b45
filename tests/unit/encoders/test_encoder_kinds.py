"""Kinds of encoders are an open union: config class, identity and refusals follow from what a kind declares."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import ValidationError

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.encoder_config import Changes, DirectoryConfig, EncoderConfig
from mmrec_lib.encoders.image.config import ImageConfig
from mmrec_lib.encoders.kinds import KINDS, Kind, register
from mmrec_lib.encoders.registry import encoder_spec, make_encoder
from mmrec_lib.encoders.spec import EncodeResult, EncoderInput, EncoderSpec
from mmrec_lib.encoders.text.word_model import save_word_model
from mmrec_lib.errors import ConfigError, EncoderError


class LengthConfig(EncoderConfig):
    """A planted kind: the length of a text, in this module with its class."""

    kind: Literal["length"] = "length"
    unit: Annotated[float, Changes.RESULTS] = 1.0
    batch: Annotated[int, Changes.SPEED] = 1
    weights: Annotated[str | None, Changes.WEIGHTS] = None


class LengthEncoder:
    """Vectors of one dimension."""

    def __init__(self, spec: EncoderSpec, config: LengthConfig, directory: None, models: ModelsConfig) -> None:
        self.spec, self._unit = spec, config.unit

    def load(self, device: str = "cpu") -> None:
        """Nothing to load."""

    def encode(self, batch: list[EncoderInput]) -> EncodeResult:
        """Lengths in units."""
        return EncodeResult(
            np.array([[len(str(text)) / self._unit] for text in batch], np.float32), [None] * len(batch)
        )


PLANTED = Kind(
    config=LengthConfig,
    factory=f"{__name__}:LengthEncoder",
    makes="vectors",
    modality="text",
    input_kind="text",
    method=1,
    dim=lambda _, __: 1,
)


@pytest.fixture
def planted() -> Iterator[None]:
    register(PLANTED)
    yield
    del KINDS["length"]


def models_of(root: Path, **entry: object) -> ModelsConfig:
    return ModelsConfig.model_validate({"root": str(root), "encoders": {"mine": entry}})


def revision(root: Path, **entry: object) -> str:
    models = models_of(root, kind="length", **entry)
    return encoder_spec(models.encoders["mine"], models).revision


@pytest.mark.usefixtures("planted")
def test_a_new_kind_needs_its_module_and_one_registration(tmp_path: Path) -> None:
    models = models_of(tmp_path, kind="length", unit=2)
    encoder = make_encoder(models.encoder("mine", "length"), models)
    assert (encoder.spec.id, encoder.spec.dim) == ("mine", 1)
    assert encoder.encode(["four"]).vectors.tolist() == [[2.0]]
    # What a worker or a second reader gets says the same.
    assert ModelsConfig.model_validate(json.loads(models.model_dump_json())) == models


@pytest.mark.usefixtures("planted")
def test_a_field_says_itself_whether_it_is_part_of_a_revision(tmp_path: Path) -> None:
    for name, weights in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(weights)
    plain = revision(tmp_path)
    assert revision(tmp_path, batch=7) == plain
    assert revision(tmp_path, unit=2) != plain
    assert revision(tmp_path, weights="a") == revision(tmp_path, weights="b") != revision(tmp_path, weights="c")


def test_a_field_that_declares_nothing_or_two_effects_is_refused_with_its_class() -> None:
    with pytest.raises(TypeError, match=r"Forgetful.*beam"):

        class Forgetful(DirectoryConfig):
            kind: Literal["forgetful"] = "forgetful"
            beam: int = 1

    with pytest.raises(TypeError, match=r"Undecided.*beam"):

        class Undecided(DirectoryConfig):
            kind: Literal["undecided"] = "undecided"
            beam: Annotated[int, Changes.RESULTS, Changes.SPEED] = 1


@pytest.mark.usefixtures("planted")
def test_two_kinds_of_one_name_are_refused() -> None:
    register(PLANTED)
    with pytest.raises(ConfigError, match=r"Kind `length`.*LengthEncoder"):
        register(Kind(LengthConfig, "other:Encoder", "vectors", "text", "text", 1))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_foreign_key_is_refused_with_the_keys_of_its_kind(tmp_path: Path, kind: str) -> None:
    keys = sorted(set(KINDS[kind].config.model_fields) - {"id", "kind"})
    with pytest.raises(ConfigError) as refused:
        models_of(tmp_path, kind=kind, beam_width=3)
    assert f"kind {kind} reads are needed ({', '.join(keys)}), got beam_width" in str(refused.value)
    with pytest.raises(ConfigError, match="got beam_width"):
        KINDS[kind].config.model_validate({"id": "mine", "beam_width": 3})


def test_an_impossible_value_is_named_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as refused:
        models_of(tmp_path, kind="text", max_tokens=1)
    assert refused.value.errors()[0]["loc"] == ("encoders", "mine", "max_tokens")


@pytest.mark.parametrize("given", [7, "text", [], ["text"]])
def test_an_entry_that_is_no_mapping_is_refused(given: object) -> None:
    with pytest.raises(ValidationError):
        ModelsConfig.model_validate({"encoders": {"mine": given}})


def test_a_config_object_takes_the_name_that_it_stands_under() -> None:
    models = ModelsConfig(encoders={"mine": ImageConfig(batch_images=3), "efficientnet-lite0": ImageConfig()})
    assert models.encoders["mine"] == ImageConfig(id="mine", batch_images=3)
    assert models.encoders["efficientnet-lite0"].directories() == {"directory": "efficientnet-lite0"}


@pytest.mark.parametrize(("kind", "method"), [("tfidf", "word2vec"), ("word2vec", "tfidf")])
def test_the_kind_of_a_word_model_is_the_method_of_its_fit(tmp_path: Path, kind: str, method: str) -> None:
    settings: dict[str, Any] = {"method": method, "max_characters": 60}
    save_word_model(tmp_path / "mine", ["red"], np.ones((1, 2), np.float32), np.ones(1, np.float32), settings)
    wrong, right = models_of(tmp_path, kind=kind), models_of(tmp_path, kind=method)
    with pytest.raises(EncoderError, match=f"fitted by {method}, got kind {kind}"):
        make_encoder(wrong.encoders["mine"], wrong).load()
    make_encoder(right.encoders["mine"], right).load()


def test_configs_of_all_kinds_are_read_without_importing_a_network_library() -> None:
    code = (
        "import sys; from mmrec_lib.encoders.config import ModelsConfig; ModelsConfig();"
        "sys.exit(', '.join({'torch', 'transformers', 'openvino', 'onnxruntime'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
