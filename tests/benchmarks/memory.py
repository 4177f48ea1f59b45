"""Peak memory of large media: `python -m tests.benchmarks.memory`.

Each measurement runs in a process of its own and reports how far its peak of resident memory rises above what it had
before, beside the size of the result.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

MIB = 2**20


def hour_of_sound(rate: int, channels: int, form: str, subtype: str) -> bytes:
    """An hour of a tone with noise, written in blocks."""
    file = io.BytesIO()
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((rate, channels)).astype(np.float32) * 0.05
    with soundfile.SoundFile(file, "w", rate, channels, format=form, subtype=subtype) as sound:
        for second in range(3_600):
            sound.write(np.roll(noise, second, axis=0))
    return file.getvalue()


def large_image(form: str, mode: str = "RGB") -> bytes:
    """An image of 7,000 x 7,000 pixels."""
    gradient = np.linspace(0, 255, 7_000).astype(np.uint8)
    pixels = np.broadcast_to(gradient[:, None] ^ gradient[None], (7_000, 7_000))
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form)
    return file.getvalue()


def _decode_hour(content: bytes) -> int:
    from mmrec_lib.media.audio import decode_audio

    return decode_audio(content).nbytes


def _cut_hour(content: bytes) -> int:
    from mmrec_lib.encoders.audio.speech import split_at_pauses
    from mmrec_lib.media.audio import decode_audio

    return sum(window.nbytes for window in split_at_pauses(decode_audio(content), 30 * 16_000))


def _fit_image(content: bytes) -> int:
    from mmrec_lib.encoders.image.preprocessing import ImagePreprocessing

    task = ImagePreprocessing(256, 224, 224, 3, 1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return task.fit(content).nbytes


def _check_image(content: bytes) -> int:
    from mmrec_lib.media.images import check_image

    _, width, height = check_image(content)
    return width * height * 3


CASES: dict[str, tuple[Callable[[], bytes], Callable[[bytes], int]]] = {
    "an hour of FLAC, 44.1 kHz stereo, decoded": (lambda: hour_of_sound(44_100, 2, "FLAC", "PCM_16"), _decode_hour),
    "an hour of FLAC, 44.1 kHz stereo, cut into windows": (
        lambda: hour_of_sound(44_100, 2, "FLAC", "PCM_16"),
        _cut_hour,
    ),
    "an hour of WAV, 16 kHz mono, decoded": (lambda: hour_of_sound(16_000, 1, "WAV", "PCM_16"), _decode_hour),
    "49 megapixels of JPEG, preprocessed": (lambda: large_image("JPEG"), _fit_image),
    "49 megapixels of JPEG, probed": (lambda: large_image("JPEG"), _check_image),
    "49 megapixels of PNG, preprocessed": (lambda: large_image("PNG"), _fit_image),
    "49 megapixels of PNG with alpha, preprocessed": (lambda: large_image("PNG", "RGBA"), _fit_image),
}


def measure(name: str, content: bytes) -> dict[str, float]:
    """Runs a case in this process.

    Args:
        name: One of `CASES`.
        content: What its maker made.

    Returns:
        MiB of the file, of the result and of the rise of the peak, and seconds.
    """
    _, work = CASES[name]
    # Imports count before, not in the peak of the work; an empty input loads all that is needed.
    small = io.BytesIO()
    if "hour" in name:
        soundfile.write(small, np.zeros(1_000), 8_000, format="WAV")
    else:
        Image.new("RGBA", (300, 300)).save(small, "PNG")
    work(small.getvalue())
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    before = _status_kib("VmRSS")
    start = time.perf_counter()
    num_bytes = work(content)
    seconds = time.perf_counter() - start
    peak = _status_kib("VmHWM")
    return {
        "file_mib": len(content) / MIB,
        "result_mib": num_bytes / MIB,
        "peak_rise_mib": (peak - before) / 1024,
        "seconds": seconds,
    }


def _status_kib(field: str) -> int:
    """A field of this process's status (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    """Prints one line a case; with `--case` measures that one, its content from standard input."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.memory")
    parser.add_argument("--case", choices=list(CASES))
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case, sys.stdin.buffer.read())))
        return
    for name, (make, _) in CASES.items():
        command = (sys.executable, "-m", "tests.benchmarks.memory", "--case", name)
        done = subprocess.run(command, input=make(), capture_output=True, check=True)
        figures = json.loads(done.stdout)
        print(f"{name:52s} " + "  ".join(f"{key} {value:8.1f}" for key, value in figures.items()), flush=True)


if __name__ == "__main__":
    main()
