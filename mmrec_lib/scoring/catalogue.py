"""The catalogue of a scoring run: item vectors of today's items under one model, on disk for every worker."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather
import pyarrow.fs

from mmrec_lib.errors import ModelError
from mmrec_lib.features.load import SnapshotItems
from mmrec_lib.location import is_uri
from mmrec_lib.models.data import Bools, Content, Ints
from mmrec_lib.models.ids import IdIndex, Mapped
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.scorer import CandidateScorer
from mmrec_lib.reranking.facts import ItemFacts
from mmrec_lib.scoring.catalogue_scorer import CatalogueScorer
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.tastes.paths import ItemNodes
from mmrec_lib.topk.approximate import ApproximateIndex
from mmrec_lib.topk.items import PreparedItems, prepare_items
from mmrec_lib.topk.selection import NO_ITEM

_VECTORS, _ITEMS, _MODEL, _RULES, _FACTS = "item_vectors.npy", "items.arrow", "model", "rules", "facts"
_INDEX, _NODES, _SCORER = "index", "nodes", "scorer"
_READ_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Catalogue:
    """Items, vectors and model that a worker scores users with.

    Attributes:
        ranker: The model.
        item_ids: [I] today's items, sorted.
        item_vectors: [I, dim] float32.
        rules: What may be shown to whom.
        facts: Facts for re-ranking; None where lists are not re-ranked.
        nodes: Facts that items share, for paths; None where there are none or none are asked for.
        index: Index of approximate search; None where search is exact.
        scorer: Judges the first candidates; None where the ranker has no weight for one.
    """

    ranker: FittedRanker
    item_ids: npt.NDArray[np.str_]
    item_vectors: npt.NDArray[np.float32]
    rules: ItemRules
    facts: ItemFacts | None = None
    nodes: ItemNodes | None = None
    index: ApproximateIndex | None = None
    scorer: CandidateScorer | None = None

    @cached_property
    def arrow_ids(self) -> pa.StringArray:
        """The ids in Arrow."""
        return pa.array(self.item_ids, type=pa.string())

    @cached_property
    def prepared(self) -> PreparedItems:
        """The items as exact top-k searches them, prepared once for all users of a worker."""
        return self._prepared(slice(0, len(self.item_ids)))

    def is_cut(self, num_items: int) -> bool:
        """True where the catalogue is searched in several blocks of at most so many items."""
        return len(self.item_ids) > num_items

    def blocks(self, num_items: int) -> Iterator[tuple[slice, PreparedItems]]:
        """The items in blocks of at most so many, each prepared for exact search.

        A catalogue of one block stays prepared for all users of a worker. The others are prepared one after the other,
        so that a worker holds one block and the pages of the vectors' file that the system keeps.
        """
        if not self.is_cut(num_items):
            yield slice(0, len(self.item_ids)), self.prepared
            return
        for start in range(0, len(self.item_ids), num_items):
            rows = slice(start, min(start + num_items, len(self.item_ids)))
            yield rows, self._prepared(rows)

    @cached_property
    def new_places(self) -> Ints:
        """Positions of new items that may be listed, for exploration."""
        assert self.facts is not None
        return np.flatnonzero(self.facts.is_new & self.rules.is_listed)

    @cached_property
    def prepared_new(self) -> PreparedItems:
        """The items of `new_places`."""
        return self._prepared(self.new_places)

    def _prepared(self, rows: slice | Ints) -> PreparedItems:
        """Items with what rules add to their scores as more dimensions."""
        vectors, rules = self.item_vectors[rows], self.rules
        if rules.item_boosts.shape[1]:
            vectors = np.hstack([vectors, rules.item_boosts[rows]])
        allowed = None if rules.allowed is None else rules.allowed[:, rows]
        return prepare_items(vectors, unavailable=~rules.is_listed[rows], allowed=allowed)

    @cached_property
    def in_model(self) -> Mapped:
        """From positions in today's catalogue to those in the fit's, which may lack items that came later."""
        return Mapped(self.item_ids, self.ranker.item_index)

    @cached_property
    def of_model(self) -> Mapped:
        """From positions in the fit's catalogue to those in today's."""
        return Mapped(self.ranker.item_ids, IdIndex(self.item_ids, "items of today's catalogue"))

    def places_in_fit(self, indices: npt.NDArray[np.integer]) -> Ints:
        """Positions in the catalogue of the fit; NO_ITEM for items that came later, and where there is none."""
        known = indices != NO_ITEM
        known[known] = self.in_model.known[indices[known]]
        places = np.full(indices.shape, NO_ITEM, dtype=np.int64)
        places[known] = self.in_model.of(indices[known])
        return places

    def listed(self, item_ids: pa.Array) -> tuple[Bools, Ints]:
        """[n] True for ids of today's catalogue, and the positions of those."""
        found = pc.index_in(item_ids, value_set=self.arrow_ids)
        is_listed = found.is_valid().to_numpy(zero_copy_only=False)
        return is_listed, found.drop_null().to_numpy(zero_copy_only=False).astype(np.int64)


def build_catalogue(
    ranker: FittedRanker,
    items: SnapshotItems,
    load_contents: Callable[[], Mapping[str, Content]],
    rules: ItemRules,
    facts: ItemFacts | None = None,
    nodes: ItemNodes | None = None,
    *,
    is_of_fit: bool = False,
) -> Catalogue:
    """Vectors of today's items: of those with interactions at the fit the model's own, else those of today's content.

    Args:
        ranker: The model.
        items: The catalogue.
        load_contents: Loads the contents of all its items; called only where an item needs them.
        rules: What may be shown to whom, in the catalogue's order.
        facts: Facts for re-ranking.
        nodes: Facts for paths.
        is_of_fit: True where the snapshot is that of the fit, so that the model's vectors are those of today's content.
    """
    known = Mapped(items.item_ids, ranker.item_index)
    places = known.of(np.flatnonzero(known.known))
    vectors = np.zeros((len(items.item_ids), ranker.vector_dim), dtype=np.float32)
    vectors[known.known] = ranker.item_vectors()[places]
    by_content = ~known.known
    if not is_of_fit:
        by_content[known.known] = ~ranker.warm[places]
    if by_content.any():
        rows = np.flatnonzero(by_content)
        contents = {name: content.rows(rows) for name, content in load_contents().items()}
        vectors[rows] = ranker.item_vectors_from_content(contents, len(rows))
    return Catalogue(ranker, items.item_ids, vectors, rules, facts, nodes)


def save_catalogue(catalogue: Catalogue, model_folder: Path, uri: str) -> dict[str, str]:
    """Write a catalogue where every worker can read it; returns the hash of each of its parts."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copytree(model_folder, folder / _MODEL)
        np.save(folder / _VECTORS, catalogue.item_vectors)
        pyarrow.feather.write_feather(pa.table({"item_id": catalogue.arrow_ids}), str(folder / _ITEMS))
        (folder / _RULES).mkdir()
        catalogue.rules.save(folder / _RULES)
        if catalogue.facts is not None:
            (folder / _FACTS).mkdir()
            catalogue.facts.save(folder / _FACTS)
        if catalogue.nodes is not None:
            (folder / _NODES).mkdir()
            catalogue.nodes.save(folder / _NODES)
        if catalogue.index is not None:
            catalogue.index.save(folder / _INDEX)
        if isinstance(catalogue.scorer, CatalogueScorer):
            catalogue.scorer.save(folder / _SCORER)
        pyarrow.fs.copy_files(str(folder), uri)
        return {path.stem: hash_of_files(path) for path in folder.iterdir()}


def hash_of_files(path: Path) -> str:
    """Hash of a file, or of all files of a folder."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(inner for inner in path.rglob("*") if inner.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while chunk := stream.read(_READ_AT_ONCE):
                digest.update(chunk)
    return digest.hexdigest()


@lru_cache(maxsize=1)
def load_catalogue(uri: str) -> Catalogue:
    """Read a catalogue, once a worker process; from other than local disks it is copied first.

    Raises:
        ModelError: When there is none.
    """
    local = on_local_disk(uri)
    if not (local / _ITEMS).exists():
        raise ModelError(
            f"catalogue {uri}: there is no {_ITEMS}. It is written by the scoring job and lives as long as that."
        )
    items = pyarrow.feather.read_table(str(local / _ITEMS))
    return Catalogue(
        ranker=FittedRanker.load(local / _MODEL),
        item_ids=np.array(items["item_id"].to_pylist(), dtype=np.str_),
        item_vectors=np.load(local / _VECTORS, mmap_mode="r"),
        rules=ItemRules.load(local / _RULES),
        facts=ItemFacts.load(local / _FACTS) if (local / _FACTS).exists() else None,
        nodes=ItemNodes.load(local / _NODES) if (local / _NODES).exists() else None,
        index=ApproximateIndex.load(local / _INDEX) if (local / _INDEX).exists() else None,
        scorer=CatalogueScorer.load(local / _SCORER) if (local / _SCORER).exists() else None,
    )


def on_local_disk(uri: str) -> Path:
    """The folder of what a run wrote for its workers; from other than local disks it is copied first.

    The copy is kept for the life of the worker process, which maps arrays from its files.
    """
    if not is_uri(uri):
        return Path(uri)
    local = Path(tempfile.mkdtemp(prefix="mmrec-catalogue-"))
    pyarrow.fs.copy_files(uri, str(local))
    return local


def listed_places(item_ids: pa.ListArray, catalogue: Catalogue, length: int) -> npt.NDArray[np.int32]:
    """[n, length] positions in the catalogue of the items of lists, NO_ITEM where a list ends.

    Args:
        item_ids: [n] lists of at most `length` items of the catalogue.
        catalogue: The items.
        length: Width of the result.
    """
    lengths = item_ids.value_lengths().to_numpy(zero_copy_only=False)
    places = np.full((len(item_ids), length), NO_ITEM, dtype=np.int32)
    places[np.arange(length) < lengths[:, None]] = catalogue.listed(item_ids.flatten())[1]
    return places
