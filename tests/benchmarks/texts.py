"""How well vectors of descriptions find items of the same genre: `python -m tests.benchmarks.texts --data FOLDER`.

Every item's ten nearest by cosine are looked up. `shared` is the share of them that have a genre with it in common,
`overlap` their mean Jaccard similarity of genres; both are also given as a ratio to two items drawn at random.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmrec_lib.embedding.fit_word_model import fit_word_model
from mmrec_lib.embedding.word_model_config import WordModelConfig
from mmrec_lib.encoders.config import EncoderConfig, ModelsConfig
from mmrec_lib.encoders.kinds import encoder_config
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.lakehouse.config import SparkConfig
from mmrec_lib.lakehouse.session import build_session

NEIGHBOURS = 10

Matrix = npt.NDArray[np.float32]


def read_items(data: Path) -> tuple[list[str], list[frozenset[str]]]:
    """Descriptions and genres of items that have both."""
    file = data / "items.jsonl"
    if not file.is_file():
        raise SystemExit(f"There is no {file}: --data must name a folder with items that have categories.")
    items = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    kept = [item for item in items if item.get("description") and item.get("categories")]
    # Several copies of an item would find each other.
    unique = {item["description"]: frozenset(item["categories"]) for item in kept}
    return list(unique), list(unique.values())


def overlaps(genres: Sequence[frozenset[str]]) -> tuple[Matrix, Matrix]:
    """Whether two share a genre, and the Jaccard similarity of their genres: `[n, n]` each, zero at itself."""
    names = sorted(frozenset().union(*genres))
    has = np.array([[name in of for name in names] for of in genres], np.float32)
    common = has @ has.T
    sizes = has.sum(axis=1)
    jaccard = common / (sizes[:, None] + sizes[None, :] - common)
    shared = (common > 0).astype(np.float32)
    for matrix in (shared, jaccard):
        np.fill_diagonal(matrix, 0)
    return shared, jaccard


def nearest(vectors: Matrix) -> npt.NDArray[np.int64]:
    """The nearest others of each row, by cosine: `[n, NEIGHBOURS]`."""
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1, kind="stable")[:, :NEIGHBOURS]


def main() -> None:
    """Print a line a model."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.texts")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", default="models", help="folder of the packaged models")
    parser.add_argument("--dim", type=int, default=WordModelConfig().dim)
    options = parser.parse_args()
    texts, genres = read_items(options.data)
    shared, jaccard = overlaps(genres)
    num_pairs = len(texts) * (len(texts) - 1)
    chance = shared.sum() / num_pairs, jaccard.sum() / num_pairs
    print(f"{len(texts)} descriptions; two items at random: shared {chance[0]:.3f}, overlap {chance[1]:.3f}")
    minilm = ModelsConfig(root=options.models)
    report("all-minilm-l6-v2", minilm.encoders["all-minilm-l6-v2"], minilm, texts, (shared, jaccard), chance)
    # Local sessions start faster without Java's second compiler, but Spark ML's word2vec is many times slower then.
    compiled = {"spark.driver.extraJavaOptions": "-XX:+UseSerialGC"}
    session = build_session(SparkConfig(master="local[2]", driver_memory="2g", conf=compiled), "mmrec-texts")
    with tempfile.TemporaryDirectory() as root:
        frame = session.createDataFrame([(text,) for text in texts], "text string")
        for method in ("tfidf", "word2vec"):
            settings = WordModelConfig.model_validate({"name": method, "method": method, "dim": options.dim})
            start = time.perf_counter()
            fit_word_model(frame, root, settings, lambda _, rows: rows.persist())
            print(f"{method} fitted in {time.perf_counter() - start:.1f} s")
            config = encoder_config(id=method, kind=method)
            report(method, config, ModelsConfig(root=root), texts, (shared, jaccard), chance)
    session.stop()


def report(
    name: str,
    config: EncoderConfig,
    models: ModelsConfig,
    texts: Sequence[str],
    truths: tuple[Matrix, Matrix],
    chance: tuple[float, float],
) -> None:
    """Encode all texts and print what their neighbours are like."""
    encoder = make_encoder(config, models)
    encoder.load()
    start = time.process_time()
    vectors = encoder.encode(texts).vectors
    seconds = time.process_time() - start
    found = nearest(vectors)
    shared, overlap = (float(np.take_along_axis(truth, found, axis=1).mean()) for truth in truths)
    print(
        f"{name:<18} dim {vectors.shape[1]:4d}   shared {shared:.3f} ({shared / chance[0]:.2f} x chance)   "
        f"overlap {overlap:.3f} ({overlap / chance[1]:.2f} x chance)   {len(texts) / seconds:8.0f} texts a core second"
    )


if __name__ == "__main__":
    main()
