"""Why published lists are what they are: shares of modalities, and ranks without an item of the history.

Both are asked of the registered model for a few users; what `user_topk` tells of every user is in its own columns.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import functions as F

from mmrec_lib.errors import ModelError
from mmrec_lib.features.load import Snapshot, load_items, load_snapshot
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.attributes import group_values
from mmrec_lib.models.data import Bools, Histories, Ints, histories_of_lists
from mmrec_lib.models.ranker.counterfactual import leave_one_out
from mmrec_lib.models.ranker.modality_shares import MAX_MODALITIES, modality_shares
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.reporting.data import NO_MODALITY
from mmrec_lib.topk.threads import single_threaded_blas
from mmrec_lib.tracking.registry import RegisteredModel, Registry
from mmrec_lib.training.fits import RANKER
from mmrec_lib.training.register import DATA_TAG, PUBLISHED_FIT_TAG

# Items that are ranked for a user, at most: the catalogue for each item that is left out, the latest ones first.
_MAX_RANKED = 20_000_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WithoutItem:
    """Rank of a listed item had an item not been in the history, by the model alone, before rules and re-ranking.

    Attributes:
        item_id: The item of the history.
        rank: Rank with the whole history, from 1.
        rank_without: Rank without it.
    """

    item_id: str
    rank: int
    rank_without: int

    @property
    def places_lost(self) -> int:
        """Places that the listed item would lose; below 0 where it would rise."""
        return self.rank_without - self.rank


@dataclass(frozen=True)
class ItemExplanation:
    """Why an item is in a user's list.

    Attributes:
        item_id: The item.
        modality_shares: Share of each modality, and of `NO_MODALITY`, in the score of the first stage; empty where it
            was not asked for or cannot be told.
        without: Ranks without each item of the history that was left out, those that it would fall most without first.
    """

    item_id: str
    modality_shares: Mapping[str, float] = field(default_factory=dict)
    without: Sequence[WithoutItem] = ()


class ListExplainer:
    """Explains lists by a registered model; what is costly is loaded when it is first needed."""

    def __init__(self, lakehouse: Lakehouse, registry: Registry, model: RegisteredModel) -> None:
        """Bind to a store and a version of its ranker."""
        self._lakehouse, self._registry, self._model = lakehouse, registry, model

    @cached_property
    def ranker(self) -> FittedRanker:
        """The model."""
        with tempfile.TemporaryDirectory() as scratch:
            return FittedRanker.load(self._registry.model_artifact(self._model, RANKER, Path(scratch)))

    @cached_property
    def _snapshot(self) -> Snapshot:
        """The snapshot that the model was trained on.

        Raises:
            ModelError: When it has changed since.
        """
        snapshot = load_snapshot(self._lakehouse)
        if self._model.tags.get(DATA_TAG) != snapshot.data_hash:
            raise ModelError(
                f"explanation: {self._model.name} version {self._model.version} was trained on other data than those "
                f"of snapshot {snapshot.snapshot_id}. Run train_ranker."
            )
        return snapshot

    def explain(
        self, lists: Mapping[str, Sequence[str]], *, max_modalities: int = MAX_MODALITIES
    ) -> dict[str, list[ItemExplanation]]:
        """Explain items of users' lists; items that the model does not know are left out.

        Args:
            lists: Item ids by user.
            max_modalities: Modalities up to which their shares are told; 0 tells none, and then no snapshot is loaded.

        Raises:
            ModelError: When the model was trained on other data than the store's snapshot, or has more modalities.
        """
        started = time.process_time()
        users = [user for user, items in lists.items() if any(self.ranker.item_index.known(_array(items)))]
        if not users:
            return {}
        profiles = self._profiles(users)
        users = [user for user in users if user in profiles]
        histories = self._histories([profiles[user] for user in users])
        positions = [self._positions(lists[user]) for user in users]
        shares = self._modality_shares(histories, positions, max_modalities) if max_modalities else [{} for _ in users]
        available = self._available()
        found = {}
        for place, (user, items) in enumerate(zip(users, positions, strict=True)):
            seen = self._positions(profiles[user]["seen_item_ids"] or ())
            without = self._without(histories.rows(np.array([place])), items, ~available, seen)
            found[user] = [
                ItemExplanation(str(self.ranker.item_ids[item]), shares[place].get(item, {}), without.get(item, ()))
                for item in items.tolist()
            ]
        _log.info("%d lists explained in %.1f processor seconds", len(found), time.process_time() - started)
        return found

    def _profiles(self, users: Sequence[str]) -> dict[str, Any]:
        columns = ("user_id", "attributes", "history", "seen_item_ids")
        rows = self._lakehouse.read("user_profile").where(F.col("user_id").isin(list(users))).select(*columns)
        return {row["user_id"]: row for row in rows.collect()}

    def _histories(self, profiles: Sequence[Any]) -> Histories:
        own = [[h for h in row["history"] or () if (h["weight"] or 0) > 0] for row in profiles]
        found = histories_of_lists(
            self.ranker.item_index,
            [[h["item_id"] for h in history] for history in own],
            [[float(h["weight"]) for h in history] for history in own],
            times=[[h["last_ts"].timestamp() if h["last_ts"] else 0.0 for h in history] for history in own],
        )
        attributes = group_values([dict(row["attributes"] or {}) for row in profiles])
        return Histories(found.weights, attributes, found.times)

    def _positions(self, item_ids: Sequence[str]) -> Ints:
        """Positions of the items that the model knows, in their order."""
        wanted = _array(item_ids)
        return self.ranker.item_index.positions(wanted[self.ranker.item_index.known(wanted)])

    def _available(self) -> Bools:
        """[I] items of the model that may be recommended today."""
        items = load_items(self._lakehouse)
        return np.isin(self.ranker.item_ids, items.item_ids[items.is_available])

    def _modality_shares(
        self, histories: Histories, positions: Sequence[Ints], max_modalities: int
    ) -> list[dict[int, dict[str, float]]]:
        """Shares by modality of each user's items, by position; an item that is in the history has none."""
        unseen = [items[~np.isin(items, histories.weights[row].indices)] for row, items in enumerate(positions)]
        asked = [row for row, items in enumerate(unseen) if len(items)]
        found: list[dict[int, dict[str, float]]] = [{} for _ in positions]
        if not asked:
            return found
        length = max(len(unseen[row]) for row in asked)
        # The tail of a shorter list repeats its first item.
        padded = np.array([[*unseen[row], *[unseen[row][0]] * (length - len(unseen[row]))] for row in asked])
        data = self._snapshot.fit_data(self._model.tags.get(PUBLISHED_FIT_TAG, "fit3"))
        with single_threaded_blas():
            users = self.ranker.project(histories.rows(np.array(asked)))
            shares = modality_shares(data, self.ranker, users, padded, max_modalities)
        parts = {**shares.shares, NO_MODALITY: shares.others}
        for at, row in enumerate(asked):
            for place, item in enumerate(unseen[row].tolist()):
                found[row][item] = {name: float(values[at, place]) for name, values in parts.items()}
        return found

    def _without(self, history: Histories, items: Ints, unavailable: Bools, seen: Ints) -> dict[int, list[WithoutItem]]:
        """Ranks without each item of the history, by position; only of items that the model could list today."""
        hidden = unavailable.copy()
        hidden[seen] = True
        own = history.weights.indices
        ranked = items[~hidden[items] & ~np.isin(items, own)]
        if not len(ranked) or not len(own):
            return {}
        latest = own if history.times is None else own[np.argsort(-history.times.data, kind="stable")]
        removed = np.sort(latest[: max(_MAX_RANKED // len(hidden), 1)])
        found = leave_one_out(self.ranker, history, ranked, removed, hidden)
        names = self.ranker.item_ids[found.removed]
        told = {}
        for place, item in enumerate(ranked.tolist()):
            # Where ranks are equal, the one without which the score falls most comes first.
            order = np.lexsort((found.scores_without[:, place], -found.ranks_without[:, place]))
            told[item] = [
                WithoutItem(str(names[at]), int(found.ranks[place]), int(found.ranks_without[at, place]))
                for at in order.tolist()
            ]
        return told


def _array(item_ids: Sequence[str]) -> npt.NDArray[np.object_]:
    return np.array(list(item_ids), dtype=np.object_)
