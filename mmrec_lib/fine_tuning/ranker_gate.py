"""The ranker's first stage with the vectors of an encoder and with those of another one, on validation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mmrec_lib.errors import RecipeError
from mmrec_lib.features.load import Snapshot
from mmrec_lib.models.config import RankerSettings, TrainingConfig
from mmrec_lib.models.data import Content, FitData
from mmrec_lib.models.ranker.first_stage import fit_first_stage
from mmrec_lib.models.tuning.choose import choose_settings
from mmrec_lib.models.tuning.validation import CUT_OFF, ValidationUsers
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.behaviour import Comparison
from mmrec_lib.topk.threads import FEW_ITEMS, single_threaded_blas

METRIC, K = "ndcg", CUT_OFF
_BLOCK = "adaptation"
Floats = npt.NDArray[np.float32]


class RankerCheck:
    """Fits the first stage on the train part of a snapshot and reads its nDCG@10 on the valid part.

    The vectors of the contents in question are one block, in the place of the blocks that the snapshot has of the same
    fields; everything else is the same for both encoders. For both the settings are chosen as the ranker's
    are, on the same users of valid that they are compared on, so both are flattered alike.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        item_ids: Sequence[str],
        config: AdaptationConfig,
        training: TrainingConfig,
        names: Sequence[str],
    ) -> None:
        """Bind to a snapshot.

        Args:
            snapshot: The training snapshot, without a joint space.
            item_ids: Items that vectors are given of.
            config: The users that are needed.
            training: Settings of the ranker's training.
            names: Blocks that the vectors take the place of, `<modality>:<field>`; those of one encoder too.

        Raises:
            RecipeError: When too few users of valid have something to find.
        """
        data, self._valid, self._training = snapshot.fit_data("fit1"), snapshot.parts["valid"], training
        others = {
            name: content
            for name, content in data.contents.items()
            if name not in names and not name.startswith(tuple(f"{own}:" for own in names))
        }
        self._data = replace(data, contents=others)
        self._users = ValidationUsers.of(self._data, self._valid, training)
        if len(self._users) < config.min_users:
            raise RecipeError(
                f"Adaptation `{config.name}`: at least {config.min_users} users with something to find in the "
                f"snapshot's valid part are needed for the ranker's part of the gate (adaptation.min_users), got "
                f"{len(self._users)}. Set adaptation.ranker_margin=null to go without it."
            )
        _, self._places, self._rows = np.intersect1d(snapshot.item_ids, np.array(item_ids), return_indices=True)
        self._seed = config.seed

    def compare(self, before: Floats, after: Floats) -> Comparison:
        """Values with the vectors of an encoder as it was, and with those of the new one.

        Args:
            before: `[num_items, dim]`, in the order of the items that were given.
            after: The same of the new one.
        """
        with single_threaded_blas() if len(self._data.item_ids) <= FEW_ITEMS else nullcontext():
            values, chosen = [], None
            for vectors in (before, after):
                data = self._with_block(vectors)
                chosen = choose_settings(data, self._valid, self._training, chosen)
                values.append(self._values(data, chosen))
        old, new = values
        return Comparison.of(old, new, self._seed)

    def _with_block(self, vectors: Floats) -> FitData:
        matrix = np.zeros((len(self._data.item_ids), vectors.shape[1]), np.float32)
        matrix[self._places] = vectors[self._rows]
        block = Content.from_vectors(_BLOCK, matrix)
        return replace(self._data, contents={**self._data.contents, _BLOCK: block})

    def _values(self, data: FitData, settings: RankerSettings) -> npt.NDArray[np.float64]:
        """[num_users] nDCG@10 of each user of valid."""
        ranker = fit_first_stage(data, settings)
        scores = ranker.project(self._users.histories).vectors @ ranker.item_vectors().T
        return self._users.ndcg_by_user(scores)
