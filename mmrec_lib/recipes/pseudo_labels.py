"""Predictions that a recipe is sure of, as labels of a second round of training.

Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks" (2013); a new
model that learns from the first one's sure predictions as in Xie, Luong, Hovy and Le, "Self-training with Noisy Student
Improves ImageNet Classification" (2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mmrec_lib.recipes.config import PseudoLabelConfig
from mmrec_lib.recipes.examples import PARTS, Example, ExampleParts
from mmrec_lib.recipes.recipe import RecipeModel
from mmrec_lib.recipes.train import predict


def pseudo_labelled(
    model: RecipeModel,
    unlabelled: Sequence[Example],
    parts: ExampleParts,
    config: PseudoLabelConfig,
    device: str = "cpu",
) -> tuple[Example, ...]:
    """Unlabelled examples that the model is sure of, with their predicted labels, as examples of train.

    A class counts by its probability, a text of a tagger by that of its least certain token, and only where a part was
    found. Contents that have a label in train, valid or test are left out, as are repetitions.

    Args:
        model: The model of the first round.
        unlabelled: Examples without a label.
        parts: The labelled examples.
        config: How sure it must be.
        device: What is computed on.

    Returns:
        The surest ones, at most `max_examples`, in the order of their ids.
    """
    known = {one.content for name in PARTS for one in parts.part(name)}
    new = dict[object, Example]()
    for one in unlabelled:
        if one.content not in known:
            new.setdefault(one.content, one)
    examples = list(new.values())
    if not examples:
        return ()
    model.network.to(device)
    rows = model.network.prepare(examples)
    chances = predict(model.network, rows, model.config.batch_size, device)
    found = []
    for one, row, own, judged in zip(examples, rows, chances, model.judged(rows, chances), strict=True):
        real = [place for place, (start, end) in enumerate(row.offsets) if end > start]
        confidence = float(own[real].max(axis=1).min()) if model.is_tagger and real else float(own.max())
        if confidence < config.min_confidence or (model.is_tagger and not judged.spans):
            continue
        spans = tuple(span for span, _ in judged.spans)
        found.append((confidence, replace(one, label=judged.label, spans=spans, split="train")))
    surest = sorted(found, key=lambda entry: (-entry[0], entry[1].id))[: config.max_examples]
    return tuple(sorted((one for _, one in surest), key=lambda one: one.id))
