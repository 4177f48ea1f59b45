"""The fitted second stage: what it adds to the first stage's scores, in numpy alone, so that serving needs no torch.

For a user with history candidates are ordered by s + (g(x) + a) / t: s the first stage's score in deviations, g a
hidden layer over the candidate's features x beside a linear one, a the sum of target attentions over the latest items
(Zhou et al. 2018, Deep Interest Network), t the weight of the first stage. The scores stay: the first in the new order
gets the highest, and so on, so that candidates compare with all other items as before.

Shape letters: n users, C candidates, F features, U hidden units, L latest items, I items, H attentions, A attention
dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mmrec_lib.errors import ModelError
from mmrec_lib.models.data import Bools, Floats, Histories, Ints
from mmrec_lib.models.second_stage.inputs import CandidateInputs, candidate_inputs, movable_items
from mmrec_lib.models.second_stage.signals import ItemSignals
from mmrec_lib.models.second_stage_settings import ContextKind
from mmrec_lib.topk.selection import NO_ITEM

# As exp of a lower number is 0 in float32 anyway.
_NEVER = np.float32(-1e9)
_DIMS_OF_ONE_ATTENTION = 2


@dataclass(frozen=True)
class Network:
    """Weights of the network, float32.

    Attributes:
        mean: [F] what is taken off the features.
        scale: [F] what they are divided by.
        hidden: [F, U].
        hidden_bias: [U].
        output: [U].
        linear: [F].
        query: [I, H, A] of candidates.
        key: [I, H, A] of the latest items.
        value: [I, H, A] of the latest items.
        match: [I, H, A] of candidates, what the attended value is compared with.
        gap_bias: [H, NUM_GAPS] added to the attention by the age of an item.
        strength: [H, 1] added to the attention times an item's strength.
        first_stage: [1] t, above 0.
    """

    mean: Floats
    scale: Floats
    hidden: Floats
    hidden_bias: Floats
    output: Floats
    linear: Floats
    query: Floats
    key: Floats
    value: Floats
    match: Floats
    gap_bias: Floats
    strength: Floats
    first_stage: Floats

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All weights by name, for saving."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def additions(self, inputs: CandidateInputs) -> Floats:
        """[n, C] (g + a) / t, in deviations of the first stage's scores."""
        x = (inputs.features - self.mean) / self.scale
        before = x @ self.hidden + self.hidden_bias
        with np.errstate(over="ignore"):
            hidden = before / (1 + np.exp(-before))
        found: Floats = (hidden @ self.output[:, None] + x @ self.linear[:, None])[:, :, 0]
        for attention in range(self.query.shape[1]):
            found = found + self._attended(inputs, attention)
        added: Floats = (found / self.first_stage).astype(np.float32)
        return added

    def _attended(self, inputs: CandidateInputs, attention: int) -> Floats:
        """[n, C] what one attention adds."""
        is_there = inputs.history != NO_ITEM
        latest = np.maximum(inputs.history, 0)
        # One attention first: its rows come out contiguous, so that products do not depend on who else is scored.
        query, key, value, match = (role[:, attention] for role in (self.query, self.key, self.value, self.match))
        query, match = query[inputs.items], match[inputs.items]
        aged = self.gap_bias[attention][inputs.gaps] + self.strength[attention] * inputs.strengths
        bias = np.where(is_there, aged, _NEVER)
        logits = query @ key[latest].transpose(0, 2, 1) / np.float32(np.sqrt(query.shape[2])) + bias[:, None, :]
        logits = np.exp(logits - logits.max(axis=2, keepdims=True))
        shares = logits / logits.sum(axis=2, keepdims=True)
        values = np.where(is_there[:, :, None], value[latest], np.float32(0))
        attended: Floats = np.einsum("nca,nca->nc", shares @ values, match)
        return attended

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Rebuild from what `arrays` gave, also where a model was saved when there was one attention at most."""
        if arrays["query"].ndim == _DIMS_OF_ONE_ATTENTION:
            there = slice(None) if arrays["query"].shape[1] else slice(0)
            of_items = {name: arrays[name][:, None, :][:, there] for name in ("query", "key", "value", "match")}
            of_history = {name: arrays[name][None][there] for name in ("gap_bias", "strength")}
            arrays = {**arrays, **of_items, **of_history}
        return cls(**arrays)


@dataclass(frozen=True)
class SecondStage:
    """A fitted second stage.

    Attributes:
        sources: Names of the shares of the first stage's score that it was fitted with, in their order.
        signals: Signals of the items of the fit.
        network: Weights.
        num_candidates: Candidates of a user that it orders.
        history_length: Latest items that it looks at.
        learning_curve: Mean loss of each epoch of its training; empty where it was not noted.
    """

    sources: tuple[str, ...]
    signals: ItemSignals
    network: Network
    num_candidates: int
    history_length: int
    learning_curve: tuple[float, ...] = ()

    @property
    def context_kinds(self) -> tuple[ContextKind, ...]:
        """Parts of the context of a request that it looks at."""
        return () if self.signals.context is None else self.signals.context.kinds

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """Attributes of users that it looks at."""
        context = self.signals.context
        return () if context is None or "market" not in context.kinds else (context.market_attribute,)

    def order(
        self,
        histories: Histories,
        items: npt.NDArray[np.integer],
        scores: Floats,
        shares: Mapping[str, Floats],
        has_history: Bools,
    ) -> Ints:
        """[n, C] the candidate that stands at each place.

        Users without history keep the first stage's order, and so do candidates without interactions at the fit, which
        keep their places among the others: of them the network has seen too few to judge.

        Args:
            histories: n users, with times and the context of their requests where they are known.
            items: [n, C] positions of the candidates in the fit, best first; NO_ITEM where there is none.
            scores: [n, C] their scores, which may have more in them than the first stage's.
            shares: [n, C] shares of the first stage's score; they add up to it.
            has_history: [n] users whose history holds something that the first stage knows.

        Raises:
            ModelError: When the shares are not those of the fit.
        """
        if set(shares) != set(self.sources):
            raise ModelError(
                f"second stage: fitted with shares of {', '.join(self.sources)}, got {', '.join(sorted(shares))}"
            )
        movable = np.where(has_history[:, None], movable_items(self.signals, items), NO_ITEM)
        ordered = {name: shares[name] for name in self.sources}
        inputs = candidate_inputs(self.signals, histories, movable, ordered, self.history_length)
        return standing(scores + self.network.additions(inputs) * inputs.unit[:, None], inputs.is_item)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays, for saving."""
        signals = {f"signals/{name}": array for name, array in self.signals.arrays().items()}
        return signals | {f"network/{name}": array for name, array in self.network.arrays().items()}

    def meta(self) -> dict[str, Any]:
        """The rest of its state, as JSON takes it."""
        return {
            "sources": list(self.sources),
            "block_names": list(self.signals.block_names),
            "trend_names": list(self.signals.trend_names),
            "num_candidates": self.num_candidates,
            "history_length": self.history_length,
            "learning_curve": list(self.learning_curve),
            **({} if self.signals.context is None else {"context": self.signals.context.meta()}),
        }

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]], meta: Mapping[str, Any]) -> Self:
        """Rebuild from what `arrays` and `meta` gave."""
        signals, network = (
            {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            for prefix in ("signals/", "network/")
        )
        names = (tuple(meta["block_names"]), tuple(meta["trend_names"]))
        return cls(
            sources=tuple(meta["sources"]),
            signals=ItemSignals.load(signals, *names, meta.get("context")),
            network=Network.load(network),
            num_candidates=int(meta["num_candidates"]),
            history_length=int(meta["history_length"]),
            learning_curve=tuple(meta.get("learning_curve", ())),
        )


def standing(keys_NC: Floats, is_movable_NC: Bools) -> Ints:
    """[n, C] the candidate that stands at each place when movable ones take each other's places by descending keys.

    All others keep their own; ties keep the order of before.
    """
    places = np.argsort(~is_movable_NC, axis=1, kind="stable")
    by_key = np.argsort(-np.where(is_movable_NC, keys_NC, np.float32(-np.inf)), axis=1, kind="stable")
    at = np.empty(keys_NC.shape, dtype=np.int64)
    np.put_along_axis(at, places, by_key, axis=1)
    return at
