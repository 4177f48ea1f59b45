"""Media files → bytes with what they are, read in the workers, a bounded number of bytes at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import (
    BinaryType,
    DoubleType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
)

from mmrec_lib.ingest.landing import LandingFolder
from mmrec_lib.ingest.landing.safe_open import OutsideError
from mmrec_lib.ingest.records.reasons import Reason, RecordError
from mmrec_lib.media.child import DecoderChild
from mmrec_lib.media.decoder_limits import DecoderLimits
from mmrec_lib.media.errors import MAX_ATTEMPTS, RETRYABLE_REASONS, MediaError
from mmrec_lib.media.probe import probe

if TYPE_CHECKING:  # workers need its numbers only
    from mmrec_lib.ingest.config import MediaConfig

RAW_BYTES = 64 * 1024
"""Of a refused medium so many first bytes are kept."""

_BATCH_BYTES = 16 * 2**20
_BATCH_ROWS = 256

READ_SCHEMA = StructType(
    [
        StructField("media_path", StringType()),
        StructField("media_kind", StringType()),
        StructField("asset_id", StringType()),
        StructField("mime", StringType()),
        StructField("bytes_len", LongType()),
        StructField("width_px", IntegerType()),
        StructField("height_px", IntegerType()),
        StructField("media_seconds", DoubleType()),
        StructField("uri", StringType()),
        StructField("_reason", StringType()),
        StructField("_detail", StringType()),
        StructField("_raw", BinaryType()),
        StructField("_num_attempts", IntegerType()),
        StructField("content", BinaryType()),
    ]
)
"""One row a path and expected kind: an asset, or a reason, and where bytes were read their hash and the first ones."""

_ARROW_SCHEMA = pa.schema(
    [
        ("media_path", pa.string()),
        ("media_kind", pa.string()),
        ("asset_id", pa.string()),
        ("mime", pa.string()),
        ("bytes_len", pa.int64()),
        ("width_px", pa.int32()),
        ("height_px", pa.int32()),
        ("media_seconds", pa.float64()),
        ("uri", pa.string()),
        ("_reason", pa.string()),
        ("_detail", pa.string()),
        ("_raw", pa.binary()),
        ("_num_attempts", pa.int32()),
        ("content", pa.binary()),
    ]
)


def read_media(wanted: DataFrame, landing: LandingFolder, config: MediaConfig) -> DataFrame:
    """Read and probe media.

    Args:
        wanted: `media_path` and `media_kind` (image, audio or video), each pair once; `known_asset_id`: the asset that
            this path was when it was read last, or null; `refusal`: why its bytes were refused under the same limits,
            or null. The same bytes are not decoded again, unless the reason may have been bad luck.
        landing: Where the files are.
        config: Limits.

    Returns:
        A row each; see `READ_SCHEMA`.
    """
    limits = DecoderLimits(config.decoder_timeout_seconds, config.decoder_memory_bytes)
    reader = _MediaReader(landing, config.inline_bytes, config.max_bytes, config.max_pixels, limits)
    return wanted.select("media_path", "media_kind", "known_asset_id", "refusal").mapInArrow(reader, READ_SCHEMA)


@dataclass(frozen=True)
class _MediaReader:
    landing: LandingFolder
    inline_bytes: int
    max_bytes: int
    max_pixels: int
    limits: DecoderLimits

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows: list[dict[str, Any]] = []
        num_bytes = 0
        with DecoderChild(self.limits) as child:
            for wanted in (row for batch in batches for row in batch.to_pylist()):
                row = self._read(wanted, child)
                rows.append(row)
                num_bytes += len(row.get("content") or b"") + len(row.get("_raw") or b"")
                if num_bytes >= _BATCH_BYTES or len(rows) >= _BATCH_ROWS:
                    yield pa.RecordBatch.from_pylist(rows, schema=_ARROW_SCHEMA)
                    rows, num_bytes = [], 0
        yield pa.RecordBatch.from_pylist(rows, schema=_ARROW_SCHEMA)

    def _read(self, wanted: dict[str, Any], child: DecoderChild) -> dict[str, Any]:
        path, kind, refusal = wanted["media_path"], wanted["media_kind"], wanted["refusal"]
        row: dict[str, Any] = {"media_path": path, "media_kind": kind}
        content = self._content(path)
        if isinstance(content, RecordError):
            return {**row, "_reason": str(content.reason), "_detail": f"{path}: {content.detail}"}
        asset_id = hashlib.sha256(content).hexdigest()
        if asset_id == wanted["known_asset_id"]:
            return {**row, "asset_id": asset_id, "bytes_len": len(content)}
        num_attempts = refusal["num_attempts"] if refusal is not None and refusal["asset_id"] == asset_id else 0
        refused = {**row, "asset_id": asset_id, "_raw": content[:RAW_BYTES]}
        if num_attempts and (refusal["reason"] not in RETRYABLE_REASONS or num_attempts >= MAX_ATTEMPTS):
            told = {"_reason": refusal["reason"], "_detail": refusal["detail"], "_num_attempts": num_attempts}
            return {**refused, **told}
        try:
            info = child.call(probe, content, kind, self.max_pixels)
        except MediaError as error:
            told = {"_reason": error.reason, "_detail": f"{path}: {error.detail}", "_num_attempts": num_attempts + 1}
            return {**refused, **told}
        is_inline = len(content) <= self.inline_bytes
        return {
            **row,
            "asset_id": asset_id,
            "mime": info.mime,
            "bytes_len": len(content),
            "width_px": info.width_px,
            "height_px": info.height_px,
            "media_seconds": info.media_seconds,
            "uri": None if is_inline else self.landing.uri_of(path),
            "content": content if is_inline else None,
        }

    def _content(self, path: str) -> bytes | RecordError:
        """The bytes of a file, or why they are not read."""
        outside = RecordError(
            Reason.MEDIA_OUTSIDE_LANDING, "a file in the landing folder is needed, but the link leads out of it"
        )
        if not self.landing.holds(path):
            return outside
        try:
            content = self.landing.read_bytes(path, self.max_bytes + 1)
        except OutsideError:
            return outside
        except OSError as error:
            detail = f"a readable file is needed, but it cannot be read ({type(error).__name__})"
            return RecordError(Reason.MEDIA_MISSING, detail)
        if len(content) > self.max_bytes:
            detail = f"at most {self.max_bytes} bytes (media.max_bytes) may be in it, but it has grown"
            return RecordError(Reason.MEDIA_OVERSIZED, detail)
        return content
