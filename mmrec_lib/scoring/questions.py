"""The items that new users should be asked about, of a catalogue."""

from __future__ import annotations

from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmrec_lib.listing.elicitation import choose_questions, familiarity_of
from mmrec_lib.scoring.catalogue import Catalogue
from mmrec_lib.scoring.shown_items import new_items


def question_rows(
    catalogue: Catalogue, deviation: npt.NDArray[np.float32], num_questions: int, day: date, version: str
) -> pa.Table:
    """Rows of `elicitation_item`: items that may be listed and were there at the fit.

    Args:
        catalogue: Items, vectors and rules.
        deviation: [dim] deviation of users' vectors in each distilled dimension.
        num_questions: Most items.
        day: Date of the slice.
        version: Version of the model.
    """
    dim = len(deviation)
    is_warm = ~new_items(catalogue.item_ids, catalogue.ranker)
    # The dimension after the distilled ones is the logarithm of the popularity.
    familiarity = familiarity_of(catalogue.item_vectors[:, dim], is_warm)
    chosen = choose_questions(
        catalogue.item_vectors[:, :dim] * deviation, familiarity, catalogue.rules.is_listed, num_questions
    )
    number = len(chosen.items)
    return pa.table(
        {
            "as_of_date": pa.array([day] * number, pa.date32()),
            "rank": pa.array(np.arange(1, number + 1), pa.int32()),
            "item_id": catalogue.arrow_ids.take(pa.array(chosen.items)),
            "gain": pa.array(chosen.gains, pa.float64()),
            "popularity": pa.array(familiarity[chosen.items], pa.float64()),
            "model_version": pa.array([version] * number, pa.string()),
        }
    )
