"""Contents of a catalogue → the facts that paths go over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse

from mmrec_lib.features.contents import RARE_ATTRIBUTES, RARE_RELATIONS
from mmrec_lib.models.data import Content
from mmrec_lib.showing.attributes import numbers
from mmrec_lib.tastes.paths import ItemNodes, Relation

_GRAPH, _ATTRIBUTE = "graph:", "attribute:"
# Its tokens are numbers of ranges.
_PRICE = "attribute:price"


def nodes_of_contents(contents: Mapping[str, Content], num_items: int) -> ItemNodes | None:
    """Nodes of the token blocks of a snapshot; None where no two items share one.

    Relations of the graph count, categories, and attributes whose values are no numbers: that two items weigh the same
    is no reason.

    Args:
        contents: By name, of all items.
        num_items: Number of items.
    """
    parts: dict[Relation, list[tuple[sparse.csc_matrix, list[str]]]] = {}
    for name, content in contents.items():
        if content.kind != "sparse" or name == _PRICE:
            continue
        columns = sparse.csc_matrix(content.matrix)
        for relation, own, tokens in _relations(name, content.tokens):
            kept = np.flatnonzero(~_are_numbers(tokens)) if relation.is_attribute else np.arange(len(tokens))
            if len(kept):
                parts.setdefault(relation, []).append((columns[:, own[kept]], [tokens[place] for place in kept]))
    facts = {
        relation: (
            sparse.csr_matrix(sparse.hstack([matrix for matrix, _ in some])),
            tuple(token for _, tokens in some for token in tokens),
        )
        for relation, some in parts.items()
    }
    return ItemNodes.of(facts, num_items)


def _relations(name: str, tokens: Sequence[str]) -> list[tuple[Relation, npt.NDArray[np.int64], list[str]]]:
    """Relations of a block, with the columns and tokens of each."""
    if name not in (RARE_ATTRIBUTES, RARE_RELATIONS):
        is_attribute = name.startswith(_ATTRIBUTE)
        if not is_attribute and not name.startswith(_GRAPH):
            return []
        relation = Relation(is_attribute, name.split(":", 1)[1])
        return [(relation, np.arange(len(tokens)), list(tokens))]
    grouped: dict[str, list[int]] = {}
    for place, token in enumerate(tokens):
        grouped.setdefault(token.partition("=")[0], []).append(place)
    return [
        (Relation(name == RARE_ATTRIBUTES, own), np.array(places), [tokens[p].partition("=")[2] for p in places])
        for own, places in grouped.items()
    ]


def _are_numbers(tokens: Sequence[str]) -> npt.NDArray[np.bool_]:
    return ~np.isnan(numbers(pa.array(tokens, pa.string())))
