"""Words read and processor seconds an image, against rapidocr with ONNX Runtime in the same run.

    python -m tests.benchmarks.ocr [--labels 100] [--images <folder> --num-images 120] [--out bench/ocr.json]

Both sides see the same images in turns of a few, on one thread. All words of generated labels are known; of other
images words count that the reference read with a confidence above 0.9, and which of them are read now.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_extractor
from mmrec_lib.encoders.spec import ExtractedText, Extractor
from tests.benchmarks.ocr_reference import ReferenceExtractor
from tests.data.labels import draw_label, words_read

_TURN_IMAGES = 20
_SURE = 0.9


@dataclass
class Side:
    """One way of reading text, and what it took.

    Attributes:
        extractor: Loaded.
        seconds: Of the processor.
        texts: One an image.
    """

    extractor: Extractor
    seconds: float = 0.0
    texts: list[ExtractedText] = field(default_factory=list)

    def read(self, images: Sequence[bytes]) -> None:
        """Read the next images."""
        started = time.process_time()
        self.texts += self.extractor.extract(images)
        self.seconds += time.process_time() - started


def make_sides() -> tuple[Extractor, Extractor]:
    """The extractor and the reference, loaded."""
    models = ModelsConfig(threads=1)
    config = models.encoder("rapidocr", "ocr")
    now = make_extractor(config, models)
    reference = ReferenceExtractor(now.spec, config, None, models)
    for extractor in (now, reference):
        extractor.load()
        extractor.extract([draw_label(0)[0]])
    return now, reference


def compare(sides: tuple[Extractor, Extractor], images: Sequence[bytes]) -> tuple[Side, Side]:
    """Both read all images, in turns."""
    now, reference = Side(sides[0]), Side(sides[1])
    for start in range(0, len(images), _TURN_IMAGES):
        now.read(images[start : start + _TURN_IMAGES])
        reference.read(images[start : start + _TURN_IMAGES])
    return now, reference


def measure_labels(sides: tuple[Extractor, Extractor], num_labels: int) -> dict[str, float]:
    """Share of the words of generated labels that each side reads, and the ratio of their times."""
    labels = [draw_label(seed) for seed in range(num_labels)]
    now, reference = compare(sides, [image for image, _ in labels])
    num_words = sum(len(words) for _, words in labels)
    read = [
        sum(words_read(found.text or "", words) for found, (_, words) in zip(side.texts, labels, strict=True))
        for side in (now, reference)
    ]
    return {
        **_times(now, reference),
        "words": num_words,
        "words_read": read[0],
        "reference_words_read": read[1],
        "word_accuracy": read[0] / num_words,
        "reference_word_accuracy": read[1] / num_words,
    }


def measure_images(sides: tuple[Extractor, Extractor], images: Sequence[bytes]) -> dict[str, float]:
    """Ratio of times, words, and how many of those that the reference is sure of are read."""
    now, reference = compare(sides, images)
    pairs = list(zip(now.texts, reference.texts, strict=True))
    sure = [_words(old, _SURE) for _, old in pairs]
    return {
        **_times(now, reference),
        "with_text": sum(bool(found.text) for found in now.texts),
        "reference_with_text": sum(bool(found.text) for found in reference.texts),
        "sure_words": sum(_words(found, _SURE).total() for found in now.texts),
        "reference_sure_words": sum(words.total() for words in sure),
        "reference_sure_words_read": sum(
            (words & _words(found, 0.0)).total() for words, (found, _) in zip(sure, pairs, strict=True)
        ),
    }


def _times(now: Side, reference: Side) -> dict[str, float]:
    return {
        "images": len(now.texts),
        "seconds_an_image": now.seconds / len(now.texts),
        "reference_seconds_an_image": reference.seconds / len(reference.texts),
        "speedup": reference.seconds / now.seconds,
    }


def _words(found: ExtractedText, confidence: float) -> Counter[str]:
    spans = (span for span in found.spans if (span.confidence or 0.0) >= confidence)
    return Counter(word for span in spans for word in span.text.lower().split())


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.ocr", description=__doc__)
    parser.add_argument("--labels", type=int, default=100, help="labels to draw")
    parser.add_argument("--images", type=Path, help="folder of images to read besides")
    parser.add_argument("--num-images", type=int, default=120)
    parser.add_argument("--out", type=Path, help="file for the figures")
    options = parser.parse_args(arguments)
    sides = make_sides()
    results = {"labels": measure_labels(sides, options.labels)}
    if options.images is not None:
        paths = sorted(options.images.glob("*.jpg"))
        step = max(1, len(paths) // options.num_images)
        results["images"] = measure_images(sides, [path.read_bytes() for path in paths[::step][: options.num_images]])
    for name, figures in results.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()), flush=True)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
