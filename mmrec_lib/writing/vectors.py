"""Vectors by which texts are chosen: of items, and of the names in their facts, in the space of one text encoder.

Shape letters: I items, N names, d dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.operator import TEXT_COLUMNS, encode_table
from mmrec_lib.embedding.revisions import made_by
from mmrec_lib.embedding.run import chosen_encoders
from mmrec_lib.embedding.storage import with_vectors
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.spec import EncoderSpec
from mmrec_lib.errors import ConfigError
from mmrec_lib.features.load import current_snapshot
from mmrec_lib.generation.candidates import Choice, Vector
from mmrec_lib.generation.config import GenerationConfig
from mmrec_lib.generation.facts import Fact
from mmrec_lib.generation.nearness import choose_alpha, validation_pairs
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.writing.items import ItemTable

_FIELDS = ("title", "description")
_ITEMS, _NAMES, _NAME_VECTORS = "item_vectors.npy", "names.arrow", "name_vectors.npy"


@dataclass(frozen=True)
class TextVectors:
    """Vectors of length 1; a zero row where there is none.

    Attributes:
        items: [I, d] float32, of the items in the order of the catalogue: mean of title and description.
        names: Row of each name in `name_vectors`.
        name_vectors: [N, d] float32.
    """

    items: NDArray[np.float32]
    names: Mapping[str, int]
    name_vectors: NDArray[np.float32]

    def save(self, folder: Path) -> None:
        """Write into a folder that exists."""
        np.save(folder / _ITEMS, self.items)
        np.save(folder / _NAME_VECTORS, self.name_vectors)
        pyarrow.feather.write_feather(pa.table({"name": list(self.names)}), str(folder / _NAMES))

    @classmethod
    def load(cls, folder: Path) -> TextVectors | None:
        """Read what was saved in a folder; None where nothing was."""
        if not (folder / _ITEMS).exists():
            return None
        names = pyarrow.feather.read_table(str(folder / _NAMES))["name"].to_pylist()
        return cls(
            np.load(folder / _ITEMS, mmap_mode="r"),
            {name: row for row, name in enumerate(names)},
            np.load(folder / _NAME_VECTORS),
        )

    def of_user(self, history: Sequence[Mapping[str, Any]], places: Mapping[str, int], alpha: float) -> UserNearness:
        """Nearness to a user's history.

        Args:
            history: Entries `item_id` and `weight`.
            places: Rows of `items` by id, of all items that the user's texts may speak of and of the history.
            alpha: Weight of the nearness to the history.
        """
        known = [(places[entry["item_id"]], entry["weight"] or 0.0) for entry in history if entry["item_id"] in places]
        weights = np.array([weight for _, weight in known], np.float32)
        profile = _unit(weights @ self.items[[place for place, _ in known]]) if known else None
        return UserNearness(self, places, profile, alpha)


@dataclass(frozen=True)
class UserNearness:
    """Nearness of texts to one user's history and to items.

    Attributes:
        vectors: Vectors.
        places: Rows of items in the vectors, by id.
        profile: Direction of the history [d]; None without.
        alpha: Weight of the nearness to it.
    """

    vectors: TextVectors
    places: Mapping[str, int]
    profile: Vector | None
    alpha: float

    def to(self, item_id: str) -> Choice:
        """Choice among the texts of an item."""
        return Choice(self._vector_of, self.profile, self._of_item(item_id), self.alpha)

    def _of_item(self, item_id: str) -> Vector | None:
        place = self.places.get(item_id)
        return None if place is None else _or_none(self.vectors.items[place])

    def _vector_of(self, fact: Fact) -> Vector | None:
        if fact.about is None:
            return None
        if fact.is_item:
            return self._of_item(fact.about)
        row = self.vectors.names.get(fact.about)
        return None if row is None else _or_none(self.vectors.name_vectors[row])


def text_encoder(models: ModelsConfig, embedding: EmbeddingConfig, config: GenerationConfig) -> EncoderSpec:
    """The encoder in whose space texts are chosen.

    Raises:
        ConfigError: When no such encoder encodes titles of items.
        EncoderError: When its directory is missing.
    """
    found = [spec for one, spec in chosen_encoders(models, embedding) if one.field == "title"]
    for spec in found:
        if config.text_encoder in (None, spec.id):
            return spec
    names = ", ".join(spec.id for spec in found) or "none"
    raise ConfigError(
        f"generation.text_encoder: an encoder of titles is needed for `choose_by: vectors`, of {names}; got "
        f"{config.text_encoder}. Name it under embedding.encode.item.title, or choose by order."
    )


def load_vectors(
    lakehouse: Lakehouse,
    items: ItemTable,
    names: Sequence[str],
    spec: EncoderSpec,
    models: ModelsConfig,
    embedding: EmbeddingConfig,
) -> TextVectors:
    """Vectors of the catalogue, as the store has them, and of names, encoded here.

    Args:
        lakehouse: Tables.
        items: The catalogue.
        names: Different names in the facts.
        spec: See `text_encoder`.
        models: Where models lie and how they are run.
        embedding: Portions of work.
    """
    stored = lakehouse.read("item_embedding").where(made_by(spec) & F.col("field").isin(*_FIELDS))
    owners, of_items = _streamed(lakehouse, with_vectors(stored).select("item_id", "vector"))
    texts = lakehouse.spark.createDataFrame([(name, name) for name in names], "content_id string, text string")
    encoded = encode_table(texts, models.encoders[spec.id], models, TEXT_COLUMNS, embedding, len(names))
    told, of_names = _streamed(lakehouse, encoded.where(F.col("vector").isNotNull()).select("content_id", "vector"))
    places = items.places(owners)
    summed = np.zeros((len(items.ids), of_items.shape[1]), np.float32)
    np.add.at(summed, places[places >= 0], _units(of_items)[places >= 0])
    row_of = {name: row for row, name in enumerate(told.to_pylist())}
    return TextVectors(_units(summed), row_of, _units(of_names))


def alpha_of_validation(lakehouse: Lakehouse, items: ItemTable, vectors: TextVectors, max_users: int) -> float:
    """The weight that tells held-out items from others best, see `nearness.choose_alpha`.

    Args:
        lakehouse: Tables.
        items: The catalogue.
        vectors: Vectors of the items.
        max_users: Users that it is chosen on, at most; the same ones at every run.
    """
    snapshot_id, _ = current_snapshot(lakehouse)
    rows = lakehouse.read("training_interaction").where(F.col("snapshot_id") == snapshot_id)
    chosen = (
        rows.where(F.col("valid_weight").isNotNull())
        .select("user_id")
        .distinct()
        .orderBy(F.xxhash64("user_id"))
        .limit(max_users)
    )
    parts = rows.join(chosen, "user_id", "left_semi").select("user_id", "item_id", "train_weight", "valid_weight")
    batches = list(lakehouse.stream_arrow("alpha_pair", parts))
    if not batches:
        return choose_alpha(*validation_pairs(np.zeros((0, 4)), vectors.items))
    table = pa.Table.from_batches(batches).sort_by([("user_id", "ascending"), ("item_id", "ascending")])
    users = table["user_id"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    columns = [users, items.places(table["item_id"].combine_chunks())]
    columns += [table[name].to_numpy() for name in ("train_weight", "valid_weight")]
    pairs = np.column_stack(columns).astype(np.float64)
    return choose_alpha(*validation_pairs(pairs[pairs[:, 1] >= 0], vectors.items))


def _streamed(lakehouse: Lakehouse, rows: DataFrame) -> tuple[pa.Array, NDArray[np.float32]]:
    """First column, and the column `vector` as a matrix, in the order of the first; nothing has no dimensions."""
    batches = list(lakehouse.stream_arrow("text_vector", rows))
    if not sum(batch.num_rows for batch in batches):
        return pa.array([], pa.string()), np.zeros((0, 0), np.float32)
    table = pa.Table.from_batches(batches).sort_by(rows.columns[0])
    return table[rows.columns[0]].combine_chunks(), _matrix(table["vector"].combine_chunks())


def _unit(vector: NDArray[np.float32]) -> Vector | None:
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / length, np.float32) if length > 0 else None


def _or_none(vector: NDArray[np.float32]) -> Vector | None:
    return np.asarray(vector) if vector.any() else None


def _units(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def _matrix(vectors: pa.Array) -> NDArray[np.float32]:
    flat = vectors.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.reshape(len(vectors), -1), np.float32)
