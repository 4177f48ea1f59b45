"""The protocols as arrays: what is fitted, what settings are chosen on, and the test users with their metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from scipy import sparse

from mmrec_lib.evaluation.metrics import rank_metrics
from mmrec_lib.models.data import FitData, Floats, Interactions, Ints
from mmrec_lib.models.tuning.validation import without
from tests.benchmarks.baselines.reference import Scores
from tests.benchmarks.protocols import split_p1, split_p2, split_p3
from tests.benchmarks.store_arrays import StoreArrays, read_store

CUT_OFFS = (10, 20)
OBJECTIVE = "ndcg@10"


@dataclass(frozen=True)
class Protocol:
    """One protocol.

    Attributes:
        name: Name in results.
        folder: Data set.
        split: Part of each event (train, valid, test) from the store and a seed.
        fits: The fits that are evaluated on test: fit1 on train, fit2 on train and valid.
        seeds: Seeds of the split, or of the models where the split is given.
        is_random: Whether the split depends on the seed.
    """

    name: str
    folder: str
    split: Callable[[StoreArrays, int], np.ndarray]
    fits: tuple[str, ...]
    seeds: tuple[int, ...]
    is_random: bool = True


def _by_item(store: StoreArrays, seed: int) -> np.ndarray:
    order = np.argsort(store.order, kind="stable")
    return _in_place(order, split_p1(store.item_ids[store.items][order], seed))


def _by_time(store: StoreArrays, seed: int) -> np.ndarray:
    order = np.argsort(store.order, kind="stable")
    stamps = [datetime.fromtimestamp(seconds, UTC) for seconds in store.times[order]]
    return _in_place(order, split_p2(stamps, list(store.order[order])))


def _new_items(store: StoreArrays, seed: int) -> np.ndarray:
    order = np.argsort(store.order, kind="stable")
    return _in_place(order, split_p3(store.item_ids[store.items][order], list(store.item_ids), seed))


def _given(store: StoreArrays, seed: int) -> np.ndarray:
    return store.split


def _in_place(order: Ints, split: np.ndarray) -> np.ndarray:
    placed = np.empty_like(split)
    placed[order] = split
    return placed


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("P1", "ml-100k-mm", _by_item, ("fit2",), (0, 1, 2, 3, 4)),
        Protocol("P2", "ml-100k-mm", _by_time, ("fit1", "fit2"), (0, 1, 2, 3, 4), is_random=False),
        Protocol("P3", "ml-100k-mm", _new_items, ("fit2",), (0, 1, 2)),
        Protocol("P4", "lastfm-2k-mm", _given, ("fit1",), (0, 1, 2, 3, 4), is_random=False),
        Protocol("P4-new", "lastfm-2k-mm", _new_items, ("fit2",), (0, 1, 2)),
    )
}
"""P1 to P3 of `tests.benchmarks.protocols`, P4 with its given split; P4-new hides artists as P3 hides films."""


@dataclass(frozen=True)
class Split:
    """One protocol with one seed.

    Attributes:
        protocol: The protocol.
        seed: Its seed, which is also that of the models.
        train: The training part.
        valid: The validation part.
        fits: Fit data by the name of the fit.
        test: The test part.
    """

    protocol: Protocol
    seed: int
    train: FitData
    valid: Interactions
    fits: Mapping[str, FitData]
    test: Interactions


def read_data(protocol: Protocol, data: Path, vectors: Path | None) -> StoreArrays:
    """The arrays of a protocol's data set; more vectors are of ml-100k-mm."""
    return read_store(data / protocol.folder, vectors if protocol.folder == "ml-100k-mm" else None)


def split_store(store: StoreArrays, protocol: Protocol, seed: int) -> Split:
    """Split a store."""
    part = protocol.split(store, seed)
    train = store.fit_data(part == "train")
    fits = {name: train if name == "fit1" else store.fit_data(part != "test") for name in protocol.fits}
    valid, test = (store.interactions(part == name) for name in ("valid", "test"))
    return Split(protocol, seed, train, valid, fits, test)


@dataclass(frozen=True)
class Judge:
    """Users with something relevant that a fit had not seen, and how well scores rank it in the whole catalogue.

    Attributes:
        fitted: Data of the fit, whose interactions are masked.
        users: [n] positions of the users.
        relevant: [n, I] what they turned to later.
    """

    fitted: FitData
    users: Ints
    relevant: sparse.csr_matrix

    @classmethod
    def of(cls, fitted: FitData, part: Interactions) -> Judge:
        """The users of the validation or test part."""
        relevant = without(part.weights, fitted.interactions.weights)
        users = np.flatnonzero(np.diff(relevant.indptr) > 0)
        return cls(fitted, users, relevant[users])

    def masked(self, score: Scores) -> Floats:
        """[n, I] scores with what a user had taken out."""
        scores = np.array(score(self.users), dtype=np.float32)
        weights = self.fitted.interactions.weights[self.users]
        scores[np.repeat(np.arange(len(scores)), np.diff(weights.indptr)), weights.indices] = -np.inf
        return scores

    def objective(self, score: Scores) -> float:
        """What settings are chosen by: nDCG@10 of all users."""
        return float(rank_metrics(self.masked(score), self.relevant, (10,))[OBJECTIVE].mean())

    def by_user(self, score: Scores) -> dict[str, dict[str, np.ndarray]]:
        """Values by user of each segment, beside the positions of its `users`.

        Segments: `all`; `warm` and `cold` users, with and without history; `new_items`, only items without interactions
        ranked; `new_items_in_all`, the recall of these among all.
        """
        scores = self.masked(score)
        values = rank_metrics(scores, self.relevant, CUT_OFFS)
        values = {name: values[name] for name in values if name.split("@")[0] in ("ndcg", "recall")}
        warm = np.diff(self.fitted.interactions.weights[self.users].indptr) > 0
        segments = {"all": np.ones_like(warm), "warm": warm, "cold": ~warm}
        found = {
            name: {"users": self.users[rows], **{metric: value[rows] for metric, value in values.items()}}
            for name, rows in segments.items()
            if rows.any()
        }
        is_new = self.fitted.interactions.item_counts() == 0
        relevant_new = self.relevant.multiply(is_new[None, :]).tocsr()
        relevant_new.eliminate_zeros()
        rows = np.flatnonzero(np.diff(relevant_new.indptr) > 0)
        if len(rows):
            only_new = np.where(is_new, scores[rows], np.float32(-np.inf))
            for name, ranked in (("new_items", only_new), ("new_items_in_all", scores[rows])):
                recall = rank_metrics(ranked, relevant_new[rows], CUT_OFFS)["recall@20"]
                found[name] = {"users": self.users[rows], "recall@20": recall}
        return found
