"""A store with planted order and planted looks, as arrays: what a linear model of sets of items cannot find.

    python -m tests.benchmarks.planted_order

Every item has a kind, which its text vector shows, and a style, which only its image vector shows. The kinds form a
circle: after an item of one kind mostly comes an item of the next, and histories go round it more than once, so that
the set of a user's items does not tell where the user stands. A user mostly takes items of one style. A style is an
axis of the image space, and an item lies on either side of it at random: images of one style are no more alike than
others to a kernel that is linear, but for a faint trace by which a first stage can find candidates. New items appear
all the time, so most items have few interactions or none.

Users act once a round from the round in which they join, so a cut in time is the same cut in each user's sequence. The
last round is test, the one before it validation. As the probabilities of the last round are known, so is the best
possible ranking: `OrderedStore.probabilities`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrec_lib.evaluation.metrics import rank_metrics
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.models.data import Content, FitData, Floats, Interactions
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.tuning.baselines import BaselineSettings, fit_baseline
from mmrec_lib.models.tuning.choose import choose_settings
from mmrec_lib.models.tuning.choose_second_stage import choose_second_stage

Ints = npt.NDArray[np.int64]
NUM_KINDS, NUM_STYLES, NUM_ROUNDS = 6, 32, 14
IMAGE_DIM, TEXT_DIM = 64, 32
# Share of the events whose kind follows the kind before, and whose style is the user's.
ORDER_SHARE, STYLE_SHARE = 0.9, 0.9
# Share of the items that are there from the start; the others appear round by round.
_FIRST_SHARE = 0.1
# Users join in one of these rounds.
_JOIN_ROUNDS = 7
_FIRST_SECOND, _SECONDS_PER_ROUND = 1_735_689_600.0, 86_400.0  # 2025-01-01, a day
_STYLE_LENGTH, _TRACE, _IMAGE_NOISE, _TEXT_NOISE = 1.0, 0.35, 0.2, 0.15
_DEPTHS = (100, 300, 1000)


@dataclass(frozen=True)
class OrderedStore:
    """A store with planted order and looks; see the module.

    Attributes:
        contents: `text:title` shows kinds, `image:images` shows styles.
        kinds: [I] kind of each item.
        styles: [I] style of each item.
        tastes: [U] style that each user likes.
        users: [events] user of each event.
        items: [events] item of each event; no user takes an item twice.
        rounds: [events] round of each event, not falling.
        times: [events] epoch seconds.
    """

    contents: Mapping[str, Content]
    kinds: Ints
    styles: Ints
    tastes: Ints
    users: Ints
    items: Ints
    rounds: Ints
    times: npt.NDArray[np.float64]

    @property
    def item_ids(self) -> npt.NDArray[np.str_]:
        """[I] ids of the catalogue."""
        return np.array([f"i{position:06d}" for position in range(len(self.kinds))])

    def interactions(self, first: int, end: int) -> Interactions:
        """Interactions of the rounds from `first` to before `end`."""
        chosen = (self.rounds >= first) & (self.rounds < end)
        shape = (len(self.tastes), len(self.kinds))
        return Interactions.from_rows(self.users[chosen], self.items[chosen], shape, times=self.times[chosen])

    def fit_data(self, num_rounds: int) -> FitData:
        """Fit data of the first rounds."""
        return FitData(self.item_ids, self.interactions(0, num_rounds), self.contents)

    @property
    def train(self) -> FitData:
        """All rounds but the last two."""
        return self.fit_data(NUM_ROUNDS - 2)

    @property
    def valid(self) -> Interactions:
        """The last round but one."""
        return self.interactions(NUM_ROUNDS - 2, NUM_ROUNDS - 1)

    @property
    def train_and_valid(self) -> FitData:
        """All rounds but the last."""
        return self.fit_data(NUM_ROUNDS - 1)

    @property
    def test(self) -> Interactions:
        """The last round: one event a user."""
        return self.interactions(NUM_ROUNDS - 1, NUM_ROUNDS)

    def probabilities(self, with_order: bool = True, with_looks: bool = True) -> Floats:
        """[U, I] float32 probability of each item in the last round before what a user had is taken out: to rank by.

        Args:
            with_order: False as if the last item were not known.
            with_looks: False as if the user's style were not known.
        """
        last = np.zeros(len(self.tastes), dtype=np.int64)
        before = self.rounds < NUM_ROUNDS - 1
        last[self.users[before]] = self.kinds[self.items[before]]  # the latest stays
        by_kind = _mixture((last + 1) % NUM_KINDS, NUM_KINDS, ORDER_SHARE if with_order else 0.0)
        by_style = _mixture(self.tastes, NUM_STYLES, STYLE_SHARE if with_looks else 0.0)
        cells = self.kinds * NUM_STYLES + self.styles
        of_cell = np.bincount(cells)[cells]
        return (by_kind[:, self.kinds] * by_style[:, self.styles] / of_cell).astype(np.float32)


def _mixture(preferred: Ints, size: int, share: float) -> npt.NDArray[np.float64]:
    """[n, size] probabilities: `share` on the preferred one, the rest on all alike."""
    chances = np.full((len(preferred), size), (1 - share) / size)
    chances[np.arange(len(preferred)), preferred] += share
    return chances


def planted_order(num_users: int, num_items: int, seed: int = 0) -> OrderedStore:
    """Draw a store.

    Args:
        num_users: Users, each with 7 to 13 events before the last round.
        num_items: Items; four times as many as users leave most with at most three interactions.
        seed: Everything follows from it.

    Raises:
        ValueError: When there are too few items for each user to find an unseen one of each kind and style.
    """
    least = NUM_KINDS * NUM_STYLES * 4
    if num_users < 1 or num_items < least:
        raise ValueError(f"a store with planted order needs users and at least {least} items, got {num_items}")
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(num_items)
    kinds, styles = numbers % NUM_KINDS, numbers // NUM_KINDS % NUM_STYLES
    released = np.where(rng.random(num_items) < _FIRST_SHARE, 0, rng.integers(1, NUM_ROUNDS, num_items))
    released[numbers < 2 * NUM_KINDS * NUM_STYLES] = 0  # two of each kind and style from the start
    tastes = rng.integers(NUM_STYLES, size=num_users)
    users, items, rounds = _draw_events(rng, kinds, styles, released, tastes)
    times = _FIRST_SECOND + _SECONDS_PER_ROUND * (rounds + rng.random(len(rounds)))
    contents = [
        Content.from_vectors("text:title", _text_vectors(rng, kinds)),
        Content.from_vectors("image:images", _image_vectors(rng, styles)),
    ]
    named = {content.name: content for content in contents}
    return OrderedStore(named, kinds, styles, tastes, users, items, rounds, times)


def _draw_events(
    rng: np.random.Generator, kinds: Ints, styles: Ints, released: Ints, tastes: Ints
) -> tuple[Ints, Ints, Ints]:
    """Users, items and rounds of all events, round by round."""
    cells = kinds * NUM_STYLES + styles
    joined = rng.integers(_JOIN_ROUNDS, size=len(tastes))
    last = rng.integers(NUM_KINDS, size=len(tastes))
    seen: list[set[int]] = [set() for _ in tastes]
    drawn: list[tuple[int, int, int]] = []
    for number in range(NUM_ROUNDS):
        on_offer = [np.flatnonzero((cells == cell) & (released <= number)) for cell in range(cells.max() + 1)]
        for user in np.flatnonzero(joined <= number).tolist():
            unseen: list[int] = []
            while not unseen:
                follows, likes = rng.random(2) < (ORDER_SHARE, STYLE_SHARE)
                kind = (last[user] + 1) % NUM_KINDS if follows else rng.integers(NUM_KINDS)
                style = tastes[user] if likes else rng.integers(NUM_STYLES)
                unseen = [item for item in on_offer[kind * NUM_STYLES + style].tolist() if item not in seen[user]]
            item = unseen[rng.integers(len(unseen))]
            seen[user].add(item)
            last[user] = kind
            drawn.append((user, item, number))
    users, items, rounds = np.array(drawn, dtype=np.int64).T
    return users, items, rounds


def _text_vectors(rng: np.random.Generator, kinds: Ints) -> Floats:
    """[I, TEXT_DIM] the axis of the kind with noise."""
    noise = _TEXT_NOISE * rng.standard_normal((len(kinds), TEXT_DIM))
    return (_axes(rng, TEXT_DIM)[kinds] + noise).astype(np.float32)


def _image_vectors(rng: np.random.Generator, styles: Ints) -> Floats:
    """[I, IMAGE_DIM] either side of the style's axis, with its trace and noise."""
    axes = _axes(rng, IMAGE_DIM)
    side = rng.choice([-_STYLE_LENGTH, _STYLE_LENGTH], size=(len(styles), 1))
    noise = _IMAGE_NOISE * rng.standard_normal((len(styles), IMAGE_DIM))
    return (side * axes[styles] + _TRACE * axes[NUM_STYLES + styles] + noise).astype(np.float32)


def _axes(rng: np.random.Generator, dim: int) -> npt.NDArray[np.float64]:
    """[dim, dim] orthonormal rows."""
    return np.linalg.qr(rng.standard_normal((dim, dim)))[0]


def measure(store: OrderedStore, scores: Floats) -> dict[str, float]:
    """Quality of scores [U, I] on the last round, means over users.

    Returns:
        nDCG@10 over all users, `rare:ndcg@10` over those whose item had at most one interaction before, and the recall
        of that many candidates.
    """
    data = store.train_and_valid
    depths = [depth for depth in _DEPTHS if depth <= len(store.kinds)]
    masked = np.where(data.interactions.weights.toarray() > 0, np.float32(-np.inf), scores)
    relevant = store.test.weights
    values = rank_metrics(masked, relevant, (10, *depths))
    rare = data.interactions.item_counts()[relevant.indices] <= 1  # one event a user, so in the order of users
    means = {"ndcg@10": float(values["ndcg@10"].mean()), "rare:ndcg@10": float(values["ndcg@10"][rare].mean())}
    return means | {f"recall@{depth}": float(values[f"recall@{depth}"].mean()) for depth in depths}


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.planted_order", description=__doc__)
    parser.add_argument("--users", type=int, default=1_200)
    parser.add_argument("--items", type=int, default=4_800)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    store = planted_order(options.users, options.items, options.seed)
    data = store.train_and_valid
    counts = data.interactions.item_counts()
    print(f"{len(store.items)} events; {(counts <= 3).mean():.0%} of the items had 3 interactions at most")

    def show(name: str, scores: Floats) -> None:
        figures = "  ".join(f"{metric} {value:.4f}" for metric, value in measure(store, scores).items())
        print(f"{name:40s} {figures}", flush=True)

    show("ceiling", store.probabilities())
    show("ceiling without order", store.probabilities(with_order=False))
    show("ceiling without looks", store.probabilities(with_looks=False))
    popularity = fit_baseline(data, BaselineSettings(name="popularity"))
    show("popularity", popularity.score(data.histories()))
    for name, use_content in (("linear ranker", True), ("linear ranker, no content", False)):
        config = TrainingConfig(use_content=use_content)
        settings = choose_settings(store.train, store.valid, config)
        show(name, fit_ranker(data, settings).score(data.histories()))
        settings, decision, _ = choose_second_stage(store.train, store.valid, config, settings)
        print(decision)
        if decision.is_kept:
            show(f"{name}, second stage", fit_ranker(data, settings).score(data.histories()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
