"""Damaged media through everything that reads them: `python -m tests.corpus --count 5000` (`make test-slow`).

Each file of `tests.data.mutate` goes through decoding in a child (of a video the frames and the sound), the probe of
the ingest, a tiny encoder with its preprocessing, and of an image the thumbnail of the report. Each must end as a
result or as an error with a reason of the closed list; a crash, a hang, a warning or any other exception is a failure.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.errors import reason_of
from mmrec_lib.encoders.kinds import encoder_config
from mmrec_lib.encoders.registry import make_encoder, make_extractor
from mmrec_lib.encoders.spec import Encoder, Extractor
from mmrec_lib.media.audio import decode_audio
from mmrec_lib.media.child import DecoderChild
from mmrec_lib.media.decoder_limits import DecoderLimits
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.frames import sample_frames
from mmrec_lib.media.images import decode_image
from mmrec_lib.media.probe import probe
from mmrec_lib.reporting.report import IMAGE_BYTES
from mmrec_lib.reporting.thumbnails import Thumbnails
from tests.data.mutate import Medium, mutated
from tests.unit.encoders.tiny_models import make_models

LIMITS = DecoderLimits(timeout_seconds=20.0)
MOST_SECONDS_EACH = 10.0


@dataclass
class Report:
    """What became of the files.

    Attributes:
        outcomes: By step and kind: how often `ok` and each reason came.
        failures: Files that ended in any other way, with what happened.
        slowest: Seconds and name of the file that took longest.
    """

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")

    def count(self, step: str, outcome: str) -> None:
        """Counts an outcome of a step."""
        self.outcomes.setdefault(step, Counter())[outcome] += 1


def run(count: int, models: ModelsConfig, seed: int = 0, transcribe_every: int = 1) -> Report:
    """Passes so many damaged files through.

    Args:
        count: How many.
        models: Has `tiny-image` and `tiny-speech`.
        seed: Another one damages in other ways.
        transcribe_every: Of so many files one is transcribed, if it is sound: that takes longer than all else.
    """
    report = Report()
    of_frames = encoder_config(id="tiny-video", kind="video", directory="tiny-image")
    encoders = {
        "image": make_encoder(models.encoders["tiny-image"], models),
        "video": make_encoder(of_frames, models),
    }
    extractor = make_extractor(models.encoders["tiny-speech"], models)
    for model in (*encoders.values(), extractor):
        model.load()
    with DecoderChild(LIMITS) as child, _unraisable_errors() as unraisable:
        for number, medium in enumerate(mutated(count, seed)):
            start = time.perf_counter()
            try:
                if _is_safe(medium, child, report):
                    _probe(medium, report)
                    _thumbnail(medium, child, report)
                    if medium.kind != "audio" or number % transcribe_every == 0:
                        _encode(medium, encoders, extractor, report)
            except Exception as error:
                unraisable.append(error)
            report.failures += [f"{medium.name}: {type(error).__name__}: {error}" for error in unraisable]
            unraisable.clear()
            seconds = time.perf_counter() - start
            report.slowest = max(report.slowest, (seconds, medium.name))
            if seconds > MOST_SECONDS_EACH:
                report.failures.append(f"{medium.name}: took {seconds:.1f} seconds")
    return report


@contextmanager
def _unraisable_errors() -> Iterator[list[BaseException]]:
    """Collects what is raised where nobody can catch it, such as in functions that C libraries call back."""
    errors: list[BaseException] = []
    before, sys.unraisablehook = sys.unraisablehook, lambda found: errors.append(found.exc_value or RuntimeError("?"))
    try:
        yield errors
    finally:
        sys.unraisablehook = before


def _is_safe(medium: Medium, child: DecoderChild, report: Report) -> bool:
    """Whether the medium's decoders survive; what would crash this process must not be tried in it."""
    steps: dict[str, Callable[[], object]] = {
        "image": {"decode image": lambda: child.call(decode_image, medium.content)},
        "audio": {"decode audio": lambda: child.call(decode_audio, medium.content)},
        "video": {
            "decode video": lambda: child.call(sample_frames, medium.content),
            "decode sound of video": lambda: child.call(decode_audio, medium.content),
        },
    }[medium.kind]
    outcomes = {step: _outcome(work) for step, work in steps.items()}
    for step, outcome in outcomes.items():
        report.count(step, outcome)
        if outcome in {"media_decoder_crashed", "media_decoder_timeout"}:
            report.failures.append(f"{medium.name}: {step}: {outcome}")
    return set(outcomes.values()).isdisjoint({"media_decoder_crashed", "media_decoder_timeout"})


def _probe(medium: Medium, report: Report) -> None:
    report.count(f"probe {medium.kind}", _outcome(lambda: probe(medium.content, medium.kind)))


def _thumbnail(medium: Medium, child: DecoderChild, report: Report) -> None:
    """An image that the ingest accepts has a thumbnail, and no other has one."""
    if medium.kind == "image":
        address = Thumbnails(IMAGE_BYTES, child).address(medium.content)
        outcome = _outcome(lambda: decode_image(medium.content))
        report.count("thumbnail", outcome)
        if (address is not None) != (outcome == "ok"):
            report.failures.append(f"{medium.name}: its thumbnail is {address}, and decoding says {outcome}")


def _encode(medium: Medium, encoders: Mapping[str, Encoder], extractor: Extractor, report: Report) -> None:
    if medium.kind == "audio":
        (words,) = extractor.extract([medium.content])
        error, is_whole = words.error, (words.text is None) == (words.error is not None)
    else:
        result = encoders[medium.kind].encode([medium.content])
        (error,) = result.errors
        is_whole = bool(np.isfinite(result.vectors).all()) and bool(result.vectors.any()) == (error is None)
    report.count(f"encode {medium.kind}", "ok" if error is None else reason_of(error))
    if not is_whole:
        report.failures.append(f"{medium.name}: neither a whole result nor an error")


def _outcome(work: Callable[[], object]) -> str:
    try:
        work()
    except MediaError as error:
        return error.reason
    return "ok"


def main() -> int:
    """Prints the outcomes; returns 1 when a file ended in any other way."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus")
    parser.add_argument("--count", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = run(options.count, make_models(Path(folder)), options.seed)
    for step, outcomes in sorted(report.outcomes.items()):
        print(f"{step:21s} {dict(outcomes.most_common())}")
    print(f"{options.count:,} files in {time.monotonic() - start:.0f} s, slowest {report.slowest}")
    for failure in report.failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
