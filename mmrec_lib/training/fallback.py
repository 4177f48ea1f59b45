"""The best baseline as a model that can be published, for stores whose first ranker does not pass the gate."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

from mmrec_lib.errors import ModelError
from mmrec_lib.features.load import Snapshot
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.tuning.baselines import FittedBaseline, as_ranker
from mmrec_lib.tracking.registry import FINGERPRINT_TAG, RegisteredModel, Registry
from mmrec_lib.training.fits import RANKER, load_fits, replace_ranker
from mmrec_lib.training.register import PUBLISHED_FIT_TAG, register_fit

BASELINE_TAG = "mmrec.baseline"
INSTEAD_OF_TAG = "mmrec.instead_of"


def is_baseline(model: RegisteredModel | None) -> bool:
    """True for a version that is a baseline published in a ranker's place."""
    return model is not None and BASELINE_TAG in model.tags


def published_baseline(registry: Registry, candidate: RegisteredModel, name: str) -> RegisteredModel | None:
    """The version that holds this baseline of a candidate, where it was registered."""
    return registry.by_fingerprint(_fingerprint(candidate, name))


def register_baseline(
    lakehouse: Lakehouse, registry: Registry, snapshot: Snapshot, candidate: RegisteredModel, name: str, fits: Path
) -> RegisteredModel:
    """Register a baseline of a candidate as a version of its own; one that was registered before is found.

    Args:
        lakehouse: Tables.
        registry: Where to.
        snapshot: What the candidate was fitted on.
        candidate: The ranker that it stands in for.
        name: Which baseline.
        fits: The candidate's evaluated fits; see `save_fits`.

    Raises:
        ModelError: When the candidate has no such baseline.
    """
    known = published_baseline(registry, candidate, name)
    if known is not None:
        return known
    published_fit = candidate.tags.get(PUBLISHED_FIT_TAG, "fit3")
    data = snapshot.fit_data(published_fit)
    settings = _settings(fits, name, int((data.interactions.item_counts() > 0).sum()))
    return register_fit(
        lakehouse,
        registry,
        snapshot,
        published=fit_ranker(data, settings),
        save_fits=partial(replace_ranker, snapshot, settings, fits),
        params={"ranker": settings.model_dump(mode="json"), "published_baseline": name},
        tags={
            FINGERPRINT_TAG: _fingerprint(candidate, name),
            PUBLISHED_FIT_TAG: published_fit,
            BASELINE_TAG: name,
            INSTEAD_OF_TAG: candidate.version,
        },
    )


def _settings(fits: Path, name: str, num_items: int) -> RankerSettings:
    models = load_fits(fits)[1]["fit1"]
    ranker, baseline = models[RANKER], models.get(name)
    assert isinstance(ranker, FittedRanker)
    if isinstance(baseline, FittedRanker):
        return baseline.settings
    if not isinstance(baseline, FittedBaseline):
        raise ModelError(f"fits {fits}: there is no baseline {name}, only {sorted(models)}. Train again.")
    return as_ranker(baseline.settings, ranker.settings, num_items)


def _fingerprint(candidate: RegisteredModel, name: str) -> str:
    own = candidate.tags.get(FINGERPRINT_TAG, candidate.version)
    return hashlib.sha256(f"{own}\0{name}".encode()).hexdigest()
