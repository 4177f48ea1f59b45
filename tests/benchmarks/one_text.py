"""New items by the fields of a text, together or each alone: `python -m tests.benchmarks.one_text --data <ml-100k-mm>`.

P3 with vectors of all-minilm-l6-v2 as the only content, read on validation alone: which new items users turn to is told
by title and plot as two blocks, by six fields as blocks of their own, and by the same six in one text, in two orders.
The settings of the ranker's first stage are searched for each.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.encoders.spec import Encoder
from mmrec_lib.models.data import Content
from tests.benchmarks.adapted import PROTOCOL, RANKER, Measurement, in_catalogue, item_texts
from tests.benchmarks.quality.splits import split_store
from tests.benchmarks.store_arrays import StoreArrays, read_store

ENCODER = "all-minilm-l6-v2"
IN_ORDER = ("title", "year", "categories", "directors", "cast", "description")
# As `embedding.document` has them unless told otherwise: attributes by their names.
BY_DEFAULT = ("title", "categories", "cast", "directors", "year", "description")
CONTENDERS: Mapping[str, Sequence[Sequence[str]]] = {
    "title and plot apart": (("title",), ("description",)),
    "six fields apart": tuple((field,) for field in IN_ORDER),
    "six fields in one text": (IN_ORDER,),
    "the same, order of embedding.document": (BY_DEFAULT,),
}
"""Texts of each contender: the fields of each text."""


def block(store: StoreArrays, data: Path, encoder: Encoder, fields: Sequence[str]) -> Content:
    """Vectors of one text of these fields."""
    texts = item_texts(data, [str(item) for item in store.item_ids], fields)
    vectors = np.asarray(encoder.encode(list(texts.values())).vectors, np.float32)
    return in_catalogue(vectors, list(texts), store.item_ids, "+".join(fields))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.one_text", description=__doc__.split(":")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder ml-100k-mm")
    parser.add_argument("--models", default="models", help="folder of the packaged models")
    parser.add_argument("--draws", type=int, default=len(PROTOCOL.seeds), help="draws of hidden items, from 0")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    store, models = read_store(options.data), ModelsConfig(root=options.models)
    encoder = make_encoder(models.encoders[ENCODER], models)
    encoder.load()
    texts = dict.fromkeys(fields for of_contender in CONTENDERS.values() for fields in of_contender)
    blocks = {fields: block(store, options.data, encoder, fields) for fields in texts}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for draw in range(options.draws):
        measurement = Measurement(split_store(store, PROTOCOL, draw), with_test=False)
        for name, of_contender in CONTENDERS.items():
            measurement.ranker(RANKER, name, {blocks[fields].name: blocks[fields] for fields in of_contender})
            values = measurement.values["valid", RANKER, name]
            found[name].append({column: float(of_users.mean()) for column, (_, of_users) in values.items()})
            print(f"draw {draw}, {name}: {found[name][-1]}", flush=True)
    for name, of_draws in found.items():
        for column in of_draws[0]:
            own = [one[column] for one in of_draws]
            print(f"{name:40s} {column:36s} {np.mean(own):.4f} ± {np.std(own):.4f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
