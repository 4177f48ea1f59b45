"""A smaller text encoder that learns to give the vectors of a larger one.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015); started from layers of the teacher as
in Sanh, Debut, Chaumond and Wolf, "DistilBERT, a distilled version of BERT" (2019), trained on sentence vectors as in
Reimers and Gurevych, "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation" (2020).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel

from mmrec_lib.encoders.weights.loading import quiet_loading
from mmrec_lib.errors import RecipeError
from mmrec_lib.recipes.adapt import TextAdapter
from mmrec_lib.recipes.adapt_config import StudentConfig
from mmrec_lib.recipes.checkpoints import EpochCheckpoints
from mmrec_lib.recipes.epochs import Course, Steps, train_epochs
from mmrec_lib.recipes.frozen_layers import DEPTH_NAMES, encoder_layers
from mmrec_lib.recipes.lora import merge_adapters

_TIMED_TEXTS = 128
_TIMED_ROUNDS = 2


@dataclass(frozen=True)
class Student:
    """A student that was trained.

    Attributes:
        encoder: The smaller encoder.
        course: Course of its training; a score is the mean cosine to the teacher over the texts of valid.
        changes: Settings of `config.json` that differ from the teacher's.
        num_layers: Layers of teacher and student.
    """

    encoder: TextAdapter
    course: Course
    changes: dict[str, Any]
    num_layers: tuple[int, int]

    def save(self, directory: Path, base: str) -> None:
        """Write it in transformers format; see `TextAdapter.save`."""
        self.encoder.save(directory, base=base, changes=self.changes)


def kept_layers(depth: int, config: StudentConfig) -> list[int]:
    """Layers of the teacher that the student starts from.

    Raises:
        RecipeError: When the teacher has no more layers than that.

    Example:
        >>> kept_layers(6, StudentConfig(num_layers=3)), kept_layers(6, StudentConfig(num_layers=3, layers="first"))
        ([0, 2, 5], [0, 1, 2])
    """
    if config.num_layers >= depth:
        raise RecipeError(
            f"Student: fewer layers than its teacher's {depth} are needed (adaptation.student.num_layers), got "
            f"{config.num_layers}."
        )
    if config.layers == "first" or config.num_layers == 1:
        return list(range(config.num_layers))
    return [round(place * (depth - 1) / (config.num_layers - 1)) for place in range(config.num_layers)]


def make_student(teacher: TextAdapter, config: StudentConfig) -> Student:
    """A student with the embeddings and some layers of its teacher, not trained yet; the teacher's adapters are merged.

    Raises:
        RecipeError: When the teacher is no stack of layers, or no deeper than the student is to be.
    """
    merge_adapters(teacher.model)
    layers = encoder_layers(teacher.model)
    kept = kept_layers(len(layers), config)
    prefix = next(name for name, module in teacher.model.named_modules() if module is layers)
    settings = copy.deepcopy(teacher.model.config)
    changes: dict[str, Any] = {
        name: config.num_layers for name in DEPTH_NAMES if getattr(settings, name, None) == len(layers)
    }
    if isinstance(kinds := getattr(settings, "layer_types", None), list):
        changes["layer_types"] = [kinds[number] for number in kept]
    for name, value in changes.items():
        setattr(settings, name, value)
    with quiet_loading():
        model = AutoModel.from_config(settings)
    place = {number: row for row, number in enumerate(kept)}
    weights = dict[str, Tensor]()
    for name, weight in teacher.model.state_dict().items():
        if not name.startswith(f"{prefix}."):
            weights[name] = weight
            continue
        number, _, rest = name.removeprefix(f"{prefix}.").partition(".")
        if int(number) in place:
            weights[f"{prefix}.{place[int(number)]}.{rest}"] = weight
    model.load_state_dict(weights)
    encoder = teacher.with_model(model)
    return Student(encoder, Course([], [], 0), changes, (len(layers), config.num_layers))


def fit_student(
    teacher: TextAdapter,
    texts: Sequence[str],
    train: Sequence[int],
    valid: Sequence[int],
    config: StudentConfig,
    checkpoints: EpochCheckpoints | None = None,
) -> Student:
    """Make a student and train it until its vectors of the texts of valid come no nearer.

    The loss is 1 - cosine, half the squared distance of vectors of length 1. Word embeddings stay those of the teacher.

    Args:
        teacher: The larger encoder; its adapters are merged.
        texts: Texts of the store.
        train: Numbers of the texts that are learned from.
        valid: Numbers of those that choose the epoch.
        config: How it is made.
        checkpoints: Where a killed run goes on from; None keeps nothing on disk.

    Raises:
        RecipeError: See `make_student`.
    """
    student = make_student(teacher, config)
    encoder, seed, size = student.encoder, teacher.config.seed, teacher.config.batch_size
    teacher.read(texts)
    goal_ND = torch.from_numpy(teacher.encode(range(len(texts))))
    encoder.read(texts)
    encoder.model.requires_grad_(True)
    encoder.model.get_input_embeddings().requires_grad_(False)
    num_batches = -(-len(train) // size)
    steps = Steps(encoder.trained, config.learning_rate, config.max_epochs * num_batches)

    def epoch_of(epoch: int) -> float:
        torch.manual_seed(seed * 1_000_003 + epoch)
        encoder.model.eval()  # Without dropout the vectors are those that will be served.
        order, total = np.random.default_rng([seed, epoch]).permutation(np.asarray(train)), 0.0
        for number in range(num_batches):
            steps.set_rate((epoch - 1) * num_batches + number)
            batch: list[int] = order[number * size : (number + 1) * size].tolist()
            goal_BD = goal_ND[batch].to(teacher.device)
            loss = 1 - nn.functional.cosine_similarity(encoder.vectors(batch), goal_BD).mean()
            total += steps.take(loss) * len(batch)
        return total / len(train)

    def validate() -> float:
        return float((encoder.encode(valid) * goal_ND[list(valid)].numpy()).sum(axis=1).mean())

    course = train_epochs(
        "student",
        steps,
        epoch_of,
        validate,
        max_epochs=config.max_epochs,
        patience=config.patience,
        checkpoints=checkpoints,
    )
    return Student(encoder, course, student.changes, student.num_layers)


def times_faster(teacher: TextAdapter, student: TextAdapter, texts: Sequence[str]) -> float:
    """Seconds that the teacher takes to encode some texts over those of the student: the best of a few rounds each."""
    chosen = list(texts)[:_TIMED_TEXTS]
    # Anew, so that no layer's result is known already.
    encoders = [one.with_model(one.model) for one in (teacher, student)]
    for encoder in encoders:
        encoder.read(chosen)
    seconds = list[list[float]]([[], []])
    # In turns, so that a busy machine slows both; the first round warms up.
    for _ in range(_TIMED_ROUNDS + 1):
        for encoder, own in zip(encoders, seconds, strict=True):
            started = time.perf_counter()
            encoder.encode(range(len(chosen)))
            own.append(time.perf_counter() - started)
    return min(seconds[0][1:]) / max(min(seconds[1][1:]), 1e-9)
