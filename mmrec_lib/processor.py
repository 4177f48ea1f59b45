"""Instructions that the processor of this machine has."""

from __future__ import annotations

import functools
from pathlib import Path

NATIVE_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
NATIVE_INT8_FLAGS = frozenset({"avx512_vnni", "amx_int8"})
_CPUINFO = Path("/proc/cpuinfo")


@functools.cache
def has_native(flags: frozenset[str], cpuinfo: Path = _CPUINFO) -> bool:
    """Tell if the processor has one of these instructions; False where it cannot be told."""
    return not flags.isdisjoint(processor_flags(cpuinfo))


def processor_flags(cpuinfo: Path = _CPUINFO) -> list[str]:
    """Names of all its instructions; empty where they cannot be told."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "").split()
