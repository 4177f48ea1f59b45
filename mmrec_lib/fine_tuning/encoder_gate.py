"""The gate of an adapted encoder: its figures beside those of the encoder as it was, on items hidden from training."""

from __future__ import annotations

from collections.abc import Mapping

from mmrec_lib.errors import RecipeError
from mmrec_lib.fine_tuning.cross_modal_gate import CROSS_MODAL, CrossModalCheck
from mmrec_lib.fine_tuning.ranker_gate import METRIC, K, RankerCheck
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.adapt_joint import JointAdapter
from mmrec_lib.recipes.adapter import Adapter
from mmrec_lib.recipes.behaviour import Behaviour, Comparison, recalls

RECALL = "recall"
MEASURED = {RECALL: "held-out items", METRIC: "the ranker on valid", **CROSS_MODAL}
"""Metrics and what they are of, in words."""


class EncoderGate:
    """Recall of users' hidden items, the ranker where it is asked, and of a joint encoder texts and images."""

    def __init__(
        self, adapter: Adapter, behaviour: Behaviour, config: AdaptationConfig, ranker: RankerCheck | None
    ) -> None:
        """Read the encoder as it is, before it is trained.

        Args:
            adapter: The encoder, which has read the contents.
            behaviour: Users and items.
            config: What the gate asks for.
            ranker: The ranker's part; None does not ask it.

        Raises:
            RecipeError: When there are too few users, or too few items with a text and an image.
        """
        self._behaviour, self._config, self._ranker = behaviour, config, ranker
        self._as_it_was = adapter.encode(range(len(behaviour.item_ids)))
        self._before = recalls(behaviour, self._as_it_was, "test", config.k)
        if len(self._before) < config.min_users:
            raise RecipeError(
                f"Adaptation `{config.name}`: at least {config.min_users} users with items in train and among the "
                f"held-out ones are needed for the gate (adaptation.min_users), got {len(self._before)}."
            )
        held_out = behaviour.items("test").tolist()
        self._cross_modal = CrossModalCheck(adapter, held_out, config) if isinstance(adapter, JointAdapter) else None

    def compare(self, adapter: Adapter, *, is_better: bool) -> dict[tuple[str, int], Comparison]:
        """The encoder as it is now beside the one as it was, by metric and cut-off.

        Args:
            adapter: The encoder after its training.
            is_better: Whether an epoch was better on validation; the ranker is asked only then.
        """
        config = self._config
        adapted = adapter.encode(range(len(self._behaviour.item_ids)))
        after = recalls(self._behaviour, adapted, "test", config.k)
        compared = {(RECALL, config.k): Comparison.of(self._before, after, config.seed)}
        if self._cross_modal is not None:
            assert isinstance(adapter, JointAdapter)
            compared |= self._cross_modal.compare(adapter)
        if self._ranker is not None and is_better:
            compared[METRIC, K] = self._ranker.compare(self._as_it_was, adapted)
        return compared


def refusal(config: AdaptationConfig, compared: Mapping[tuple[str, int], Comparison], *, is_better: bool) -> str:
    """Reason that keeps an encoder from its release; empty where it passes."""
    if not is_better:
        return "no epoch was better on validation"
    if compared[RECALL, config.k].diff_low <= config.min_gain:
        return "the gain is not beyond chance"
    margin = config.cross_modal_margin
    for metric, told in CROSS_MODAL.items():
        found = compared.get((metric, config.k))
        if found is not None and margin is not None and found.diff_low <= -margin:
            return f"{told} may be found less often by more than {margin:g} (adaptation.cross_modal_margin)"
    ranker = compared.get((METRIC, K))
    if ranker is not None and config.ranker_margin is not None and ranker.diff_low <= -config.ranker_margin:
        return f"the ranker may lose more than {config.ranker_margin:g} (adaptation.ranker_margin)"
    return ""
