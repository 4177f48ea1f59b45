"""Worth of the items that new users are asked about: lists after answers, against other items asked about.

    python -m tests.benchmarks.elicitation [--data <ml-100k-mm>]

Some users are left out of the fit. Each is asked about the same items and answers about those that they turned to; from
these answers alone lists are made, and judged by the user's other items. Nobody is asked about, tested on or shown an
item that any of the ways asks about, so that all are judged by the same items. Without data the store is planted:
groups of taste with items of their own, and bestsellers that everybody turned to.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.evaluation.metrics import rank_metrics
from mmrec_lib.listing.elicitation import choose_questions, familiarity_of
from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.data import FitData, Histories, Interactions
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker

WAYS = ("elicitation", "popular", "random")


def planted_acts(num_users: int = 600, seed: int = 0) -> sparse.csr_matrix:
    """[U, I] of six groups of taste: 8 bestsellers for everybody, then 25 items for each group, some known better."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(6, size=num_users)
    chance = np.full((num_users, 8 + 6 * 25), 0.01)
    chance[:, :8] = np.linspace(0.9, 0.7, 8)
    for group in range(6):
        own = np.arange(8 + 25 * group, 33 + 25 * group)
        chance[np.ix_(groups == group, own)] = np.linspace(0.6, 0.1, 25)
    return sparse.csr_matrix((rng.random(chance.shape) < chance).astype(np.float32))


def asked_items(
    ranker: FittedRanker, known: sparse.csr_matrix, num_questions: int, seed: int
) -> dict[str, NDArray[np.int64]]:
    """Items that each way asks about.

    Args:
        ranker: Fitted on `known`.
        known: [U, I] what the users of the fit did.
        num_questions: Items of each way.
        seed: Of the random ones.
    """
    histories = Histories(known)
    deviation = ranker.user_vectors(histories)[:, : ranker.distilled.shape[1]].std(axis=0)
    counts = np.asarray(known.sum(axis=0)).ravel()
    familiarity = familiarity_of(ranker.popularity.log_popularity, ranker.warm)
    chosen = choose_questions(ranker.distilled * deviation, familiarity, ranker.warm, num_questions)
    return {
        "elicitation": chosen.items,
        "popular": np.argsort(-counts, kind="stable")[:num_questions],
        "random": np.random.default_rng(seed).choice(np.flatnonzero(ranker.warm), num_questions, replace=False),
    }


def judged(
    ranker: FittedRanker, acts: sparse.csr_matrix, asked: Mapping[str, NDArray[np.int64]], numbers: Sequence[int]
) -> dict[tuple[str, int], float]:
    """nDCG@10 by way and number of answers asked for, over the new users who have an item that none asks about.

    Args:
        ranker: Fitted without these users.
        acts: [n, I] what the new users did.
        asked: See `asked_items`.
        numbers: How many of the items are asked about.
    """
    kept_out = np.unique(np.concatenate(list(asked.values())))
    is_candidate = np.ones(acts.shape[1], dtype=np.bool_)
    is_candidate[kept_out] = False
    relevant = acts.multiply(is_candidate[None, :]).tocsr()
    relevant.eliminate_zeros()
    rows = np.flatnonzero(np.diff(relevant.indptr))
    found = {}
    for way, items in asked.items():
        for number in numbers:
            answers = acts[rows].multiply(np.isin(np.arange(acts.shape[1]), items[:number])[None, :]).tocsr()
            answers.eliminate_zeros()
            scores = ranker.score(Histories(sparse.csr_matrix(answers)))
            scores[:, ~is_candidate] = -np.inf
            found[way, number] = float(rank_metrics(scores, relevant[rows], (10,))["ndcg@10"].mean())
    return found


def run(data: FitData, settings: RankerSettings, numbers: Sequence[int], seed: int = 0) -> dict[tuple[str, int], float]:
    """Fit without a fifth of the users and judge lists after their answers; see `judged`."""
    weights = sparse.csr_matrix((data.interactions.weights > 0).astype(np.float32))
    is_new = np.random.default_rng(seed).random(weights.shape[0]) < 0.2
    rows, columns = weights[~is_new].nonzero()
    known = Interactions.from_rows(rows, columns, (int((~is_new).sum()), weights.shape[1]))
    ranker = fit_ranker(FitData(data.item_ids, known, data.contents, {}, data.cut_ts), settings)
    asked = asked_items(ranker, known.weights, max(numbers), seed)
    return judged(ranker, weights[is_new], asked, numbers)


def planted_data(seed: int = 0) -> FitData:
    """The planted store."""
    acts = planted_acts(seed=seed)
    rows, columns = acts.nonzero()
    ids = np.array([f"i{n:03d}" for n in range(acts.shape[1])])
    return FitData(ids, Interactions.from_rows(rows, columns, acts.shape), {}, {}, float("inf"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table: a row a way, a column a number of questions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="landing folder; planted without")
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    numbers, results = (5, 10, 20), []
    for seed in range(chosen.seeds):
        if chosen.data is None:
            data = planted_data(seed)
        else:
            from tests.benchmarks.store_arrays import read_store

            store = read_store(chosen.data)
            data = store.fit_data(np.ones(len(store.users), dtype=np.bool_))
        results.append(run(data, RankerSettings(), numbers, seed))
    print("nDCG@10 after", *(f"{number:>4} questions" for number in numbers))
    for way in WAYS:
        values = [np.array([result[way, number] for result in results]) for number in numbers]
        print(f"{way:13}", *(f"{value.mean():.4f} ± {value.std():.4f}" for value in values))
    return 0


if __name__ == "__main__":
    sys.exit(main())
