"""Are the planted tastes strong enough? Recall of a small personal recommender against popularity, on a time split.

Run `python -m tests.data.recall_check <store>`.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np

from tests.data.reading import usable_interactions


def ease_scores(seen_UI: np.ndarray, ridge: float) -> np.ndarray:
    """Scores of EASE (Steck 2019, Embarrassingly Shallow Autoencoders), [num_users, num_items]."""
    gram_II = seen_UI.T @ seen_UI + ridge * np.eye(seen_UI.shape[1])
    inverse_II = np.linalg.inv(gram_II)
    weights_II = -inverse_II / np.diag(inverse_II)
    np.fill_diagonal(weights_II, 0.0)
    return np.asarray(seen_UI @ weights_II)


def recall(scores_UI: np.ndarray, seen_UI: np.ndarray, wanted_UI: np.ndarray, k: int) -> float:
    """Mean share of wanted, unseen items among the best k, over users with history and something wanted."""
    wanted_UI = wanted_UI * (seen_UI == 0)
    scores_UI = np.where(seen_UI > 0, -math.inf, scores_UI)
    top_UK = np.argsort(-scores_UI, axis=1, kind="stable")[:, :k]
    hits_U = np.take_along_axis(wanted_UI, top_UK, axis=1).sum(axis=1)
    wanted_U = wanted_UI.sum(axis=1)
    judged = (wanted_U > 0) & (seen_UI.sum(axis=1) > 0)
    return float((hits_U[judged] / wanted_U[judged]).mean())


def measure(store: Path, ridge: float = 60.0) -> dict[str, float]:
    """Recall at 10 and 20 of EASE and of popularity: first 80 % of events to learn from, last 10 % to judge by."""
    events = usable_interactions(store)
    users = {user: row for row, user in enumerate(sorted({user for _, user, _ in events}))}
    items = {item: row for row, item in enumerate(sorted({item for _, _, item in events}))}
    seen_UI, wanted_UI = np.zeros((2, len(users), len(items)))
    for position, (_, user, item) in enumerate(events):
        if position < 0.8 * len(events):
            seen_UI[users[user], items[item]] = 1.0
        elif position >= 0.9 * len(events):
            wanted_UI[users[user], items[item]] = 1.0
    popularity_UI = np.broadcast_to(seen_UI.sum(axis=0), seen_UI.shape)
    ease_UI = ease_scores(seen_UI, ridge)
    return {
        f"{name}@{k}": round(recall(scores, seen_UI, wanted_UI, k), 4)
        for name, scores in (("ease", ease_UI), ("popularity", popularity_UI))
        for k in (10, 20)
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
