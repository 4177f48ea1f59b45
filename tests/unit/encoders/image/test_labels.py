from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ResNetForImageClassification

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.image.preprocessing import ImagePreprocessing
from mmrec_lib.encoders.registry import encoder_spec, make_extractor
from mmrec_lib.encoders.spec import Extractor
from mmrec_lib.errors import EncoderError
from tests.unit.encoders.tiny_models import image_bytes
from tests.unit.encoders.tiny_vision import LABELS, make_vision_model, resnet, resnet_classifier, vit_classifier


def labels_model(directory: Path, **settings: object) -> ModelsConfig:
    encoders = {"tiny-labels": {"kind": "labels", "directory": directory.name, "dtype": "float32", **settings}}
    return ModelsConfig.model_validate({"root": str(directory.parent), "encoders": encoders, "backend": "torch"})


def extractor_of(models: ModelsConfig) -> Extractor:
    extractor = make_extractor(models.encoder("tiny-labels", "labels"), models)
    extractor.load()
    return extractor


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "resnet"
    make_vision_model(made, resnet_classifier)
    return made


def probabilities(directory: Path, content: bytes) -> np.ndarray:
    model = ResNetForImageClassification.from_pretrained(directory).eval()
    pixels = torch.from_numpy(ImagePreprocessing.from_directory(directory).fit(content).copy())
    with torch.inference_mode():
        logits = model((pixels.permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.5).logits
    return logits.softmax(-1)[0].numpy()


def test_labels_come_in_the_order_of_their_probabilities(directory: Path) -> None:
    content = image_bytes(0)
    expected = probabilities(directory, content)
    order = np.argsort(-expected)[:3]
    models = labels_model(directory, max_labels=3, min_probability=0.0, language="en")
    (found,) = extractor_of(models).extract([content])
    assert found.text == ", ".join(LABELS[index] for index in order)
    assert [span.text for span in found.spans] == [LABELS[index] for index in order]
    assert [span.confidence for span in found.spans] == pytest.approx(expected[order].tolist(), abs=1e-4)
    assert found.confidence == pytest.approx(float(expected[order].sum()), abs=1e-4)
    assert found.language == "en"


def test_labels_below_the_least_probability_are_left_out(directory: Path) -> None:
    content = image_bytes(0)
    expected = np.sort(probabilities(directory, content))[::-1]
    between = float(expected[:2].mean())
    (one,) = extractor_of(labels_model(directory, min_probability=between)).extract([content])
    assert len(one.spans) == 1
    (none,) = extractor_of(labels_model(directory, min_probability=1.0)).extract([content])
    assert (none.text, none.spans, none.confidence, none.error) == ("", (), None, None)


def test_images_that_cannot_be_decoded_are_rows_with_an_error(directory: Path) -> None:
    found = extractor_of(labels_model(directory, min_probability=0.0)).extract([b"", image_bytes(0), None, "text"])
    assert [result.error is None for result in found] == [False, True, False, False]
    assert [result.text is None for result in found] == [True, False, True, True]


def test_classes_of_one_name_are_one_label(directory: Path, tmp_path: Path) -> None:
    twins = tmp_path / "twins"
    make_vision_model(twins, resnet_classifier)
    settings = json.loads((twins / "config.json").read_text(encoding="utf-8"))
    settings["id2label"] = {index: "thing" for index in settings["id2label"]}
    (twins / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    (found,) = extractor_of(labels_model(twins, min_probability=0.0)).extract([image_bytes(0)])
    assert found.text == "thing" and found.confidence == pytest.approx(1.0, abs=1e-5)


def test_labels_that_do_not_exclude_each_other_need_not_sum_to_one(tmp_path: Path) -> None:
    many = tmp_path / "many"
    make_vision_model(many, vit_classifier)
    settings = json.loads((many / "config.json").read_text(encoding="utf-8"))
    settings["problem_type"] = "multi_label_classification"
    (many / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    (found,) = extractor_of(labels_model(many, min_probability=0.0)).extract([image_bytes(0)])
    # The logits of this model are near 0, and so every probability is near a half.
    assert [span.confidence for span in found.spans] == pytest.approx([0.5] * len(LABELS), abs=0.1)


def test_classifiers_without_names_or_weights_are_refused(directory: Path, tmp_path: Path) -> None:
    make_vision_model(tmp_path / "no-head", resnet)
    with pytest.raises(EncoderError, match="id2label"):
        extractor_of(labels_model(tmp_path / "no-head"))
    settings = json.loads((tmp_path / "no-head" / "config.json").read_text(encoding="utf-8"))
    settings["id2label"] = {"0": "shoe", "1": "hat"}
    (tmp_path / "no-head" / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(EncoderError, match="classifier"):
        extractor_of(labels_model(tmp_path / "no-head"))


def test_revision_follows_what_changes_labels(directory: Path) -> None:
    specs = [
        encoder_spec(models.encoder("tiny-labels", "labels"), models)
        for models in (labels_model(directory), labels_model(directory, max_labels=2))
    ]
    assert specs[0].revision != specs[1].revision
    assert (specs[0].modality, specs[0].input_kind, specs[0].dim) == ("labels", "image", None)
