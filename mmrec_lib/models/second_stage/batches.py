"""Examples of the second stage as batches of tensors.

Shape letters: n users of a batch, C candidates, S drawn candidates, F features, R candidates of all users, I items, B
content blocks, D dimensions of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from mmrec_lib.models.data import Floats, Ints
from mmrec_lib.models.second_stage.inputs import Examples
from mmrec_lib.models.second_stage.losses import draw, without_false_negatives
from mmrec_lib.models.second_stage.network import Batch
from mmrec_lib.models.second_stage_settings import SecondStageSettings
from mmrec_lib.topk.selection import NO_ITEM

_LEAST_SCALE = 1e-3


@dataclass(frozen=True)
class Standardisation:
    """Mean and scale of the features.

    Attributes:
        mean: [F] what is taken off.
        scale: [F] what they are divided by.
        is_seen: [F] features that the network sees.
    """

    mean: Floats
    scale: Floats
    is_seen: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, parts: Sequence[Examples], num_seen: int, num_context: int) -> Standardisation:
        """That of the candidates of all windows.

        A feature of the context that never differed in training says nothing, whatever it is later.

        Args:
            parts: Examples of each window.
            num_seen: Features that the network sees, the first ones.
            num_context: Features of the context, the last ones.
        """
        filled = np.concatenate([part.inputs.features[part.inputs.is_item] for part in parts])
        mean, deviation = filled.mean(axis=0), filled.std(axis=0)
        scale, places = deviation + np.float32(_LEAST_SCALE), np.arange(len(mean))
        scale[(places >= len(mean) - num_context) & (deviation == 0)] = np.inf
        return cls(mean, scale, places < num_seen)

    def apply(self, features: Floats) -> Floats:
        """[..., F] float32 standardised features."""
        standardised: Floats = ((features - self.mean) / self.scale).astype(np.float32)
        return standardised


def learnable(part: Examples, blocks_IBD: Floats, settings: SecondStageSettings) -> Examples:
    """Users with something relevant that the network may order, less what is no negative for certain."""
    part = replace(part, relevant=part.relevant & part.inputs.is_item)
    part = part.rows(np.flatnonzero(part.relevant.any(axis=1)))
    if settings.false_negative_cosine is None:
        return part
    kept = without_false_negatives(part.inputs, part.relevant, blocks_IBD, settings.false_negative_cosine)
    return replace(part, inputs=replace(part.inputs, is_item=kept))


def draw_batch(
    parts: Sequence[Examples],
    users: Sequence[tuple[int, int]],
    standardisation: Standardisation,
    settings: SecondStageSettings,
    rng: np.random.Generator,
) -> Batch:
    """Tensors of some users with all of their relevant candidates and some others.

    Args:
        parts: Examples of each window.
        users: Window and row of each user.
        standardisation: That of the features.
        settings: Number and kind of the others.
        rng: Draws them.
    """
    rows = [np.array([row for place, row in users if place == part], np.int64) for part in range(len(parts))]
    chosen = [(part, own) for part, own in zip(parts, rows, strict=True) if len(own)]
    relevant = np.concatenate([part.relevant[own] for part, own in chosen])
    is_item = np.concatenate([part.inputs.is_item[own] for part, own in chosen])
    scores = np.concatenate([part.inputs.scores[own] for part, own in chosen])
    drawn, log_odds = draw(scores, relevant, is_item, settings.num_negatives, settings.hard_negatives, rng)

    def of_drawn(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return np.take_along_axis(values, drawn, axis=1)

    def of_users(name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([getattr(part.inputs, name)[own] for part, own in chosen])

    ends = np.cumsum([len(own) for _, own in chosen])[:-1]
    # Drawn first: the features of all candidates are several times as many.
    features = np.concatenate(
        [part.inputs.features[own[:, None], at] for (part, own), at in zip(chosen, np.split(drawn, ends), strict=True)]
    )
    history, items = of_users("history"), of_drawn(of_users("items"))
    own_items, places = _own_items(items, history)
    standardised = torch.from_numpy(standardisation.apply(features)) * torch.from_numpy(standardisation.is_seen)
    return Batch(
        features=standardised,
        scores=torch.from_numpy(of_drawn(scores)),
        is_item=torch.from_numpy(of_drawn(is_item)),
        relevant=torch.from_numpy(of_drawn(relevant).astype(np.float32)),
        log_odds=torch.from_numpy(log_odds),
        items=torch.from_numpy(places[: items.size].reshape(items.shape)),
        history=torch.from_numpy(places[items.size :].reshape(history.shape)),
        is_there=torch.from_numpy(history != NO_ITEM),
        gaps=torch.from_numpy(of_users("gaps")),
        strengths=torch.from_numpy(of_users("strengths")),
        own_items=torch.from_numpy(own_items),
    )


def _own_items(items: npt.NDArray[np.generic], history: npt.NDArray[np.generic]) -> tuple[Ints, Ints]:
    """The items of a batch, and the place of each entry of both among them."""
    entries = np.concatenate([items.ravel(), np.maximum(history, 0).ravel()]).astype(np.int64)
    own, places = np.unique(entries, return_inverse=True)
    return own, places
