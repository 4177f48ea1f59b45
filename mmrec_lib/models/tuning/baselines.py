"""Baselines that a ranker must beat, with the same calls: choose on validation, fit, score, save, load.

- `popularity`: how many users acted on an item.
- `decayed_popularity`: the same with exponential decay; users without history are ranked by their groups as well.
- `item_knn`: cosine of items over users with shrinkage, the nearest neighbours of each item (Sarwar et al., "Item-based
  Collaborative Filtering Recommendation Algorithms", 2001).
- `ease`: EASE (Steck, 2019).
- `ranker_no_content`: the fusion ranker that sees no item content.

Users without history get plain popularity from `item_knn` and `ease`, which cannot rank for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.models.config import (
    BASELINE_NAMES,
    BaselineName,
    ColdItemSettings,
    PopularitySettings,
    RankerSettings,
    TrainingConfig,
)
from mmrec_lib.models.coordinate_search import coordinate_search
from mmrec_lib.models.data import Bools, FitData, Floats, Histories, Interactions, history_rows, sampled_rows
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.saved import read_saved, write_saved
from mmrec_lib.models.sources.base import SettingsT, Source
from mmrec_lib.models.sources.content import ContentFeatures
from mmrec_lib.models.sources.content_ease import ContentEase
from mmrec_lib.models.sources.ease import EaseSettings, fit_ease, gram, rescale_penalties
from mmrec_lib.models.sources.groups import Group
from mmrec_lib.models.sources.item_knn import ItemKnn, KnnSettings, nearest_items
from mmrec_lib.models.sources.popularity import PopularityModel, half_life_candidates
from mmrec_lib.models.tuning.choose import choose_settings
from mmrec_lib.models.tuning.validation import ValidationUsers, frequent_items
from mmrec_lib.section import Section

KIND = "baseline"
_MAX_PUBLISHED_DIM = 256
# Far below every score of an item with interactions: users' scores are standardised.
_COLD_SHIFT = -1000.0
_KNN_GRIDS: dict[str, tuple[float, ...]] = {
    "num_neighbors": (10, 20, 50, 100, 200),
    "knn_shrinkage": (0.0, 3.0, 10.0, 30.0, 100.0),
}
_EASE_REGULARISERS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_GROUP_GRIDS: dict[str, tuple[float, ...]] = {
    "group_weight": (0.0, 0.25, 0.5, 1.0),
    "group_shrinkage": (1.0, 3.0, 10.0, 30.0),
}


class BaselineSettings(Section):
    """Settings of one baseline; only those of its kind matter.

    Attributes:
        name: Which baseline.
        popularity: Half-life and groups of decayed popularity.
        num_neighbors: Neighbours kept for each item.
        knn_shrinkage: Users added to the denominator of the cosine, against chance.
        ease: Settings of EASE.
        ranker: Settings of the ranker without content.
        max_groups: Demographic groups kept, at most.
        min_group_users: Users that a group needs.
        max_fit_users: Users whose histories item kNN is fitted on, at most (a seeded sample above).
        seed: Of that sample.
    """

    name: BaselineName
    popularity: PopularitySettings = PopularitySettings(group_weight=0.0)
    num_neighbors: int = Field(default=100, ge=1)
    knn_shrinkage: float = Field(default=10.0, ge=0)
    ease: EaseSettings = EaseSettings(dropout=0.0, content_scale=0.0, user_exponent=0.0, diagonal_exponent=1.0)
    ranker: RankerSettings = RankerSettings(use_content=False)
    max_groups: int = Field(default=32, ge=0)
    min_group_users: int = Field(default=20, ge=1)
    max_fit_users: int = Field(default=200_000, ge=1)
    seed: int = 0

    def for_popularity(self) -> RankerSettings:
        """As settings of the popularity model."""
        groups = self.max_groups if self.name == "decayed_popularity" else 0
        half_life = self.popularity if self.name == "decayed_popularity" else PopularitySettings()
        return RankerSettings(popularity=half_life, max_groups=groups, min_group_users=self.min_group_users)


@dataclass(frozen=True)
class FittedBaseline:
    """A fitted baseline; see the module.

    Attributes:
        settings: Settings of the fit.
        item_ids: [I] ids of the catalogue at the fit.
        warm: [I] which items had interactions.
        popularity: Popularity over all items, with groups where the baseline has them.
        operator: [W, W] item-to-item matrix of `item_knn` and `ease`, else None.
    """

    settings: BaselineSettings
    item_ids: npt.NDArray[np.str_]
    warm: Bools
    popularity: PopularityModel
    operator: Floats | sparse.csr_matrix | None

    def score(self, histories: Histories) -> Floats:
        """Scores over the catalogue, [n, I] float32."""
        scores = np.tile(self.popularity.log_popularity, (len(histories), 1))
        has_history = np.diff(histories.weights.indptr) > 0
        if self.popularity.groups:
            codes = self.popularity.codes(histories.attributes, len(histories)) * ~has_history[:, None]
            scores += np.float32(self.settings.popularity.group_weight) * (codes @ self.popularity.log_ratios.T)
        if self.operator is not None:
            columns = np.flatnonzero(self.warm)
            x_NW = history_rows(histories.weights[:, columns], 0.0)
            product = x_NW @ self.operator
            personal = np.full(scores.shape, -1e6, dtype=np.float32)
            personal[:, columns] = product.toarray() if sparse.issparse(product) else product
            scores = np.where(has_history[:, None], personal, scores)
        return scores.astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write as safetensors and JSON; see `load`."""
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "warm": self.warm,
            "log_popularity": self.popularity.log_popularity,
            "log_ratios": self.popularity.log_ratios,
        }
        if isinstance(self.operator, np.ndarray):
            arrays["operator"] = self.operator
        elif self.operator is not None:
            arrays |= {"data": self.operator.data, "indices": self.operator.indices, "indptr": self.operator.indptr}
        meta = {
            "settings": self.settings.model_dump(mode="json"),
            "item_ids": self.item_ids.tolist(),
            "groups": [group.model_dump(mode="json") for group in self.popularity.groups],
        }
        write_saved(folder, KIND, arrays, meta)

    @classmethod
    def load(cls, folder: Path) -> FittedBaseline:
        """Read what `save` wrote.

        Raises:
            ModelError: When the folder holds no saved baseline.
        """
        arrays, meta = read_saved(folder, KIND)
        warm = arrays["warm"].astype(np.bool_)
        operator: Floats | sparse.csr_matrix | None = arrays.get("operator")
        if "indptr" in arrays:
            size = int(warm.sum())
            operator = sparse.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(size, size))
        groups = tuple(Group.model_validate(group) for group in meta["groups"])
        return cls(
            BaselineSettings.model_validate(meta["settings"]),
            np.array(meta["item_ids"], dtype=np.str_),
            warm,
            PopularityModel(arrays["log_popularity"], arrays["log_ratios"], groups),
            operator,
        )


def possible_baselines(data: FitData, config: TrainingConfig) -> tuple[BaselineName, ...]:
    """The baselines that this many items allow: EASE needs an item-by-item matrix."""
    num_items = int((data.interactions.item_counts() > 0).sum())
    return tuple(name for name in BASELINE_NAMES if name != "ease" or num_items <= config.max_dense_items)


def fit_baseline(
    data: FitData, settings: BaselineSettings, ranker: FittedRanker | None = None
) -> FittedBaseline | FittedRanker:
    """Fit a baseline.

    Args:
        data: What to fit on.
        settings: The baseline.
        ranker: The ranker's fit on the same data, whose sources the ranker without content may share.

    Raises:
        ModelError: When there are no interactions at all.
    """
    if settings.name == "ranker_no_content":
        return fit_ranker(data.without_content(), settings.ranker, ranker)
    warm = data.interactions.item_counts() > 0
    if not warm.any():
        raise ModelError(
            f"baseline {settings.name}: needs at least one interaction to fit on, got none; check the split"
        )
    x_UW = history_rows(data.interactions.weights[:, np.flatnonzero(warm)], 0.0)
    operator: Floats | sparse.csr_matrix | None = None
    if settings.name == "item_knn":
        fitted_on = sampled_rows(x_UW, settings.max_fit_users, settings.seed)
        operator = nearest_items(fitted_on, settings.num_neighbors, settings.knn_shrinkage)
    elif settings.name == "ease":
        operator = fit_ease(gram(x_UW, settings.ease.user_exponent), None, settings.ease)
    return FittedBaseline(
        settings,
        np.asarray(data.item_ids, dtype=np.str_),
        warm,
        PopularityModel.fit(data, settings.for_popularity()),
        operator,
    )


def choose_baseline(
    name: BaselineName,
    train: FitData,
    valid: Interactions,
    config: TrainingConfig,
    ranker: RankerSettings | None = None,
) -> BaselineSettings:
    """Choose a baseline's settings on validation, with the objective of the ranker.

    Args:
        name: Which baseline.
        train: The training part.
        valid: The validation part.
        config: Bounds of the search.
        ranker: The ranker's settings, chosen on the same data; the ranker without content keeps what content has no
            part in.
    """
    base = BaselineSettings(
        name=name,
        max_groups=config.max_groups,
        min_group_users=config.min_group_users,
        max_fit_users=config.max_fit_users,
        seed=config.seed,
    )
    if name == "popularity":
        return base
    if name == "ranker_no_content":
        without_content = config.model_copy(update={"use_content": False})
        chosen = choose_settings(train.without_content(), valid, without_content, ranker)
        return base.model_copy(update={"ranker": chosen})
    users = ValidationUsers.of(train, valid, config)
    if not len(users):
        return base

    few = min(config.max_fit_users, config.max_search_fit_users)

    def evaluate(candidate: BaselineSettings) -> float:
        candidate = candidate.model_copy(update={"max_fit_users": few})
        return users.ndcg(fit_baseline(train, candidate).score(users.histories))

    if name == "item_knn":
        return coordinate_search(base, _KNN_GRIDS, evaluate)[0]
    if name == "ease":
        return base.model_copy(update={"ease": _choose_ease(base.ease, train, users, config)})
    inner_popularity = _nested(base, "popularity", evaluate)
    half_lives = [base.popularity.model_copy(update={"half_life_days": days}) for days in half_life_candidates(train)]
    best = max(half_lives, key=inner_popularity)
    if train.user_attributes and not users.has_history.all():
        best = coordinate_search(best, _GROUP_GRIDS, inner_popularity)[0]
    return base.model_copy(update={"popularity": best})


def _choose_ease(start: EaseSettings, train: FitData, users: ValidationUsers, config: TrainingConfig) -> EaseSettings:
    """The penalty of EASE, searched on the most frequent items."""
    warm = train.interactions.item_counts() > 0
    x_UW = history_rows(train.interactions.weights[:, np.flatnonzero(warm)], 0.0)
    narrowed = users.rows(np.flatnonzero(users.has_history)).columns(warm)
    known = history_rows(narrowed.histories.weights, 0.0)
    nothing = ContentFeatures.learn({})
    frequent = frequent_items(x_UW, narrowed, known, warm, nothing, config.max_search_items)

    def evaluate(candidate: EaseSettings) -> float:
        weights = fit_ease(frequent.gram(candidate.user_exponent), None, candidate)
        return frequent.evaluate(np.asarray(frequent.known @ weights))

    chosen = coordinate_search(start, {"regulariser": _EASE_REGULARISERS}, evaluate)[0]
    return rescale_penalties(chosen, frequent.histories, x_UW)


def load_model(folder: Path, kind: str) -> FittedBaseline | FittedRanker:
    """Read a saved ranker (kind `ranker`) or baseline (kind `baseline`)."""
    return FittedRanker.load(folder) if kind == "ranker" else FittedBaseline.load(folder)


def as_ranker(settings: BaselineSettings, ranker: RankerSettings, num_items: int) -> RankerSettings:
    """A baseline as settings of the ranker, so that it can be published: one dot product, the same interface.

    Popularity and the ranker without content are exactly the baseline; item kNN and EASE are exact up to
    `_MAX_PUBLISHED_DIM` items with interactions, and projected on as many dimensions above. Items without interactions
    come last, as in the baselines.

    Args:
        settings: The baseline.
        ranker: Settings whose seed and bounds are taken over.
        num_items: Items with interactions.
    """
    if settings.name == "ranker_no_content":
        return settings.ranker
    kept = {
        name: getattr(ranker, name)
        for name in ("seed", "max_dense_items", "user_block", "max_groups", "min_group_users")
    }
    personal = RankerSettings(
        **kept,
        dim=max(1, min(num_items, _MAX_PUBLISHED_DIM)),
        use_content=False,
        cold_items=ColdItemSettings(shift=_COLD_SHIFT),
        popularity=PopularitySettings(group_weight=0.0),
    )
    if settings.name == "ease":
        return _only(personal, ContentEase, settings.ease)
    if settings.name == "item_knn":
        knn = KnnSettings(
            num_neighbors=settings.num_neighbors, shrinkage=settings.knn_shrinkage, max_users=settings.max_fit_users
        )
        return _only(personal, ItemKnn, knn)
    popular = settings.for_popularity()
    return personal.model_copy(
        update={
            "fusion": {},
            "dim": 1,
            "max_groups": popular.max_groups,
            "min_group_users": popular.min_group_users,
            "popularity": popular.popularity.model_copy(update={"warm_weight": 1.0, "warm_group_weight": 0.0}),
        }
    )


def _only(ranker: RankerSettings, source: type[Source[SettingsT]], settings: SettingsT) -> RankerSettings:
    """A ranker that consists of one source."""
    return ranker.with_sources({source.name: settings}).model_copy(update={"fusion": {source.name: 1.0}})


def _nested(
    base: BaselineSettings, field: str, evaluate: Callable[[BaselineSettings], float]
) -> Callable[[Section], float]:
    def of_part(part: Section) -> float:
        return evaluate(base.model_copy(update={field: part}))

    return of_part
