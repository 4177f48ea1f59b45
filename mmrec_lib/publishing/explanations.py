"""Explanations of published lists: shares of modalities, and ranks without an item of the history.

Both are asked of the registered model for a few users; what `user_topk` tells of every user is in its own columns.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
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
from mmrec_lib.models.ranker.list_explanations import ItemExplanation, explain_modalities, explain_without
from mmrec_lib.models.ranker.modality_shares import MAX_MODALITIES
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.request_context import RequestContext
from mmrec_lib.topk.threads import single_threaded_blas
from mmrec_lib.tracking.registry import RegisteredModel, Registry
from mmrec_lib.training.fits import RANKER
from mmrec_lib.training.register import DATA_TAG, PUBLISHED_FIT_TAG

_log = logging.getLogger(__name__)


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
        shares: list[dict[int, dict[str, float]]] = [{} for _ in users]
        if max_modalities:
            data = self._snapshot.fit_data(self._model.tags.get(PUBLISHED_FIT_TAG, "fit3"))
            with single_threaded_blas():
                shares = explain_modalities(self.ranker, data, histories, positions, max_modalities)
        available = self._available()
        found = {}
        for place, (user, items) in enumerate(zip(users, positions, strict=True)):
            hidden = ~available
            hidden[self._positions(profiles[user]["seen_item_ids"] or ())] = True
            without = explain_without(self.ranker, histories.rows(np.array([place])), items, hidden)
            found[user] = [
                ItemExplanation(str(self.ranker.item_ids[item]), shares[place].get(item, {}), without.get(item, ()))
                for item in items.tolist()
            ]
        _log.info("%d lists explained in %.1f processor seconds", len(found), time.process_time() - started)
        return found

    def _profiles(self, users: Sequence[str]) -> dict[str, Any]:
        columns = ("user_id", "attributes", "history", "seen_item_ids", "last_search")
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
        context = RequestContext.after_searches([row["last_search"] for row in profiles])
        return Histories(found.weights, attributes, found.times, context)

    def _positions(self, item_ids: Sequence[str]) -> Ints:
        """Positions of the items that the model knows, in their order."""
        wanted = _array(item_ids)
        return self.ranker.item_index.positions(wanted[self.ranker.item_index.known(wanted)])

    def _available(self) -> Bools:
        """[I] items of the model that may be recommended today."""
        # The snapshot knows it too, where it was loaded.
        items = self.__dict__.get("_snapshot") or load_items(self._lakehouse)
        return np.isin(self.ranker.item_ids, items.item_ids[items.is_available])


def _array(item_ids: Sequence[str]) -> npt.NDArray[np.object_]:
    return np.array(list(item_ids), dtype=np.object_)
