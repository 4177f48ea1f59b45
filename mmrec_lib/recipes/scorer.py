"""Scorers of local directories: a trained recipe of pairs, or a causal language model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mmrec_lib.encoders.weights.directory import directory_revision, local_directory, require_safe
from mmrec_lib.errors import RecipeError
from mmrec_lib.generation.candidate_texts import PairScorer
from mmrec_lib.location import absolute
from mmrec_lib.recipes.config import RecipeConfig
from mmrec_lib.recipes.scorer_config import ScorerConfig

if TYPE_CHECKING:
    from mmrec_lib.recipes.recipe import RecipeModel

TRAIN_PART = "train_part"
"""Key of a recipe's report: the snapshot whose train part alone it learned from, see `recipe.train_part_only`."""
_DESCRIPTION = "recipe.json"


class RecipeScorer:
    """The rating level that a trained recipe of pairs expects."""

    def __init__(self, model: RecipeModel, *, batch_size: int, device: str = "cpu") -> None:
        """Bind a trained recipe to a device.

        Args:
            model: The recipe.
            batch_size: Pairs that are computed at once.
            device: What is computed on.
        """
        self._model, self._batch_size, self._device = model, batch_size, device
        model.network.to(device)
        self._levels = np.array([float(label) for label in model.labels])

    def scores(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float64]:
        """[n] expected level of each pair of a profile and a document.

        The value of a pair depends on the others in the last bits only.
        """
        from mmrec_lib.recipes.examples import Example
        from mmrec_lib.recipes.train import predict

        network = self._model.network
        rows = network.prepare([Example(str(n), profile, document) for n, (profile, document) in enumerate(pairs)])
        chances = predict(network, rows, self._batch_size, self._device)
        return np.array([float(one @ self._levels) for one in chances])


@dataclass(frozen=True)
class LoadedScorer:
    """A scorer that is ready.

    Attributes:
        scorer: Judges pairs.
        num_history: Items that make a profile text.
        is_recipe: True where it was trained on labels of pairs.
        train_part: Of a recipe the snapshot whose train part alone it learned from; None where it was not held to one.
    """

    scorer: PairScorer
    num_history: int
    is_recipe: bool
    train_part: Mapping[str, Any] | None


def scorer_directory(config: ScorerConfig) -> Path:
    """The directory of the scorer on this machine.

    Raises:
        EncoderError: When there is none.
    """
    assert config.model is not None
    place = absolute(config.model).rstrip("/")
    return local_directory(place.rpartition("/")[0] or "/", config.name)


def scorer_revision(config: ScorerConfig) -> str | None:
    """Revision of the scorer: of its directory, and of the settings that its values follow from; None without one.

    Raises:
        EncoderError: When its directory is missing, holds pickles only or brings code of its own.
    """
    if config.model is None:
        return None
    directory = scorer_directory(config)
    require_safe(directory)
    told = [directory_revision(directory), config.fields, config.num_history, config.max_tokens]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def load_scorer(config: ScorerConfig) -> LoadedScorer:
    """The scorer on this machine: a trained recipe of kind pair, or a causal language model.

    Raises:
        RecipeError: When the recipe is damaged, of another kind or without rating levels, or reads other fields.
        EncoderError: When there is no such model, or it could run code.
    """
    import torch

    directory, device = scorer_directory(config), config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not (directory / _DESCRIPTION).exists():
        from mmrec_lib.generation.likelihood import LikelihoodScorer

        model = LikelihoodScorer(directory, max_tokens=config.max_tokens, batch_size=config.batch_size, device=device)
        return LoadedScorer(model, config.num_history, is_recipe=False, train_part=None)
    from mmrec_lib.recipes.recipe import load_recipe, read_description

    recipe = load_recipe(directory)
    _require_fit(directory, recipe.config, config, has_levels=recipe.has_levels)
    description = read_description(directory)
    assert description is not None
    return LoadedScorer(
        RecipeScorer(recipe, batch_size=config.batch_size, device=device),
        recipe.config.num_history,
        is_recipe=True,
        train_part=description["report"].get(TRAIN_PART),
    )


def _require_fit(directory: Path, recipe: RecipeConfig, config: ScorerConfig, *, has_levels: bool) -> None:
    """Raise when a recipe judges no pairs by levels, or was trained on other fields than it would read."""
    where = f"Scorer `{directory}` (scorer.model)"
    if recipe.kind != "pair" or not has_levels:
        what = f"kind {recipe.kind}" if recipe.kind != "pair" else "classes that are no whole numbers"
        raise RecipeError(f"{where}: a recipe of kind pair with rating levels, such as 0 and 1, is needed, got {what}.")
    if recipe.fields != config.fields:
        raise RecipeError(
            f"{where}: the fields {', '.join(recipe.fields)}, which it was trained with, are needed as scorer.fields, "
            f"got {', '.join(config.fields)}."
        )
