"""Messages between a process and its decoder child: JSON and raw bytes, never pickles.

A message is the length of a header (8 bytes), the header (JSON: a body and the sizes of the blobs), and the blobs.
Results are taken apart into a tree that JSON can hold, with arrays as blobs, and put together again as the function's
declared return type says, so that the other side chooses no class.
"""

from __future__ import annotations

import dataclasses
import json
import struct
import types
from collections.abc import Sequence
from typing import IO, Any, Union, get_args, get_origin, get_type_hints

import numpy as np

Blob = bytes | bytearray | memoryview

_LENGTH = struct.Struct(">Q")
_MAX_HEADER_BYTES = 2**24
_ARRAY = "array"
_ARRAY_KINDS = "biuf"


def send(stream: IO[bytes], body: dict[str, Any], blobs: Sequence[Blob] = ()) -> None:
    """Writes a message.

    Raises:
        OSError: When nobody reads it any more.
        TypeError: When JSON cannot hold the body.
    """
    header = json.dumps({"body": body, "sizes": [len(blob) for blob in blobs]}).encode()
    stream.write(_LENGTH.pack(len(header)) + header)
    for blob in blobs:
        stream.write(blob)
    stream.flush()


def receive(stream: IO[bytes], max_bytes: int) -> tuple[dict[str, Any], list[bytearray]]:
    """Reads a message.

    Args:
        stream: Where it comes from.
        max_bytes: Most bytes that its blobs may have together.

    Raises:
        EOFError: When the stream ends before or in it.
        ValueError: When it is no message, or too long.
    """
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    if length > _MAX_HEADER_BYTES:
        raise ValueError(f"a header of at most {_MAX_HEADER_BYTES:,} bytes is needed, got {length:,}")
    header = json.loads(bytes(_exactly(stream, length)))
    if not isinstance(header, dict) or not isinstance(header.get("body"), dict):
        raise ValueError("a header with a body is needed")
    sizes = header.get("sizes")
    if not isinstance(sizes, list) or not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise ValueError("a header with sizes is needed")
    if sum(sizes) > max_bytes:
        raise ValueError(f"at most {max_bytes:,} bytes may come, got {sum(sizes):,}")
    return header["body"], [_exactly(stream, size) for size in sizes]


def taken_apart(value: Any, blobs: list[Blob]) -> Any:
    """A tree for JSON that stands for a value; arrays are appended to the blobs.

    Args:
        value: A number, a text, None, an array of numbers, or a dataclass, list, tuple or dictionary of such.
        blobs: Where the bytes of arrays go.

    Raises:
        TypeError: When it is anything else.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in _ARRAY_KINDS:
        blobs.append(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        return {_ARRAY: len(blobs) - 1, "dtype": value.dtype.str, "shape": list(value.shape)}
    if dataclasses.is_dataclass(value):
        return {part.name: taken_apart(getattr(value, part.name), blobs) for part in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [taken_apart(part, blobs) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: taken_apart(part, blobs) for key, part in value.items()}
    raise TypeError(f"a result of numbers, texts, arrays and dataclasses is needed, got {type(value).__name__}")


def put_together(kind: Any, tree: Any, blobs: Sequence[bytearray]) -> Any:
    """The value of a tree.

    Args:
        kind: Declared type of the value.
        tree: See `taken_apart`.
        blobs: Bytes of the arrays.

    Raises:
        ValueError, TypeError, KeyError or IndexError: When the tree is none of such a value.
    """
    if tree is None:
        return None
    kind = _without_none(kind)
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin is np.ndarray:
        dtype = np.dtype(tree["dtype"])
        if dtype.kind not in _ARRAY_KINDS:
            raise ValueError(f"an array of numbers is needed, got {dtype}")
        return np.frombuffer(blobs[tree[_ARRAY]], dtype).reshape(tree["shape"])
    if dataclasses.is_dataclass(origin):
        hints = get_type_hints(origin)
        return kind(**{name: put_together(hints[name], part, blobs) for name, part in tree.items()})
    if origin is dict:
        return {key: put_together(arguments[1], part, blobs) for key, part in tree.items()}
    if origin in (list, tuple):
        repeats = origin is list or arguments[-1] is Ellipsis
        kinds = arguments[:1] * len(tree) if repeats else arguments
        return origin(put_together(part, value, blobs) for part, value in zip(kinds, tree, strict=True))
    return tree


def _without_none(kind: Any) -> Any:
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    (other,) = (argument for argument in get_args(kind) if argument is not type(None))
    return other


def _exactly(stream: IO[bytes], size: int) -> bytearray:
    content = bytearray(size)
    view, filled = memoryview(content), 0
    while filled < size:
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError(f"{filled:,} of {size:,} bytes came")
        filled += count
    return content
