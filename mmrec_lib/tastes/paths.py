"""Paths from an item of the history over a shared fact to a recommended item: `A, directed by B, who directed C`.

Shape letters: n users of a batch, I items, N nodes, K explained items a user, E entries of all histories.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.feather
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.files import write_text_atomic

NO_PATH = -1
PATH = pa.struct([(name, pa.string()) for name in ("item_id", "relation", "node", "node_relation")])
# Nodes of more than this share of the items tell nothing of any.
_MAX_SHARE = 0.5
# Pairs of a history's entry, or of a recommended item, and a node that are looked at together, about.
_PAIRS_AT_ONCE = 2_000_000
_MATRIX, _NAMES, _RELATIONS = "nodes.npz", "nodes.arrow", "relations.json"

Ints = NDArray[np.int64]


class Relation(NamedTuple):
    """Relation between items and nodes.

    Equal names of two attributes are different nodes, those of two relations of the graph are one: who directed an item
    may star in another.

    Attributes:
        is_attribute: True for an attribute of items, False for a relation of the graph.
        name: Name of it.
    """

    is_attribute: bool
    name: str


@dataclass(frozen=True)
class ItemNodes:
    """Facts that items share, such as a person or a brand.

    Attributes:
        items: [I, N] csr int32, where an item has a node the number of the relation between them, counted from 1.
        names: [N] names of the nodes.
        relations: Names of the relations.
    """

    items: sparse.csr_matrix
    names: pa.StringArray
    relations: tuple[str, ...]

    @classmethod
    def of(
        cls, facts: Mapping[Relation, tuple[sparse.csr_matrix, tuple[str, ...]]], num_items: int
    ) -> ItemNodes | None:
        """Nodes of facts; None where no two items share one.

        Args:
            facts: By relation [I, T] which items have which of T names, and the names.
            num_items: I.
        """
        relations = sorted(facts)
        keys: dict[tuple[str, str], int] = {}
        rows, columns, codes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
        for code, relation in enumerate(relations, start=1):
            matrix, names = facts[relation]
            of_what = relation.name if relation.is_attribute else ""
            node_of = np.array([keys.setdefault((of_what, name), len(keys)) for name in names], dtype=np.int64)
            own = matrix.tocoo()
            rows.append(own.row.astype(np.int64))
            columns.append(node_of[own.col] if len(names) else np.zeros(0, np.int64))
            codes.append(np.full(own.nnz, code, dtype=np.int32))
        row, column, code_of = np.concatenate(rows), np.concatenate(columns), np.concatenate(codes)
        # Of several relations with one node the first by name stands.
        _, first = np.unique(row * max(len(keys), 1) + column, return_index=True)
        row, column, code_of = row[first], column[first], code_of[first]
        counts = np.bincount(column, minlength=len(keys))
        is_kept = (counts >= 2) & (counts <= max(2.0, _MAX_SHARE * num_items))
        if not is_kept.any():
            return None
        place = np.cumsum(is_kept) - 1
        own_pairs = is_kept[column]
        matrix = sparse.csr_matrix(
            (code_of[own_pairs], (row[own_pairs], place[column[own_pairs]])), shape=(num_items, int(is_kept.sum()))
        )
        names_of_all = [name for _, name in keys]
        kept_names = [names_of_all[node] for node in np.flatnonzero(is_kept)]
        return cls(matrix, pa.array(kept_names, pa.string()), tuple(relation.name for relation in relations))

    def save(self, folder: Path) -> None:
        """Write the nodes into a folder that exists."""
        sparse.save_npz(folder / _MATRIX, self.items)
        pyarrow.feather.write_feather(pa.table({"name": self.names}), str(folder / _NAMES))
        write_text_atomic(folder / _RELATIONS, json.dumps(list(self.relations), ensure_ascii=False))

    @classmethod
    def load(cls, folder: Path) -> ItemNodes:
        """Read what `save` wrote."""
        names = pyarrow.feather.read_table(str(folder / _NAMES))["name"].combine_chunks()
        relations = json.loads((folder / _RELATIONS).read_text(encoding="utf-8"))
        return cls(sparse.csr_matrix(sparse.load_npz(folder / _MATRIX)), names, tuple(relations))


@dataclass(frozen=True)
class Paths:
    """The best path to each item; NO_PATH where nothing is shared.

    Attributes:
        items: [n, K] position of the item of the history.
        nodes: [n, K] the shared node.
        relations: [n, K] number of the relation from the item of the history to the node, counted from 1.
        node_relations: [n, K] that from the recommended item to the node.
    """

    items: Ints
    nodes: Ints
    relations: Ints
    node_relations: Ints

    def arrow(self, chosen: NDArray[np.bool_], nodes: ItemNodes, item_ids: pa.StringArray) -> pa.StructArray:
        """`PATH` of the chosen places, row after row; null where there is no path."""
        at = self.items[chosen]
        is_null = at == NO_PATH
        relations = pa.array(nodes.relations, pa.string())
        taken = [
            item_ids.take(pa.array(at, mask=is_null)),
            relations.take(pa.array(self.relations[chosen] - 1, mask=is_null)),
            nodes.names.take(pa.array(self.nodes[chosen], mask=is_null)),
            relations.take(pa.array(self.node_relations[chosen] - 1, mask=is_null)),
        ]
        return pa.StructArray.from_arrays(taken, fields=list(PATH), mask=pa.array(is_null))


def best_paths(history: sparse.csr_matrix, items: NDArray[np.integer], nodes: ItemNodes) -> Paths:
    """Find the path over the rarest node that an item of the history and a recommended item share.

    Of equally rare nodes the first is taken, and of the items of the history that have the node the one that weighs
    most. The number of items between both ends is two: item, node, item.

    Args:
        history: [n, I] weights of what a user turned to.
        items: [n, K] positions of the recommended items; below 0 for none.
        nodes: Facts that items share.
    """
    found = [np.full(items.shape, NO_PATH, dtype=np.int64) for _ in range(4)]
    num_of_item = np.diff(nodes.items.indptr).astype(np.int64)
    in_history = np.concatenate([[0], np.cumsum(num_of_item[history.indices])])[history.indptr]
    pairs_of_user = np.diff(in_history) + np.where(items >= 0, num_of_item[np.maximum(items, 0)], 0).sum(axis=1)
    rarity = np.lexsort((np.arange(nodes.items.shape[1]), np.bincount(nodes.items.indices, minlength=len(nodes.names))))
    place_of_node = np.empty(len(rarity), dtype=np.int64)
    place_of_node[rarity] = np.arange(len(rarity))
    for rows in _blocks(pairs_of_user):
        own = _paths_of_block(history[rows], items[rows].astype(np.int64), nodes.items, place_of_node)
        for whole, part in zip(found, own, strict=True):
            whole[rows] = part
    return Paths(*found)


def _blocks(pairs_of_user: Ints) -> Iterator[slice]:
    """Blocks of users that bound the memory."""
    start, pairs = 0, 0
    for end, own in enumerate(pairs_of_user.tolist()):
        if end > start and pairs + own > _PAIRS_AT_ONCE:
            yield slice(start, end)
            start, pairs = end, 0
        pairs += own
    if start < len(pairs_of_user):
        yield slice(start, len(pairs_of_user))


def _paths_of_block(
    history: sparse.csr_matrix, items_NK: Ints, nodes: sparse.csr_matrix, place_of_node: Ints
) -> list[Ints]:
    """Item of the history, node and both relations, [n, K] each."""
    found = [np.full(items_NK.shape, NO_PATH, dtype=np.int64) for _ in range(4)]
    # Nodes of the recommended items.
    rows, places = np.nonzero(items_NK >= 0)
    listed, listed_at = _expanded(items_NK[rows, places], nodes)
    own_items = items_NK[rows, places][listed]
    wanted = rows[listed] * nodes.shape[1] + place_of_node[nodes.indices[listed_at]]
    # Those of the user's history among them, with the items that have them, the one that weighs most in front.
    users = np.repeat(np.arange(history.shape[0]), np.diff(history.indptr))
    entries, at = _expanded(history.indices.astype(np.int64), nodes)
    keys = users[entries] * nodes.shape[1] + place_of_node[nodes.indices[at]]
    sorted_wanted = np.sort(wanted)
    shared = np.flatnonzero(_taken(sorted_wanted, np.searchsorted(sorted_wanted, keys)) == keys)
    entries, at, keys = entries[shared], at[shared], keys[shared]
    order = np.lexsort((history.indices[entries], -history.data[entries], keys))
    keys, at, known_items = keys[order], at[order], history.indices[entries[order]].astype(np.int64)
    met = np.searchsorted(keys, wanted)
    # An item that is in the history itself is no reason for itself; the next one may be.
    met += _taken(known_items, met) == own_items
    is_met = (_taken(keys, met) == wanted) & (_taken(known_items, met) != own_items)
    listed, listed_at, wanted, met = listed[is_met], listed_at[is_met], wanted[is_met], met[is_met]
    # The rarest of each.
    order = np.lexsort((wanted, listed))
    chosen, first = np.unique(listed[order], return_index=True)
    listed_at, met = listed_at[order][first], met[order][first]
    columns = (known_items[met], nodes.indices[listed_at], nodes.data[at[met]], nodes.data[listed_at])
    for whole, column in zip(found, columns, strict=True):
        whole[rows[chosen], places[chosen]] = column
    return found


def _taken(values: Ints, at: Ints) -> Ints:
    """Values at some places; NO_PATH after the last one."""
    return np.append(values, NO_PATH)[np.minimum(at, len(values))]


def _expanded(items: Ints, nodes: sparse.csr_matrix) -> tuple[Ints, Ints]:
    """Places among some items and stored positions, one of each for every node that an item has."""
    lengths = np.diff(nodes.indptr)[items]
    which = np.repeat(np.arange(len(items)), lengths)
    before = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    return which, nodes.indptr[items][which] + np.arange(len(which)) - before[which]
