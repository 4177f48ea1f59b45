"""Implicit ALS and BPR by the library `implicit` (extra `mmrec[bench]`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking

from mmrec_lib.models.data import FitData
from mmrec_lib.topk.threads import single_threaded_blas
from tests.benchmarks.baselines.reference import Fits, Reference, Settings, Vectors

Model = AlternatingLeastSquares | BayesianPersonalizedRanking


def implicit_als(data: FitData, settings: Settings, seed: int) -> Fits:
    """Implicit ALS; Hu, Koren and Volinsky 2008, Collaborative Filtering for Implicit Feedback Datasets."""
    model = partial(
        AlternatingLeastSquares,
        factors=int(settings["factors"]),
        regularization=settings["regularization"],
        alpha=settings["alpha"],
        iterations=15,
        random_state=seed,
        num_threads=1,
    )
    yield from _fits(model, data, settings)


def implicit_bpr(data: FitData, settings: Settings, seed: int) -> Fits:
    """BPR; Rendle et al. 2009, BPR: Bayesian Personalized Ranking from Implicit Feedback.

    With one thread, as several race for the factors and make another model each time.
    """
    model = partial(
        BayesianPersonalizedRanking,
        factors=int(settings["factors"]),
        learning_rate=settings["learning_rate"],
        regularization=settings["regularization"],
        iterations=int(settings["iterations"]),
        random_state=seed,
        num_threads=1,
    )
    yield from _fits(model, data, settings)


def _fits(make_model: Callable[[], Model], data: FitData, settings: Settings) -> Fits:
    # The library has threads of its own, and refuses more below them.
    with single_threaded_blas():
        model = make_model()
        model.fit((data.interactions.weights > 0).astype(np.float32), show_progress=False)
    biases = np.zeros(len(model.item_factors), dtype=np.float32)  # BPR keeps its biases as a factor
    yield settings, Vectors(model.user_factors, model.item_factors, biases).scores


IMPLICIT_ALS = Reference(
    "implicit_als",
    {
        "factors": (64, 32, 128),
        "regularization": (30.0, 60.0, 100.0),
        "alpha": (10.0, 30.0, 3.0),
    },
    implicit_als,
)
IMPLICIT_BPR = Reference(
    "implicit_bpr",
    {
        "factors": (64, 32, 128),
        "regularization": (0.01, 0.001, 0.03),
        "learning_rate": (0.02, 0.05, 0.1),
        "iterations": (150, 50, 400),
    },
    implicit_bpr,
)
