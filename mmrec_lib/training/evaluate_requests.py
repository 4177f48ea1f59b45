"""Lists for the requests of a part, made with their context, without it and by the first stage alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy import sparse

from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.evaluation.evaluate import relevant_of_some
from mmrec_lib.evaluation.rankings import Scorer, without_seen
from mmrec_lib.evaluation.requests import WITHOUT_CONTEXT, request_values, top_lists
from mmrec_lib.evaluation.rows import MetricRow, summarise
from mmrec_lib.features.load import Snapshot
from mmrec_lib.models.data import FitData, Histories, Interactions
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.requests import draw_requests
from mmrec_lib.models.request_context import Searches
from mmrec_lib.models.second_stage_settings import ContextKind
from mmrec_lib.training.fits import FIRST_STAGE, RANKER
from mmrec_lib.training.parts import compiled

_KNOWN_TO_LISTS = frozenset[ContextKind]({"market"})
"""Parts of the context of which lists that are made in advance know as much as a request."""
_SEED = 0


def evaluate_requests(
    snapshot: Snapshot,
    fit: str,
    part: str,
    ranker: FittedRanker,
    models: Mapping[str, Scorer[Histories]],
    config: EvaluationConfig,
) -> list[MetricRow]:
    """Metrics of lists for the requests of a part; none of a ranker to which a request tells nothing.

    That is one without a context, and one that looks at the user's market alone, which all lists know.

    Args:
        snapshot: Data.
        fit: What the models were fitted on.
        part: valid or test.
        ranker: The fitted ranker.
        models: The ranker as it is evaluated, and its first stage, by name; others are not looked at.
        config: Cut-offs, bootstrap and sizes.
    """
    kinds = () if ranker.second_stage is None else ranker.second_stage.context_kinds
    if set(kinds) <= _KNOWN_TO_LISTS:
        return []
    return request_rows(snapshot.fit_data(fit), snapshot.parts[part], snapshot.searches, models, config)


def request_rows(
    data: FitData,
    later: Interactions,
    searches: Searches | None,
    models: Mapping[str, Scorer[Histories]],
    config: EvaluationConfig,
) -> list[MetricRow]:
    """Rows of the segment `requests`: the ranker with the context of requests, without it, and its first stage.

    Requests are drawn as those that the second stage learns from: what a user with history turned to within an hour on
    one device, up to two of a user, and `max_users` at most. The users are among those that `evaluate` looks at. With
    the context a list knows hour, device and the user's last search before the request; without it what lists that are
    made in advance know. History and masked items are those of the fit, for all of them.

    Args:
        data: What the models were fitted on.
        later: [U, I] interactions of the part.
        searches: Searches of the users at any time; None where nobody asks for them.
        models: `ranker` and `first_stage`.
        config: Cut-offs, bootstrap and sizes.

    Returns:
        No rows where no user with history has a request whose hour or device is known.
    """
    seen = data.interactions.weights
    wanted = without_seen(relevant_of_some(later.weights, seen, config.max_users, _SEED), seen)
    wanted = sparse.csr_matrix(wanted.multiply((np.diff(seen.indptr) > 0).astype(np.int32)[:, None]))
    wanted.eliminate_zeros()
    requests = draw_requests(later, wanted, data.device_names, config.max_users, _SEED)
    users, list_of = np.unique(requests.users, return_inverse=True)
    if not len(users):
        return []
    published, seen = data.histories().rows(users), seen[users]
    context = requests.context(published.context, list_of, searches)
    asked = replace(published.rows(list_of), context=context)
    scorers, length, block = compiled(models), max(config.ks), config.block_users(len(data.item_ids))
    lists = {
        RANKER: top_lists(scorers[RANKER], asked, seen[list_of], length, block=block),
        WITHOUT_CONTEXT: top_lists(scorers[RANKER], published, seen, length, block=block)[list_of],
        FIRST_STAGE: top_lists(scorers[FIRST_STAGE], published, seen, length, block=block)[list_of],
    }
    values = request_values(lists, requests.users, requests.relevant, config.ks)
    return summarise([values], num_bootstrap=config.num_bootstrap, seed=_SEED)
