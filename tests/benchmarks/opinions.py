"""What the model of ratings is worth on real sentences, beside the lexicon alone and at several numbers of reviews.

    python -m tests.benchmarks.opinions <file> [--sizes 50 200 800 3000]

The file is one of the `*_GroundTruth.txt` that come with the source of vaderSentiment (Hutto and Gilbert 2014): an id,
the mean of 20 people's ratings from -4 to 4, and a sentence, with tabs between. Ratings become stars from 1 to 5;
sentences of one document are never in two parts. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import zlib
from pathlib import Path

import numpy as np

from mmrec_lib.opinions.config import OpinionConfig
from mmrec_lib.opinions.lexicon import NEUTRAL_BELOW, lexicon_scores
from mmrec_lib.opinions.ratings import TEST, TRAIN, VALID, fit_ratings, measure

CONFIG = OpinionConfig(negative_max=2.5, positive_min=3.5)


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.opinions", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 200, 800, 3000])
    flags = parser.parse_args(argv)
    rows = [line.split("\t") for line in flags.file.read_text(encoding="utf-8", errors="replace").splitlines()]
    rows = [row for row in rows if len(row) >= 3]
    texts = [row[2] for row in rows]
    stars = np.clip(3 + np.array([float(row[1]) for row in rows]) / 2, 1, 5)
    place = np.array([zlib.crc32(row[0].split("_")[0].encode()) % 5 for row in rows])
    held_out = np.flatnonzero(place == 0)
    scores = lexicon_scores([texts[row] for row in held_out.tolist()])
    sentiments = (scores > -NEUTRAL_BELOW).astype(int) + (scores >= NEUTRAL_BELOW)
    found = {"lexicon": measure(stars[held_out], 3 + 2 * scores, sentiments, CONFIG)}
    others = np.random.default_rng(0).permutation(np.flatnonzero(place != 0))
    for size in flags.sizes:
        chosen = [*others[:size].tolist(), *held_out.tolist()]
        known = min(size, len(others))
        parts = [VALID if row % 4 == 0 else TRAIN for row in range(known)] + [TEST] * len(held_out)
        found[f"fitted on {known}"] = fit_ratings([texts[row] for row in chosen], stars[chosen], parts, CONFIG).metrics
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
