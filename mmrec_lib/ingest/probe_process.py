"""Probing in a process of its own: bytes that crash or hang a decoder cost one medium, not the worker.

Run as a module it is that process: it reads requests from standard input and answers on standard output.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from dataclasses import asdict
from types import TracebackType
from typing import IO, Any

from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.probe import MediaInfo, probe

DEFAULT_TIMEOUT_SECONDS = 60.0


class ProbeProcess:
    """Tells what media are, one after the other; use as a context.

    Args:
        timeout_seconds: After so long a decoder counts as hanging.
        command: How to start the process; another one in tests.
    """

    def __init__(self, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS, command: tuple[str, ...] = ()) -> None:
        """Start nothing yet."""
        self._timeout_seconds = timeout_seconds
        self._command = command or (sys.executable, "-m", "mmrec_lib.ingest.probe_process")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ProbeProcess:
        """Begin to use it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self._stop()

    def probe(self, content: bytes, expected_kind: str, max_pixels: int) -> MediaInfo:
        """As `mmrec_lib.media.probe.probe`; a crash or a hang is `media_truncated`.

        Raises:
            MediaError: When the bytes cannot be used.
        """
        try:
            answer = self._ask(content, {"kind": expected_kind, "max_pixels": max_pixels, "size": len(content)})
        except (OSError, ValueError):
            self._stop()
            raise MediaError(
                "media_truncated", f"a whole {expected_kind} is needed, but its decoder crashed or hung on these bytes"
            ) from None
        if "reason" in answer:
            raise MediaError(answer["reason"], answer["detail"])
        return MediaInfo(**answer)

    def _ask(self, content: bytes, request: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        if process is None or process.poll() is not None:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            process = self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(request).encode() + b"\n" + content)
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], self._timeout_seconds)
        if not ready:
            raise TimeoutError("no answer")
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until there are no more."""
    while line := requests.readline():
        request = json.loads(line)
        content = requests.read(request["size"])
        try:
            answer = asdict(probe(content, request["kind"], request["max_pixels"]))
        except MediaError as error:
            answer = {"reason": error.reason, "detail": error.detail}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    own_output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not answer
    serve(sys.stdin.buffer, own_output)
