"""Which number format a model computes in."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

_NATIVE_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def compute_dtype(dtype: str, kind: str, device: str) -> torch.dtype:
    """Number format for a config's `dtype`.

    `auto` is bfloat16 for text and speech where the hardware computes it natively (texts: worst cosine to float32
    .99995, three times as fast; speech: the same number of wrong words, nearly twice as fast) and float32 otherwise: a
    processor without it is many times slower in bfloat16, and pictures lose more (worst cosine .99).
    """
    if dtype != "auto":
        return torch.bfloat16 if dtype == "bfloat16" else torch.float32
    native = has_native_bfloat16() if device == "cpu" else torch.cuda.is_bf16_supported()
    return torch.bfloat16 if kind in ("text", "speech") and native else torch.float32


@functools.cache
def has_native_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 in hardware; False where it cannot be told."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return not _NATIVE_BFLOAT16_FLAGS.isdisjoint(flags.split())
