"""Bytes and recall of vectors in fewer bytes: `python -m tests.benchmarks.stored_vectors <file>.parquet …`.

Each file has vectors of one length in a column `vector`. Besides the formats of `embedding.storage` the codes of one
byte are measured that were removed (symmetric, one scale a vector).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mmrec_lib.embedding.quantization_loss import quantization_loss
from mmrec_lib.embedding.vector_codec import quantize

Floats = npt.NDArray[np.float32]


def _lists(numbers_ND: npt.NDArray[np.generic]) -> pa.ListArray:
    num_rows, dim = numbers_ND.shape
    offsets = pa.array(np.arange(num_rows + 1, dtype=np.int32) * dim)
    return pa.ListArray.from_arrays(offsets, pa.array(numbers_ND.reshape(-1)))


def _matrix(vectors: pa.ListArray) -> Floats:
    numbers: Floats = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(vectors), -1)
    return numbers


def _num_bytes(columns: dict[str, pa.Array]) -> int:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return int(sink.getvalue().size)


def formats(exact_ND: Floats) -> dict[str, tuple[dict[str, pa.Array], Floats]]:
    """Stored columns, and what readers get, by the format's name."""
    exact = _lists(exact_ND)
    half = quantize(exact)
    scales_N1 = np.abs(exact_ND).max(axis=1, keepdims=True) / np.float32(127)
    codes_ND = np.rint(exact_ND / np.where(scales_N1 == 0, 1, scales_N1)).astype(np.int8)
    coded = {"codes": _lists(codes_ND), "scale": pa.array(scales_N1[:, 0])}
    return {
        "float32": ({"vector": exact}, exact_ND),
        "float16": (half, _matrix(half["vector"])),
        "int8": (coded, codes_ND * scales_N1),
    }


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.stored_vectors", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="Parquet file with a column `vector`")
    for path in parser.parse_args().files:
        vectors = pq.read_table(path, columns=["vector"]).column("vector").combine_chunks()
        exact_ND = _matrix(vectors.cast(pa.list_(pa.float32())))
        for name, (columns, stored_ND) in formats(exact_ND).items():
            loss = quantization_loss(exact_ND, stored_ND)
            if loss is None:
                parser.error(f"{path}: more vectors are needed, got {len(exact_ND)}")
            print(
                f"{path.name} {exact_ND.shape[0]} x {exact_ND.shape[1]} {name}: {_num_bytes(columns) / 1e6:.2f} MB, "
                f"recall@10 {loss.recall:.2%}, mean cosine {loss.mean_cosine:.6f}"
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
