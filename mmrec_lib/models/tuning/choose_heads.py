"""Fitting heads and deciding on each: it is kept where it beats the base rate for users that it has not seen.

Heads learn from the lists of the fit on the training part and from what followed in the validation part, which the
first stage has not seen. Forms of curves are compared by the log loss that each has on users of other folds.

Shape letters: n users, P pairs of a user and a listed item, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mmrec_lib.evaluation.predictions import log_losses
from mmrec_lib.evaluation.significance import mean_intervals
from mmrec_lib.models.data import Bools, Doubles, FitData, Ints
from mmrec_lib.models.heads.curves import CONSTANT, Form
from mmrec_lib.models.heads.fit_curves import base_rate, fit_curves
from mmrec_lib.models.heads.heads import Head, Heads
from mmrec_lib.models.heads.outcomes import PairValues, event_of
from mmrec_lib.models.heads_settings import HeadsSettings
from mmrec_lib.models.ranker.listed import ListedPairs, listed_blocks, outcome_users
from mmrec_lib.models.ranker.probabilities import idle_days
from mmrec_lib.models.ranker.ranker import FittedRanker

_NUM_BOOTSTRAP = 1_000


@dataclass(frozen=True)
class Examples:
    """Listed pairs that heads learn from, with how much each stands for.

    Attributes:
        pairs: P pairs.
        weights: [P] above 0.
    """

    pairs: ListedPairs
    weights: Doubles

    def where(self, kept: Bools) -> Examples:
        """Some of the pairs."""
        pairs = self.pairs
        return Examples(ListedPairs(pairs.users[kept], pairs.items[kept], pairs.features[kept]), self.weights[kept])


def choose_heads(
    ranker: FittedRanker,
    train: FitData,
    outcomes: Mapping[str, PairValues],
    settings: HeadsSettings,
    seed: int,
) -> Heads:
    """Fit the heads of all outcomes.

    Args:
        ranker: The ranker of the training part.
        train: The training part.
        outcomes: What followed in the validation part, by name.
        settings: Settings of heads.
        seed: Draws users, pairs and folds.
    """
    wanted = {n: o for n, o in outcomes.items() if settings.outcomes is None or n in settings.outcomes}
    dropped = {n: "nobody did so in the validation part" for n in settings.outcomes or () if n not in wanted}
    latest_ts = float(train.interactions.times.data.max(initial=0.0))
    histories = train.histories()
    idle = idle_days(histories, latest_ts, np.nan)[np.diff(histories.weights.indptr) > 0]
    typical = float(np.median(idle[np.isfinite(idle)])) if np.isfinite(idle).any() else 0.0
    heads = Heads((), dropped, settings.num_candidates, typical, latest_ts)
    if not wanted:
        return heads
    examples = _examples(replace(ranker, heads=heads), train, wanted, settings, seed)
    kept = []
    for name, outcome in sorted(wanted.items()):
        head = _fit(name, outcome, examples, settings, seed)
        if isinstance(head, Head):
            kept.append(head)
        else:
            dropped[name] = head
    return replace(heads, kept=tuple(kept), dropped=dropped)


def told(heads: Heads | None) -> str:
    """A sentence for people on the heads that were tried."""
    if heads is None:
        return "no heads: training.heads is null"
    if not heads.kept and not heads.dropped:
        return "no heads: the snapshot tells no outcomes of the validation part"
    kept = ", ".join(f"{head.name} ({head.curve.form}, {_gain(head)})" for head in heads.kept) or "none"
    dropped = ", ".join(f"{name} ({reason})" for name, reason in sorted(heads.dropped.items()))
    return f"heads: {kept}" + (f"; dropped: {dropped}" if dropped else "")


def _gain(head: Head) -> str:
    return f"log loss {-head.gain:+.4f}, {-head.gain_high:+.4f} to {-head.gain_low:+.4f}"


def _examples(
    ranker: FittedRanker, train: FitData, outcomes: Mapping[str, PairValues], settings: HeadsSettings, seed: int
) -> Examples:
    """Pairs of the lists of all users, or of a sample in which those with an outcome are half."""
    generator = np.random.default_rng(seed)
    users, user_weights = _sampled_users(len(train.histories()), outcome_users(outcomes), settings.max_users, generator)
    parts = list(listed_blocks(ranker, train, users, settings.num_candidates))
    pairs = ListedPairs.joined(parts)
    weights = user_weights[np.searchsorted(users, pairs.users)]
    has_outcome = np.any([pairs.labels(outcome) > 0 for outcome in outcomes.values()], axis=0)
    others = np.flatnonzero(~has_outcome)
    num_others = max(settings.max_rows - int(has_outcome.sum()), settings.min_events)
    if len(others) <= num_others:
        return Examples(pairs, weights)
    kept = has_outcome.copy()
    kept[generator.choice(others, num_others, replace=False)] = True
    weights = np.where(has_outcome, weights, weights * (len(others) / num_others))
    return Examples(pairs, weights).where(kept)


def _sampled_users(
    num_users: int, with_outcome: Ints, max_users: int, generator: np.random.Generator
) -> tuple[Ints, Doubles]:
    """Positions of users, ascending, and how many each stands for."""
    if num_users <= max_users:
        return np.arange(num_users), np.ones(num_users)
    others = np.setdiff1d(np.arange(num_users), with_outcome, assume_unique=True)
    num_with = min(len(with_outcome), max(max_users // 2, max_users - len(others)))
    drawn, weights = [], []
    for group, size in ((with_outcome, num_with), (others, min(len(others), max_users - num_with))):
        drawn.append(generator.choice(group, size, replace=False))
        weights.append(np.full(size, len(group) / max(size, 1)))
    users, own = np.concatenate(drawn), np.concatenate(weights)
    order = np.argsort(users)
    return users[order], own[order]


def _fit(name: str, outcome: PairValues, examples: Examples, settings: HeadsSettings, seed: int) -> Head | str:
    """The head of an outcome or a quantity, or the reason why there is none."""
    low, high = 0.0, 1.0
    if event_of(name) is None:
        labels = examples.pairs.labels(outcome)
        num_events = int(labels.sum())
    else:
        values = examples.pairs.quantities(outcome)
        examples, values = examples.where(~np.isnan(values)), values[~np.isnan(values)]
        num_events = len(values)
        low, high = float(outcome.values.min()), float(outcome.values.max())
        if low == high:
            return f"it is always {low:g}"
        labels = (values - low) / (high - low)
    if num_events < settings.min_events:
        return f"{num_events} in the lists, training.heads.min_events is {settings.min_events}"
    if labels.min() == labels.max():
        return "all items of the lists had it" if event_of(name) is None else f"it is always {values[0]:g} in the lists"
    folds = _folds(examples.pairs.users, settings.num_folds, seed)
    if folds.max() == 0:
        return "one user alone has it in the lists"
    by_form = _held_out_losses(examples, labels, folds)
    of_base_rate = by_form.pop(CONSTANT)
    best = min(by_form, key=lambda form: float(examples.weights @ by_form[form]))
    gain, gain_low, gain_high = _interval(of_base_rate - by_form[best], examples, seed)
    if not gain_low > 0:
        return f"log loss {-gain:+.4f} against the base rate, {-gain_high:+.4f} to {-gain_low:+.4f}"
    return Head(
        name=name,
        curve=fit_curves(examples.pairs.features, labels, examples.weights)[best],
        base_rate=low + (high - low) * base_rate(labels, examples.weights),
        low=low,
        high=high,
        num_events=num_events,
        gain=gain,
        gain_low=gain_low,
        gain_high=gain_high,
    )


def _folds(users_P: Ints, num_folds: int, seed: int) -> Ints:
    """[P] fold of each pair; a user's pairs are in one."""
    users, of_pair = np.unique(users_P, return_inverse=True)
    return np.random.default_rng(seed).permutation(len(users))[of_pair] % num_folds


def _held_out_losses(examples: Examples, labels: Doubles, folds: Ints) -> dict[Form, Doubles]:
    """[P] losses by form, each by a curve of the other folds."""
    features, weights = examples.pairs.features, examples.weights
    lost: dict[Form, Doubles] = {}
    for fold in np.unique(folds):
        own = folds == fold
        for form, curve in fit_curves(features[~own], labels[~own], weights[~own]).items():
            lost.setdefault(form, np.zeros(len(labels)))[own] = log_losses(labels[own], curve(features[own]))
    return lost


def _interval(gains_P: Doubles, examples: Examples, seed: int) -> tuple[float, float, float]:
    """Weighted mean of gains, and its 95 % interval over users."""
    _, user = np.unique(examples.pairs.users, return_inverse=True)
    num_users = int(user.max()) + 1
    by_user = np.bincount(user, examples.weights * gains_P) * num_users / examples.weights.sum()
    (low,), (high,) = mean_intervals(by_user[:, None], _NUM_BOOTSTRAP, seed)
    return float(by_user.mean()), float(low), float(high)
