"""The bounds of decoders, apart from what decodes: a configuration names them and needs no decoder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DecoderLimits:
    """Limits of a decoder.

    Attributes:
        timeout_seconds: After so long a decoder counts as hanging.
        memory_bytes: Most memory that the child may have (Linux: RLIMIT_DATA), its libraries' own data (about 100 MB)
            included; also the most bytes that a result may have.
    """

    timeout_seconds: float = 60.0
    memory_bytes: int = 2 * 2**30
