from __future__ import annotations

import json
from pathlib import Path

from mmrec_lib.encoders.spec import EncoderInput, EncoderSpec, ExtractedText, Span
from tests.benchmarks.ocr import item_images, measure_images
from tests.unit.encoders.tiny_models import image_bytes


class Reader:
    """Reads the same of each image."""

    def __init__(self, *lines: tuple[str, float]) -> None:
        self.lines = lines

    @property
    def spec(self) -> EncoderSpec:
        raise NotImplementedError

    def load(self, device: str = "cpu") -> None:
        raise NotImplementedError

    def extract(self, batch: list[EncoderInput]) -> list[ExtractedText]:
        text = "\n".join(line for line, _ in self.lines)
        return [ExtractedText(text, spans=tuple(Span(line, score) for line, score in self.lines)) for _ in batch]


def test_words_of_items_and_those_that_the_reference_is_sure_of_are_counted(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(image_bytes(0))
    (tmp_path / "images" / "broken.jpg").write_bytes(b"no image")
    item = {
        "item_id": "one",
        "title": "Big Fish",
        "description": "Whale",
        "cast": ["Gary Cooper"],
        "image": "images/a.jpg",
    }
    (tmp_path / "items.jsonl").write_text(json.dumps(item) + "\n{broken\n", encoding="utf-8")
    images = item_images(tmp_path, 10)
    assert len(images) == 1 and {"big", "fish", "gary", "cooper"} <= images[0].words
    assert not {"whale", "one"} & images[0].words
    now = Reader(("BIG FISH", 0.95), ("Gary Cooper", 0.6))
    reference = Reader(("Big", 0.95), ("garycooper", 0.9), ("whale", 0.6))
    found = measure_images((now, reference), images)  # type: ignore[arg-type]
    assert (found["known_words_read"], found["reference_known_words_read"]) == (4, 1)
    assert (found["sure_words"], found["reference_sure_words"]) == (2, 2)
    assert (found["reference_sure_words_read"], found["reference_sure_words_read_by_letters"]) == (1, 2)
