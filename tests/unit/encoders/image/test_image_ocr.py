from __future__ import annotations

import io
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmrec_lib.encoders import registry
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.image import ocr, ocr_networks
from mmrec_lib.encoders.image.ocr import reading_order
from mmrec_lib.encoders.registry import encoder_spec, make_extractor
from mmrec_lib.encoders.spec import Extractor
from mmrec_lib.errors import EncoderError
from tests.benchmarks.ocr_reference import ReferenceExtractor
from tests.data.labels import draw_label, words_read
from tests.unit.encoders.tiny_models import image_bytes


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    models = ModelsConfig()
    made = make_extractor(models.encoder("rapidocr", "ocr"), models)
    made.load()
    return made


def blank(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(file, "PNG")
    return file.getvalue()


def test_words_of_rotated_and_blurred_labels_are_read(extractor: Extractor) -> None:
    labels = [draw_label(seed) for seed in (1, 2)]
    found = extractor.extract([image for image, _ in labels])
    for result, (_, words) in zip(found, labels, strict=True):
        assert words_read(result.text or "", words) >= 0.9 * len(words), (result.text, words)
        assert result.text == "\n".join(span.text for span in result.spans)
        assert result.confidence is not None and result.confidence > 0.8
        assert all(span.confidence is not None and 0.5 <= span.confidence <= 1 for span in result.spans)


def turned(image: bytes, degrees: int) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(image)).rotate(degrees, expand=True).save(file, "PNG")
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_text_that_is_turned_is_read_in_its_order(extractor: Extractor, degrees: int) -> None:
    images = [draw_label(seed)[0] for seed in (1, 2, 3)]
    upright = extractor.extract(images)
    for result, expected in zip(extractor.extract([turned(p, degrees) for p in images]), upright, strict=True):
        lines, wanted = ((one.text or "").lower().split("\n") for one in (result, expected))
        assert len(wanted) > 2
        # A letter may be read in another way; the order of lines may not change.
        assert [SequenceMatcher(None, a, b).ratio() > 0.8 for a, b in zip(lines, wanted, strict=True)] == [True] * len(
            wanted
        ), (lines, wanted)


def test_images_without_text_are_empty_and_broken_ones_errors(extractor: Extractor) -> None:
    good = image_bytes(0)
    found = extractor.extract([blank(60, 40), blank(1, 1), b"", None, b"no image", good[: len(good) // 2], "text"])
    assert [result.text for result in found] == ["", "", None, None, None, None, None]
    assert [result.error is None for result in found] == [True, True, False, False, False, False, False]
    assert "media_truncated" in str(found[5].error)


@pytest.mark.parametrize("size", [(10, 3_000), (3_000, 10)])
def test_very_long_images_do_not_grow_without_bound(extractor: Extractor, size: tuple[int, int]) -> None:
    (found,) = extractor.extract([blank(*size)])
    assert found.text == "" and found.error is None


def test_lines_that_the_model_is_not_sure_of_are_left_out() -> None:
    models = ModelsConfig.model_validate({"encoders": {"sure": {"kind": "ocr", "min_confidence": 1.0}}})
    strict = make_extractor(models.encoder("sure", "ocr"), models)
    strict.load()
    assert strict.extract([draw_label(1)[0]])[0].text == ""


def test_reading_needs_no_model_directory_and_knows_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models = ModelsConfig(root=str(tmp_path / "nothing"))
    config = models.encoder("rapidocr", "ocr")
    spec = encoder_spec(config, models)
    assert (spec.modality, spec.input_kind, spec.dim) == ("ocr", "image", None)
    assert encoder_spec(config.model_copy(update={"min_confidence": 0.9}), models).revision != spec.revision
    monkeypatch.setattr(registry, "version", lambda package: "0.0.1")
    assert encoder_spec(config, models).revision != spec.revision


def test_package_without_its_weights_is_refused_rather_than_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models = ModelsConfig()
    made = make_extractor(models.encoder("rapidocr", "ocr"), models)
    monkeypatch.setattr("rapidocr.__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(EncoderError, match="must bring its weights"):
        made.load()


@pytest.mark.parametrize("degrees", [0, 7, -7, 25])
def test_reading_order_follows_the_direction_of_the_text(degrees: float) -> None:
    # Two columns of two rows, the left one a little lower, as detectors find them.
    corners = np.array([[0, 0], [100, 0], [100, 20], [0, 20]], np.float32)
    boxes = np.stack([corners + offset for offset in ([300, 40], [0, 44], [300, 0], [0, 4])])
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    assert reading_order(boxes @ turn.T) == [3, 2, 1, 0]


def test_nothing_has_no_order() -> None:
    assert reading_order(np.zeros((0, 4, 2), np.float32)) == []


def test_words_are_counted_as_often_as_they_were_drawn() -> None:
    assert words_read("Red shoe red", ["RED", "red", "red", "shoe"]) == 3


def photo(width: int, height: int, label: bytes | None = None, scale: float = 1.0) -> bytes:
    """A soft landscape, and a label in its middle."""
    ramp = np.linspace(60, 200, height)[:, None, None] + np.linspace(-40, 40, width)[None, :, None]
    image = Image.fromarray(np.broadcast_to(ramp, (height, width, 3)).clip(0, 255).astype(np.uint8))
    if label is not None:
        drawn = Image.open(io.BytesIO(label))
        part = drawn.resize((round(drawn.width * scale), round(drawn.height * scale)), Image.Resampling.LANCZOS)
        image.paste(part, ((width - part.width) // 2, (height - part.height) // 2))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.slow
def test_an_image_gets_the_same_text_alone_and_among_others(extractor: Extractor) -> None:
    images = [draw_label(seed)[0] for seed in range(10, 12)] + [
        photo(300, 440),
        b"no image",
        turned(draw_label(3)[0], 180),
    ]
    together = extractor.extract(images)
    assert together == [extractor.extract([image])[0] for image in images]
    assert extractor.extract(images[::-1]) == together[::-1]
    assert sum(bool(result.text) for result in together) == 3


@pytest.mark.parametrize(("width", "height", "side_px"), [(300, 440, 448), (900, 500, 500)])
def test_the_finder_sees_small_images_enlarged_and_large_ones_as_they_are(
    extractor: Extractor, monkeypatch: pytest.MonkeyPatch, width: int, height: int, side_px: int
) -> None:
    networks = extractor._networks  # type: ignore[attr-defined]
    sides: list[int] = []
    find = networks.find

    def noting(image: np.ndarray, short_side_px: int) -> np.ndarray:
        sides.append(short_side_px)
        boxes: np.ndarray = find(image, short_side_px)
        return boxes

    monkeypatch.setattr(networks, "find", noting)
    assert extractor.extract([photo(width, height)])[0].text == "" and sides == [side_px]


def test_small_text_of_a_large_image_is_read(extractor: Extractor) -> None:
    image, words = draw_label(4)
    small = extractor.extract([photo(900, 1200, image, 0.5)])[0]
    assert words_read(small.text or "", words) == len(words)


@pytest.mark.slow
def test_text_is_as_rapidocr_with_onnx_runtime_reads_it(extractor: Extractor) -> None:
    models = ModelsConfig(threads=1)
    reference = ReferenceExtractor(extractor.spec, models.encoder("rapidocr", "ocr"), None, models)
    reference.load()
    images = [draw_label(seed)[0] for seed in range(30, 32)] + [photo(300, 440)]
    assert [one.text for one in extractor.extract(images)] == [one.text for one in reference.extract(images)]


@pytest.mark.slow
def test_no_word_of_labels_is_lost(extractor: Extractor) -> None:
    labels = [draw_label(seed) for seed in range(20, 28)]
    found = extractor.extract([image for image, _ in labels])
    num_read = sum(words_read(one.text or "", words) for one, (_, words) in zip(found, labels, strict=True))
    assert num_read >= 0.99 * sum(len(words) for _, words in labels)


@pytest.mark.slow
def test_images_of_a_size_that_comes_often_are_read_as_before(
    extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ocr_networks, "_OFTEN", 2)
    networks = ocr_networks.OcrNetworks("reader", 1)
    images = [ocr._decoded(image) for image in (draw_label(40)[0], photo(300, 440, draw_label(41)[0], 0.4))]
    for image in images:
        before, *after = (networks.find(image, 448) for _ in range(3))
        assert len(before) and all(np.array_equal(before, boxes) for boxes in after)
    assert len(networks._finder._of_size) == 2


def test_memory_of_finders_compiled_for_a_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr_networks, "_OFTEN", 1)
    monkeypatch.setattr(ocr_networks, "_COMPILED_PIXELS", 2 * 64 * 64)
    networks = ocr_networks.OcrNetworks("reader", 1)
    for width in (64, 96, 64, 128):
        networks.find(np.zeros((64, width, 3), np.uint8), 64)
    assert list(networks._finder._of_size) == [(1, 3, 64, 64)]
