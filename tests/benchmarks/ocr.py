"""Share of the words read on generated labels, and seconds an image: `python -m tests.benchmarks.ocr`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_extractor
from tests.data.labels import draw_label, words_read


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.ocr", description=__doc__)
    parser.add_argument("--labels", type=int, default=100, help="labels to draw")
    parser.add_argument("--images", type=Path, help="folder of images to time besides")
    options = parser.parse_args()
    models = ModelsConfig()
    extractor = make_extractor(models.encoder("rapidocr", "ocr"), models)
    extractor.load()
    extractor.extract([draw_label(0)[0]])
    num_words = num_read = 0
    seconds = 0.0
    for seed in range(options.labels):
        image, words = draw_label(seed)
        started = time.process_time()
        (found,) = extractor.extract([image])
        seconds += time.process_time() - started
        count = words_read(found.text or "", words)
        num_words, num_read = num_words + len(words), num_read + count
        if count < len(words):
            print(f"label {seed}: {count} of {len(words)}: {words} as {found.text!r}")
    print(
        f"{num_read} of {num_words} words read ({num_read / num_words:.2%}), {seconds / options.labels:.2f} s a label"
    )
    if options.images is not None:
        contents = [path.read_bytes() for path in sorted(options.images.glob("*.jpg"))[: options.labels]]
        started = time.process_time()
        results = extractor.extract(contents)
        seconds = (time.process_time() - started) / max(1, len(contents))
        print(f"{len(contents)} images, {sum(bool(found.text) for found in results)} with text: {seconds:.2f} s each")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
