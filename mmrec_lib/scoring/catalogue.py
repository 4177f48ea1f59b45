"""The catalogue of a scoring run: item vectors of today's items under one model, on disk for every worker."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.fs

from mmrec_lib.errors import ModelError
from mmrec_lib.features.load import SnapshotItems
from mmrec_lib.location import is_uri
from mmrec_lib.models.data import Content
from mmrec_lib.models.ids import IdIndex, Mapped
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.topk.items import PreparedItems, prepare_items

_VECTORS, _ITEMS, _MODEL = "item_vectors.npy", "items.json", "model"


@dataclass(frozen=True)
class Catalogue:
    """Items, vectors and model that a worker scores users with.

    Attributes:
        ranker: The model.
        item_ids: [I] today's items, sorted.
        item_vectors: [I, dim] float32.
        unavailable: [I] items that must not be recommended.
    """

    ranker: FittedRanker
    item_ids: npt.NDArray[np.str_]
    item_vectors: npt.NDArray[np.float32]
    unavailable: npt.NDArray[np.bool_]

    @cached_property
    def index(self) -> IdIndex:
        """Positions in today's catalogue."""
        return IdIndex(self.item_ids, "items of today's catalogue")

    @cached_property
    def prepared(self) -> PreparedItems:
        """The items as exact top-k searches them, prepared once for all users of a worker."""
        return prepare_items(self.item_vectors, unavailable=self.unavailable)

    @cached_property
    def model_index(self) -> IdIndex:
        """Positions in the catalogue of the fit, which may hold items that are gone and lack items that came later."""
        return IdIndex(self.ranker.item_ids, "items of the fit")

    @cached_property
    def in_model(self) -> Mapped:
        """From positions in today's catalogue to those in the fit's."""
        return Mapped(self.item_ids, self.model_index)

    def listed(self, item_ids: npt.NDArray[np.object_]) -> npt.NDArray[np.bool_]:
        """[n] True for items in today's catalogue and in that of the fit."""
        return self.index.known(item_ids) & self.model_index.known(item_ids)


def build_catalogue(
    ranker: FittedRanker, items: SnapshotItems, load_contents: Callable[[], Mapping[str, Content]]
) -> Catalogue:
    """Vectors of today's items: the model's own, and for items that came after its fit vectors from their content.

    Args:
        ranker: The model.
        items: The catalogue.
        load_contents: Loads the contents of all its items; called only where some came after the fit.
    """
    known = Mapped(items.item_ids, IdIndex(ranker.item_ids, "items of the fit"))
    vectors = np.zeros((len(items.item_ids), ranker.vector_dim), dtype=np.float32)
    vectors[known.known] = ranker.item_vectors()[known.of(np.flatnonzero(known.known))]
    late = np.flatnonzero(~known.known)
    if len(late):
        contents = {
            name: Content(name, c.kind, c.matrix[late], c.has[late], c.tokens) for name, c in load_contents().items()
        }
        vectors[late] = ranker.item_vectors_from_content(contents, len(late))
    return Catalogue(ranker, items.item_ids, vectors, ~items.is_available)


def save_catalogue(catalogue: Catalogue, model_folder: Path, uri: str) -> None:
    """Write a catalogue where every worker can read it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copytree(model_folder, folder / _MODEL)
        np.save(folder / _VECTORS, catalogue.item_vectors)
        about = {"item_ids": catalogue.item_ids.tolist(), "unavailable": np.flatnonzero(catalogue.unavailable).tolist()}
        (folder / _ITEMS).write_text(json.dumps(about), encoding="utf-8")
        pyarrow.fs.copy_files(str(folder), uri)


@lru_cache(maxsize=1)
def load_catalogue(uri: str) -> Catalogue:
    """Read a catalogue, once a worker process; from other than local disks it is copied first.

    Raises:
        ModelError: When there is none.
    """
    if is_uri(uri):
        # Kept for the life of the worker process: the arrays are mapped from these files.
        local = Path(tempfile.mkdtemp(prefix="mmrec-catalogue-"))
        pyarrow.fs.copy_files(uri, str(local))
    else:
        local = Path(uri)
    if not (local / _ITEMS).exists():
        raise ModelError(
            f"catalogue {uri}: there is no {_ITEMS}. It is written by the scoring job and lives as long as that."
        )
    about = json.loads((local / _ITEMS).read_text(encoding="utf-8"))
    ranker = FittedRanker.load(local / _MODEL)
    item_ids = np.array(about["item_ids"], dtype=np.str_)
    unavailable = np.zeros(len(item_ids), dtype=np.bool_)
    unavailable[about["unavailable"]] = True
    vectors = np.load(local / _VECTORS, mmap_mode="r")
    return Catalogue(ranker, item_ids, vectors, unavailable)
