"""Decoding in a process of its own: bytes that crash, hang or bloat a decoder cost one medium, not the worker.

A `DecoderChild` runs pure functions (bytes and parameters → numbers, texts, arrays, dataclasses) in a child that is
kept between media and started anew when it had to be killed. What took a child along is tried once more in a fresh one,
because a busy machine kills and delays good decoders too. The child imports what its functions need and nothing else:
no torch, no Spark; it has neither its parent's environment nor, where the system lets it, a network (`confinement`).
Run as a module it is that child.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib import import_module
from types import TracebackType
from typing import IO, Any, Concatenate, ParamSpec, TypeVar, get_type_hints

from mmrec_lib.errors import MachineError
from mmrec_lib.media.confinement import confine, decoder_environment
from mmrec_lib.media.decoder_limits import DecoderLimits
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.wire import Blob, put_together, receive, send, taken_apart

P = ParamSpec("P")
R = TypeVar("R")
Functions = Mapping[str, Callable[..., Any]]

DECODERS = (
    "mmrec_lib.media.audio:decode_audio",
    "mmrec_lib.media.frames:sample_frames",
    "mmrec_lib.media.images:decode_image",
    "mmrec_lib.media.images:shrink_image",
    "mmrec_lib.media.probe:probe",
)
"""What a child may be asked for, as `module:function`."""

_GRACE_SECONDS = 5
_START_SECONDS = 60.0
_TRIES = 2

_log = logging.getLogger(__name__)


class DecoderChild:
    """Calls decoders in a child, one after the other; use as a context.

    Threads may share one, and then wait for each other. A function that is added to
    `DECODERS` declares its return type: numbers, texts, arrays of numbers, dataclasses, and lists, tuples and
    dictionaries of them, or None.

    Args:
        limits: What a decoder may use.
        functions: What it may be asked for.
    """

    def __init__(self, limits: DecoderLimits | None = None, functions: Collection[str] = DECODERS) -> None:
        """Start nothing yet."""
        self._limits = limits or DecoderLimits()
        self._functions = tuple(functions)
        self._process: subprocess.Popen[bytes] | None = None
        self._num_calls = 0
        self._lock = threading.Lock()

    def __enter__(self) -> DecoderChild:
        """Begin to use it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the child."""
        self.close()

    def close(self) -> None:
        """Ends the child; a later call starts another one."""
        process, self._process = self._process, None
        if process is not None:
            _kill(process)
            process.communicate()

    def call(
        self, function: Callable[Concatenate[bytes, P], R], content: bytes, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Result of `function(content, *args, **kwargs)`, computed in the child.

        Args:
            function: One of the functions that this child may be asked for, with a declared return type.
            content: Bytes of the medium.
            args: Further arguments, numbers and texts.
            kwargs: Further arguments by name.

        Raises:
            MediaError: Those of the function; `media_decoder_crashed` when it fails in any other way or takes two
                children along, `media_decoder_timeout` when it hangs twice, `media_oversized` when it needs more
                memory.
            MachineError: When no child can be started.
            ValueError: When the child may not be asked for the function.
        """
        name = f"{function.__module__}:{function.__qualname__}"
        if name not in self._functions:
            raise ValueError(f"Decoder `{name}`: one of {', '.join(self._functions)} is needed.")
        with self._lock:
            answer, blobs = self._ask({"function": name, "args": args, "kwargs": kwargs}, content)
        if "reason" in answer:
            raise MediaError(answer["reason"], answer["detail"])
        try:
            result: R = put_together(get_type_hints(function)["return"], answer["result"], blobs)
        except (ValueError, TypeError, KeyError, IndexError):
            self.close()
            raise _crashed(name, "gave an answer that makes no sense") from None
        return result

    def _ask(self, request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], list[bytearray]]:
        for _ in range(_TRIES - 1):
            with suppress(MediaError):
                return self._ask_once(request, content)
        return self._ask_once(request, content)

    def _ask_once(self, request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], list[bytearray]]:
        """An answer of the child.

        Raises:
            MediaError: `media_decoder_crashed` or `media_decoder_timeout` when there is none; the child is ended then.
        """
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        self._num_calls += 1
        with _deadline(process, self._limits.timeout_seconds) as has_passed:
            try:
                send(process.stdin, {**request, "call": self._num_calls}, [content])
                answer, blobs = receive(process.stdout, self._limits.memory_bytes)
                # An answer to another call would be that of a decoder that wrote by itself.
                failure = None if answer.get("call") == self._num_calls else "gave an answer that nobody asked for"
            except EOFError:
                failure = "ended its process on these bytes"
            except (OSError, ValueError) as error:
                failure = f"gave no answer that can be read ({type(error).__name__})"
        if has_passed.is_set() or failure is not None:
            self.close()
        if failure is not None:
            if has_passed.is_set():
                raise MediaError(
                    "media_decoder_timeout",
                    f"{request['function']} gave no result within {self._limits.timeout_seconds:g} seconds",
                )
            raise _crashed(request["function"], failure)
        return answer, blobs

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        settings = json.dumps({**asdict(self._limits), "functions": self._functions})
        process = self._process = subprocess.Popen(
            (sys.executable, "-m", "mmrec_lib.media.child", settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=decoder_environment(os.environ),
            close_fds=True,
            # A group of its own, so that whatever a decoder starts ends with it.
            start_new_session=True,
        )
        assert process.stdout is not None
        with _deadline(process, _START_SECONDS):
            try:
                is_ready, _ = receive(process.stdout, 0)
            except (EOFError, OSError, ValueError):
                self.close()
                raise MachineError(
                    f"Decoder process: it must start with {self._limits.memory_bytes:,} bytes of memory within "
                    f"{_START_SECONDS:g} seconds, but ended with code {process.returncode}."
                ) from None
        if "unavailable" in is_ready:
            self.close()
            raise MachineError(f"Decoder process: its functions must be there, got: {is_ready['unavailable']}.")
        _tell_of(tuple(is_ready.get("not_confined", ())))
        return process


def serve(
    requests: IO[bytes],
    answers: IO[bytes],
    limits: DecoderLimits,
    names: Collection[str],
    not_confined: Sequence[str] = (),
) -> None:
    """Answer requests until there are no more: what the child does.

    Args:
        requests: Where they come from.
        answers: Where answers go.
        limits: What a decoder may use.
        names: What may be asked for.
        not_confined: What the system did not take from this process, see `confine`.
    """
    try:
        # Before the first request, so that a decoder's time is not spent on imports.
        functions = {name: _imported(name) for name in names}
    except (ImportError, AttributeError) as error:
        send(answers, {"unavailable": str(error)})
        return
    send(answers, {"not_confined": list(not_confined)})
    while True:
        try:
            request, (content,) = receive(requests, sys.maxsize)
        except EOFError:
            return
        # Ends a decoder that hangs when nobody is there any more to kill it.
        signal.alarm(math.ceil(limits.timeout_seconds) + _GRACE_SECONDS)
        blobs: list[Blob] = []
        answer = _answer(request, bytes(content), blobs, functions)
        signal.alarm(0)
        send(answers, {**answer, "call": request["call"]}, blobs)


def _answer(request: dict[str, Any], content: bytes, blobs: list[Blob], functions: Functions) -> dict[str, Any]:
    name = request["function"]
    try:
        return {"result": taken_apart(functions[name](content, *request["args"], **request["kwargs"]), blobs)}
    except MediaError as error:
        failed = error
    except MemoryError:
        failed = MediaError("media_oversized", f"{name} needs more memory than a decoder may have")
    except Exception as error:
        # Whatever a decoder raises costs this medium only.
        failed = _crashed(name, f"failed: {type(error).__name__}: {error}")
    blobs.clear()
    return {"reason": failed.reason, "detail": failed.detail}


def _imported(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), attribute)
    return function


@functools.cache
def _tell_of(not_confined: tuple[str, ...]) -> None:
    """Says once a process what the system does not let decoders do without."""
    if not_confined:
        _log.warning("decoders of media are confined less than they could be: %s", "; ".join(not_confined))


def _crashed(name: str, what: str) -> MediaError:
    return MediaError("media_decoder_crashed", f"a medium that its decoder can read is needed, but {name} {what}")


@contextmanager
def _deadline(process: subprocess.Popen[bytes], seconds: float) -> Iterator[threading.Event]:
    """Kills a process when the block takes longer; the event then is set. Reading from it ends with its end."""
    has_passed = threading.Event()

    def give_up() -> None:
        has_passed.set()
        _kill(process)

    watchdog = threading.Timer(seconds, give_up)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield has_passed
    finally:
        watchdog.cancel()
        watchdog.join()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _main() -> None:
    settings = json.loads(sys.argv[1])
    functions = settings.pop("functions")
    limits = DecoderLimits(**settings)
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    not_confined = confine()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not answer
    serve(sys.stdin.buffer, answers, limits, functions, not_confined)


if __name__ == "__main__":
    _main()
