"""Texts that find images and images that find texts by a joint encoder as it was and by the new one, held-out items."""

from __future__ import annotations

from collections.abc import Sequence

from mmrec_lib.errors import RecipeError
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.adapt_joint import JointAdapter
from mmrec_lib.recipes.behaviour import Comparison
from mmrec_lib.recipes.cross_modal import IMAGE_TO_TEXT, TEXT_TO_IMAGE, cross_modal_hits

CROSS_MODAL = {TEXT_TO_IMAGE: "held-out images by their text", IMAGE_TO_TEXT: "held-out texts by their image"}
"""Metrics and what is found, in words."""
_FEWEST = 2
# Candidates for each place of the lists that are looked at.
_CUT_OFFS = 2


class CrossModalCheck:
    """The figures of a joint encoder as it was; see `cross_modal_hits`."""

    def __init__(self, adapter: JointAdapter, items: Sequence[int], config: AdaptationConfig) -> None:
        """Read the encoder, which is not trained yet.

        Args:
            adapter: The encoder, which has read the items.
            items: Numbers of the held-out ones.
            config: Cut-off, and the number of texts and of images that are needed.

        Raises:
            RecipeError: When too few of them have a text and an image, and the gate asks.
        """
        self._items, self._config = items, config
        self._before = cross_modal_hits(adapter, items, config.k).by_metric
        fewest = min(map(len, self._before.values()))
        self._is_measured = fewest >= _FEWEST
        # Among k or fewer everything is found, whatever the encoder.
        needed = max(config.min_users, _CUT_OFFS * config.k)
        if config.cross_modal_margin is not None and fewest < needed:
            raise RecipeError(
                f"Adaptation `{config.target}`: at least {needed} different texts and images of held-out items with "
                f"both are needed for the cross-modal part of the gate (adaptation.min_users, and {_CUT_OFFS} times "
                f"adaptation.k), got {fewest}. Set adaptation.cross_modal_margin=null to go without it."
            )

    def compare(self, adapter: JointAdapter) -> dict[tuple[str, int], Comparison]:
        """Both directions with the encoder as it was and as it is now, by metric and cut-off; none of too few items."""
        if not self._is_measured:
            return {}
        after = cross_modal_hits(adapter, self._items, self._config.k).by_metric
        return {
            (metric, self._config.k): Comparison.of(before, after[metric], self._config.seed)
            for metric, before in self._before.items()
        }
