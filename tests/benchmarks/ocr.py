"""Words read and processor seconds an image, against rapidocr with ONNX Runtime in the same run.

    python -m tests.benchmarks.ocr [--labels 100] [--data <landing folder> ...] [--num-images 120] [--out ocr.json]

Both sides see the same images in turns of a few, on one thread. All words of generated labels are known. Of the images
of a landing folder three things count: the words of their items (title, cast and so on, without the description) that
each side reads, the words of which each side is sure (a confidence of 0.9), and which of those of the reference are
read now. The last is never all: where a box moves by a pixel, either side may read a word that the other misreads, or
see a space that the other does not; so it is counted by letters, too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_extractor
from mmrec_lib.encoders.spec import ExtractedText, Extractor
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.images import check_image
from tests.benchmarks.ocr_reference import ReferenceExtractor
from tests.data.labels import draw_label, words_read

SAMPLE_STORE = Path(__file__).parents[1] / "data" / "store"

_TURN_IMAGES = 20
_SURE = 0.9
_WORD = re.compile(r"[^\W_]{3,}")


@dataclass(frozen=True)
class ItemImage:
    """An image of an item.

    Attributes:
        content: Bytes of its file.
        words: Words of the item, some of which may be on the image.
    """

    content: bytes
    words: frozenset[str]


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


def measure_images(sides: tuple[Extractor, Extractor], images: Sequence[ItemImage]) -> dict[str, float]:
    """Ratio of times, known words, and words of which the sides are sure."""
    now, reference = compare(sides, [image.content for image in images])
    pairs = list(zip(now.texts, reference.texts, strict=True))
    sure = [_words(old, _SURE) for _, old in pairs]
    letters = [_letters(found.text or "") for found in now.texts]
    return {
        **_times(now, reference),
        "with_text": sum(bool(found.text) for found in now.texts),
        "reference_with_text": sum(bool(found.text) for found in reference.texts),
        "known_words_read": _known_words_read(now, images),
        "reference_known_words_read": _known_words_read(reference, images),
        "sure_words": sum(_words(found, _SURE).total() for found in now.texts),
        "reference_sure_words": sum(words.total() for words in sure),
        "reference_sure_words_read": sum(
            (words & _words(found, 0.0)).total() for words, (found, _) in zip(sure, pairs, strict=True)
        ),
        "reference_sure_words_read_by_letters": sum(
            count
            for words, text in zip(sure, letters, strict=True)
            for word, count in words.items()
            if _letters(word) in text
        ),
    }


def item_images(folder: Path, num_images: int) -> list[ItemImage]:
    """Images of a landing folder that can be decoded, evenly chosen, with the words of their items."""
    words: dict[str, frozenset[str]] = {}
    for line in (folder / "items.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError):  # the sample store has broken lines
            item = json.loads(line)
            known = " ".join(str(value) for key, value in item.items() if key not in ("description", "item_id"))
            for name in [item.get("image"), *_listed(item.get("images"))]:
                if isinstance(name, str):
                    words[Path(name).name] = frozenset(_WORD.findall(known.lower()))
    found = []
    for path in sorted((folder / "images").rglob("*.jpg")):
        content = path.read_bytes()
        with contextlib.suppress(MediaError):
            check_image(content)
            found.append(ItemImage(content, words.get(path.name, frozenset())))
    return found[:: max(1, len(found) // num_images)][:num_images]


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _known_words_read(side: Side, images: Sequence[ItemImage]) -> int:
    pairs = zip(side.texts, images, strict=True)
    return sum(len(image.words.intersection(_WORD.findall((found.text or "").lower()))) for found, image in pairs)


def _letters(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


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
    parser.add_argument("--data", type=Path, nargs="*", default=[SAMPLE_STORE], help="landing folders with images")
    parser.add_argument("--num-images", type=int, default=120, help="images of each folder")
    parser.add_argument("--out", type=Path, help="file for the figures")
    options = parser.parse_args(arguments)
    sides = make_sides()
    results = {"labels": measure_labels(sides, options.labels)}
    for folder in options.data:
        results[folder.name] = measure_images(sides, item_images(folder, options.num_images))
    for name, figures in results.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()), flush=True)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
