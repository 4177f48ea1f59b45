"""Decoders in child processes that are shared by the threads of a worker: for media that nobody has decoded before."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Concatenate, ParamSpec, TypeVar

from mmrec_lib.media.child import DecoderChild

P = ParamSpec("P")
R = TypeVar("R")

# Two decoders: what the child needs not import makes it start sooner.
_FUNCTIONS = ("mmrec_lib.media.audio:decode_audio", "mmrec_lib.media.frames:sample_frames")

_idle: SimpleQueue[DecoderChild] = SimpleQueue()


def isolated(function: Callable[Concatenate[bytes, P], R], content: bytes, *args: P.args, **kwargs: P.kwargs) -> R:
    """Result of `function(content, …)`, computed in a child; as many children are kept as threads ask at once.

    Raises:
        MediaError: As `DecoderChild.call`.
    """
    try:
        child = _idle.get_nowait()
    except Empty:
        child = DecoderChild(functions=_FUNCTIONS)
    try:
        return child.call(function, content, *args, **kwargs)
    finally:
        _idle.put(child)


@atexit.register
def _close_all() -> None:
    with suppress(Empty):
        while True:
            _idle.get_nowait().close()
