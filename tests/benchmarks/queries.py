"""How well and how fast queries find items: `python -m tests.benchmarks.queries`.

Words: titles of the sample store, said otherwise by rules: words dropped, turned around, one replaced by a word that
only the item's own description has. Settings are chosen on one half of the items and read once on the other. Photos:
images of the sample store, cropped, smaller and compressed again. Speed: a batch of queries over made-up items.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.encoders.runtime.hardware import on_this_machine
from mmrec_lib.media.images import ContinuedImage
from mmrec_lib.search.config import SearchConfig
from mmrec_lib.search.engine import QueryBatch, QueryVectors, SearchIndex
from mmrec_lib.search.spaces import VectorSpace
from mmrec_lib.search.words import WordIndexBuilder
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.text.tokenizer import tokenize
from tests.data.queries import cropped, noise

TEXT, IMAGE = "all-minilm-l6-v2", "efficientnet-lite0"
MODALITIES = {TEXT: "text", IMAGE: "image"}
STOP = frozenset(
    (
        "a",
        "an",
        "and",
        "are",
        "for",
        "from",
        "in",
        "is",
        "it",
        "its",
        "of",
        "on",
        "or",
        "our",
        "the",
        "this",
        "to",
        "with",
    )
)
CROPS = ((1.0, 60), (0.9, 60), (0.8, 40), (0.7, 30), (0.6, 30))
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Catalogue:
    """Items of the sample store and their vectors."""

    items: Sequence[dict[str, Any]]
    titles: np.ndarray
    descriptions: np.ndarray
    images: np.ndarray
    image_owners: np.ndarray
    photos: Sequence[bytes]


def read_items(store: Path) -> list[dict[str, Any]]:
    """Items with a title, a description and one readable image, from the first delivery of the catalogue."""
    found = {}
    for line in (store / "items.jsonl").read_bytes().splitlines():
        try:
            item = json.loads(line)
        except ValueError:
            continue
        image = item.get("image") or (item.get("images") or [None])[0]
        texts = [item.get("title"), item.get("description"), item.get("item_id"), image]
        if all(isinstance(text, str) for text in texts) and (store / image).is_file():
            found.setdefault(item["item_id"], {**item, "image": image})
    return list(found.values())


def encode(models: ModelsConfig, name: str, contents: Sequence[Any]) -> tuple[np.ndarray, list[str | None]]:
    """Vectors and errors by a packaged model."""
    encoder = make_encoder(models.encoders[name], models)
    encoder.load(models.device)
    result = encoder.encode(contents)
    return result.vectors, result.errors


def paraphrased(item: dict[str, Any], rng: random.Random) -> str:
    """A title in other words: 30 % of them dropped, the others turned around, one replaced."""
    words = [word for word in tokenize(item["title"]) if word not in STOP]
    kept = [word for word in words if rng.random() >= 0.3] or words[:1]
    rng.shuffle(kept)
    others = sorted(set(tokenize(item["description"])) - set(words) - STOP)
    if len(kept) > 1 and others:
        kept[rng.randrange(len(kept))] = rng.choice(others)
    return " ".join(kept)


def index_of(
    texts: dict[str, Sequence[str]], spaces: dict[str, VectorSpace], num_items: int, config: SearchConfig
) -> SearchIndex:
    """An index without rules."""
    weights = {name: config.word_fields[name] for name in texts}
    builder = WordIndexBuilder(num_items, weights, config.k1, config.b)
    for name, own in texts.items():
        builder.add(name, range(num_items), own)
    ids = pa.array([f"{number:07d}" for number in range(num_items)])
    table = pa.table({"item_id": ids, "available": pa.array(np.ones(num_items, bool))})
    rules = build_rules(table, ShowingConfig(), date(2026, 1, 1), {})
    return SearchIndex(builder.build(), spaces, MODALITIES, rules)


def batch_of(texts: Sequence[str | None], vectors: Sequence[QueryVectors], k: int) -> QueryBatch:
    """Queries of visitors without a name."""
    nobody = pa.nulls(len(texts), pa.map_(pa.string(), pa.string()))
    return QueryBatch(texts, np.full(len(texts), k, np.int64), vectors, nobody)


def recall(index: SearchIndex, batch: QueryBatch, config: SearchConfig, owners: np.ndarray, k: int) -> float:
    """Share of the queries whose item is among the first k."""
    return float(np.mean([own in one.items[:k] for own, one in zip(owners, index.answer(batch, config), strict=True)]))


def text_report(catalogue: Catalogue, models: ModelsConfig, seed: int) -> None:
    """Recall of paraphrased titles by exact words, by vectors and by both, settings from the other half."""
    config, num_items = SearchConfig(), len(catalogue.items)
    owners = np.concatenate([np.arange(num_items)] * 2)
    fields = ["title"] * num_items + ["description"] * num_items
    both = np.vstack([catalogue.titles, catalogue.descriptions])
    space = VectorSpace.of(both, owners, fields, config.least_like)
    texts = {name: [item[name] for item in catalogue.items] for name in ("title", "description")}
    index = index_of(texts, {TEXT: space}, num_items, config)
    rng = random.Random(seed)
    asked = [paraphrased(item, rng) for item in catalogue.items]
    print("such as", [(item["title"], text) for item, text in list(zip(catalogue.items, asked, strict=True))[:2]])
    vectors, _ = encode(models, TEXT, asked)
    order = np.random.default_rng(seed).permutation(num_items)
    halves = {"held out": order[: num_items // 2], "test": order[num_items // 2 :]}

    def batch(rows: np.ndarray, *, by_words: bool = True, by_vectors: bool = True) -> QueryBatch:
        own = QueryVectors(TEXT, np.arange(len(rows)), vectors[rows], "text")
        return batch_of([asked[row] if by_words else None for row in rows], [own] if by_vectors else [], 10)

    held_out = halves["held out"]
    tried = {}
    for fusion in ("rrf", "weighted"):
        for weight in WEIGHTS:
            changed = config.model_copy(update={"fusion": fusion, "weights": {**config.weights, "words": weight}})
            answers = index.answer(batch(held_out), changed)
            ranks = [
                1 / (1 + list(one.items).index(own)) if own in one.items else 0.0
                for own, one in zip(held_out, answers, strict=True)
            ]
            tried[fusion, weight] = float(np.mean(ranks))
            print(f"held out: {fusion:8s} words {weight:4.2f}  MRR@10 {tried[fusion, weight]:.4f}")
    fusion, weight = max(tried, key=lambda one: tried[one])
    chosen = config.model_copy(update={"fusion": fusion, "weights": {**config.weights, "words": weight}})
    print(f"chosen on the held-out half: {fusion}, words {weight}; default: {config.fusion}, {config.weights['words']}")
    rows = halves["test"]
    for k in (1, 10):
        lexical = recall(index, batch(rows, by_vectors=False), config, rows, k)
        dense = recall(index, batch(rows, by_words=False), config, rows, k)
        fused, default = (recall(index, batch(rows), one, rows, k) for one in (chosen, config))
        print(
            f"titles in other words ({len(rows)}), R@{k}: words {lexical:.3f}  vectors {dense:.3f}  chosen {fused:.3f} "
            f" default {default:.3f} ({default / max(lexical, 1e-9):.2f} of words, {default / max(dense, 1e-9):.2f} of "
            "vectors)"
        )


def looked_at(models: ModelsConfig, photos: Sequence[bytes], looks: Sequence[float]) -> list[QueryVectors]:
    """Vectors of photos, one a look."""
    found = list[QueryVectors]()
    for look in looks:
        vectors, _ = encode(models, IMAGE, [ContinuedImage(photo, look) for photo in photos])
        found.append(QueryVectors(IMAGE, np.arange(len(photos)), vectors, "images"))
    return found


def photo_report(catalogue: Catalogue, models: ModelsConfig, seed: int) -> None:
    """Recall of cropped, recompressed photos of catalogue items by one look and by those of the settings; noise."""
    config, num_items = SearchConfig(), len(catalogue.items)
    space = VectorSpace.of(
        catalogue.images, catalogue.image_owners, ["images"] * len(catalogue.images), config.least_like
    )
    index = index_of({"title": [""] * num_items}, {IMAGE: space}, num_items, config)
    looks = list(dict.fromkeys((1.0, *config.photo_looks)))
    for share, quality in CROPS:
        rng = random.Random(seed)
        photos = [cropped(content, rng, share, quality) for content in catalogue.photos]
        vectors = dict(zip(looks, looked_at(models, photos, looks), strict=True))
        for chosen in dict.fromkeys(((1.0,), config.photo_looks)):
            batch = batch_of([None] * num_items, [vectors[look] for look in chosen], 10)
            parts = [f"R@{k} {recall(index, batch, config, np.arange(num_items), k):.3f}" for k in (1, 10)]
            print(f"photos {share:.0%} of the image, quality {quality}, looks {chosen}: {' '.join(parts)}")
    near = max(
        float((unit_rows(one.vectors) @ space.vectors.T).max())
        for one in looked_at(models, [noise(number) for number in range(20)], looks)
    )
    print(f"near from cosine {space.least_cosine:.3f} on; 20 images of noise come to {near:.3f} at most")


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def speed_report(num_items: int, num_queries: int, dim: int, seed: int) -> None:
    """Milliseconds a query in one batch: exact words and vectors over made-up items, encoding aside."""
    rng = np.random.default_rng(seed)
    vocabulary = np.array([f"w{number:05d}" for number in range(50_000)])
    shares = 1 / np.arange(1, len(vocabulary) + 1)
    words = rng.choice(vocabulary, (num_items, 30), p=shares / shares.sum())
    config = SearchConfig()
    start = time.perf_counter()
    unit = rng.standard_normal((2 * num_items, dim), dtype=np.float32)
    owners = np.concatenate([np.arange(num_items)] * 2)
    fields = ["title"] * num_items + ["description"] * num_items
    texts = {
        "title": [" ".join(own[:6]) for own in words],
        "description": [" ".join(own[6:]) for own in words],
    }
    index = index_of(texts, {TEXT: VectorSpace.of(unit, owners, fields, 0.02)}, num_items, config)
    print(f"index of {num_items:,} items, 2 vectors of {dim} each: {time.perf_counter() - start:.1f} s")
    rows = rng.integers(0, num_items, num_queries)
    vectors = unit[rows] + 0.5 * rng.standard_normal((num_queries, dim), dtype=np.float32)
    asked = [" ".join(words[row, :6]) for row in rows]
    batch = batch_of(asked, [QueryVectors(TEXT, np.arange(num_queries), vectors, "text")], config.k)
    for name in ("first batch", "next batch"):
        start = time.perf_counter()
        answers = index.answer(batch, config)
        took = (time.perf_counter() - start) / num_queries
        hits = np.mean([row == one.items[0] for row, one in zip(rows, answers, strict=True)])
        print(f"{name} of {num_queries}: {1000 * took:.1f} ms a query; own item first for {hits:.3f}")


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.queries", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("tests/data/store"), help="landing folder")
    parser.add_argument("--models", default="models", help="models.root")
    parser.add_argument("--items", type=int, default=100_000, help="items of the speed test; 0 leaves it out")
    parser.add_argument("--queries", type=int, default=500, help="queries of the speed test")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    models = on_this_machine(ModelsConfig(root=options.models))
    items = read_items(options.store)
    contents = [(options.store / item["image"]).read_bytes() for item in items]
    images, errors = encode(models, IMAGE, contents)
    good = [row for row, error in enumerate(errors) if error is None]
    items = [items[row] for row in good]
    titles, _ = encode(models, TEXT, [item["title"] for item in items])
    descriptions, _ = encode(models, TEXT, [item["description"] for item in items])
    catalogue = Catalogue(
        items, titles, descriptions, images[good], np.arange(len(items)), [contents[row] for row in good]
    )
    text_report(catalogue, models, options.seed)
    photo_report(catalogue, models, options.seed)
    if options.items:
        speed_report(options.items, options.queries, 384, options.seed)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
