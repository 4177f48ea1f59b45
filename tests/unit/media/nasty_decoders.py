"""Decoders that misbehave in every way, for the child that runs them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmrec_lib.media.errors import MediaError


@dataclass(frozen=True)
class Frame:
    number: int
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    name: str
    seconds: float | None
    frames: tuple[Frame, ...]
    sound: npt.NDArray[np.float32] | None
    labels: dict[str, int]


def clip(content: bytes, seconds: float | None, with_sound: bool = True) -> Clip:
    pixels = np.frombuffer(content, np.uint8).reshape(2, -1)
    frames = (Frame(0, pixels), Frame(1, pixels[:, ::-1]))
    return Clip("a clip", seconds, frames, np.arange(3, dtype=np.float32) if with_sound else None, {"red": 1})


def environment(content: bytes) -> dict[str, str]:
    return dict(os.environ)


def open_files(content: bytes) -> list[str]:
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(descriptor.readlink()))
    return found


def reach(content: bytes) -> str:
    """What happens to somebody who connects to the address in the content."""
    host, _, port = content.decode().partition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5):
            return "connected"
    except OSError as error:
        return type(error).__name__


def spy(content: bytes) -> str:
    """What happens to somebody who reads the environment of the parent."""
    try:
        return Path(f"/proc/{os.getppid()}/environ").read_text()
    except OSError as error:
        return type(error).__name__


def write(content: bytes) -> str:
    try:
        Path(content.decode()).write_text("x")
    except OSError as error:
        return type(error).__name__
    return "written"


def cut_short(content: bytes) -> str:
    try:
        os.truncate(content, 0)
    except OSError as error:
        return type(error).__name__
    return "cut short"


def privileges(content: bytes) -> str:
    return next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("NoNewPrivs"))


def unlucky_once(content: bytes) -> int:
    """Kills its process the first time, as a machine without memory does: the parent made a pipe full of luck."""
    with open(content, "rb", buffering=0) as luck:  # noqa: PTH123
        if luck.read(1) == b"-":
            os.kill(os.getpid(), signal.SIGKILL)
    return 1


def slow_once(content: bytes) -> int:
    with open(content, "rb", buffering=0) as luck:  # noqa: PTH123
        if luck.read(1) == b"-":
            time.sleep(60)
    return 1


def refuse(content: bytes) -> int:
    raise MediaError("media_empty", f"{len(content)} bytes are nothing")


def process_id(content: bytes) -> int:
    return os.getpid()


def modules(content: bytes) -> list[str]:
    return sorted(sys.modules)


def segfault(content: bytes) -> int:
    return ctypes.string_at(0)[0]


def killed(content: bytes) -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


def leave(content: bytes) -> int:
    os._exit(0)


def hang(content: bytes) -> int:
    while True:
        time.sleep(1)


def stop(content: bytes) -> int:
    os.kill(os.getpid(), signal.SIGSTOP)
    return 0


def hang_with_offspring(content: bytes) -> int:
    subprocess.run(["sleep", "60"], check=True)
    return 0


def eat(content: bytes) -> int:
    return int(np.ones(2**30, np.uint8).sum())


def fail(content: bytes) -> int:
    return {}["nothing"]


def chatter(content: bytes) -> int:
    print("this is no answer", flush=True)
    os.write(1, b"nor is this\n")
    return len(content)


def garbage(content: bytes) -> int:
    for descriptor in range(1, 20):
        with contextlib.suppress(OSError):
            os.write(descriptor, b"\x00" * 7 + b"\x05nonsense")
    return 0


def forged(content: bytes) -> int:
    """Writes a whole answer of its own beside the true one."""
    header = b'{"body": {"result": 7, "call": 1}, "sizes": []}'
    for descriptor in range(3, 20):
        with contextlib.suppress(OSError):
            os.write(descriptor, len(header).to_bytes(8, "big") + header)
    return 8


def mistyped(content: bytes) -> tuple[int, int]:
    return (1, 2, 3)  # type: ignore[return-value]


def unspeakable(content: bytes) -> object:
    return object()
