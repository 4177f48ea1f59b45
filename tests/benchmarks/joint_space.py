"""How well texts find images, and images their like: `python -m tests.benchmarks.joint_space --photos … --store …`.

Photos are files named `<class>-<uuid>.jpg`; the names of the classes are the queries, and the nearest photo should be
of the same class. Of a store's export (items.jsonl and images) the titles of items are the queries for their posters.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.encoders.spec import Encoder, EncoderInput

QUERIES = 10
UUID_LENGTH = 36


def loaded(models: ModelsConfig, name: str, kind: str) -> Encoder:
    """A model of the config, ready."""
    encoder = make_encoder(models.encoder(name, kind), models)
    encoder.load()
    return encoder


def vectors(encoder: Encoder, contents: Sequence[EncoderInput]) -> np.ndarray:
    """[n, dim] of length 1; every content must be readable."""
    result = encoder.encode(contents)
    if any(result.errors):
        raise SystemExit(f"a content cannot be encoded: {next(error for error in result.errors if error)}")
    return result.vectors / np.linalg.norm(result.vectors, axis=1, keepdims=True)


def report_classes(joint: Encoder, image: Encoder, folder: Path) -> None:
    """Precision of the ten photos nearest to a class's name, and share of photos whose nearest has the same class."""
    paths = sorted(folder.glob("*.jpg"))
    contents = [path.read_bytes() for path in paths]
    classes = np.array([path.stem[:-UUID_LENGTH].rstrip("-") for path in paths])
    names = sorted(set(classes))
    scores = vectors(joint, names) @ vectors(joint, contents).T
    values = []
    for name, row in zip(names, scores, strict=True):
        values.append(float(np.mean(classes[np.argsort(-row, kind="stable")[:QUERIES]] == name)))
        chance = np.mean(classes == name)
        print(f"{joint.spec.id} {name:12s} precision@{QUERIES} {values[-1]:.2f}  chance {chance:.2f}")
    print(f"{joint.spec.id} mean of {len(names)} classes: precision@{QUERIES} {np.mean(values):.3f}")
    for encoder in (image, joint):
        of_photos = vectors(encoder, contents)
        alike = of_photos @ of_photos.T
        np.fill_diagonal(alike, -np.inf)
        share = np.mean(classes[alike.argmax(axis=1)] == classes)
        print(f"{encoder.spec.id}: nearest of {len(paths)} photos has the same class: {share:.2%}")


def report_titles(joint: Encoder, store: Path) -> None:
    """Ranks of the posters of items for their titles."""
    lines = (store / "items.jsonl").read_text(encoding="utf-8").splitlines()
    items = [item for item in map(json.loads, lines) if item.get("image") and item.get("title")]
    posters = vectors(joint, [(store / item["image"]).read_bytes() for item in items])
    scores = vectors(joint, [item["title"] for item in items]) @ posters.T
    own = np.diagonal(scores)[:, None]
    ranks = 1 + (scores > own).sum(axis=1)
    count = len(items)
    recalls = "  ".join(f"R@{k} {np.mean(ranks <= k):.4f} (chance {k / count:.4f})" for k in (1, 10, 100))
    print(f"{joint.spec.id}: {count} titles to posters: {recalls}  median rank {np.median(ranks):.0f}")


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.joint_space", description=__doc__)
    parser.add_argument("--models", default="models", help="models.root")
    parser.add_argument("--encoder", default="conse-imagenet", help="model of kind joint")
    parser.add_argument("--photos", type=Path, required=True, help="folder of <class>-<uuid>.jpg")
    parser.add_argument("--store", type=Path, required=True, help="folder with items.jsonl and images")
    options = parser.parse_args()
    for path in (options.photos, options.store / "items.jsonl"):
        if not path.exists():
            parser.error(f"{path} does not exist")
    models = ModelsConfig(root=options.models)
    joint = loaded(models, options.encoder, "joint")
    report_classes(joint, loaded(models, "efficientnet-lite0", "image"), options.photos)
    report_titles(joint, options.store)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
