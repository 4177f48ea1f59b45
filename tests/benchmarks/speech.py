"""Word errors of speech to text on sounds whose words are known: `python -m tests.benchmarks.speech <folder>`.

Each sound `<name>.wav` or `<name>.flac` has its words in `<name>.txt`, or in front of the first `_` of its name (as
spoken digits come: `7_george_3.wav`). What a file lacks is said; a sound that cannot be read counts with all its words.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_extractor
from mmrec_lib.media.audio import SAMPLE_RATE_HZ, decode_audio
from mmrec_lib.media.errors import MediaError

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Written short by whom transcribes, said in full.
_SPOKEN = {"mr": "mister", "mrs": "missus", "dr": "doctor"}


def tokenize(text: str) -> list[str]:
    """Words in small letters, digits and titles spelled out, without signs."""
    spelled = re.sub(r"\d", lambda digit: f" {_DIGITS[int(digit.group())]} ", text.lower())
    return [_SPOKEN.get(word, word) for word in re.findall(r"[^\W_]+(?:'[^\W_]+)*", spelled)]


def word_errors(said: list[str], heard: list[str]) -> int:
    """Least number of words to replace, insert and leave out (Levenshtein, 1966)."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(said, 1):
        left, row[0] = row[0], number
        for place, other in enumerate(heard, 1):
            left, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, left + (word != other))
    return row[-1]


def reference_of(path: Path) -> str | None:
    """The words of a sound; None where nobody wrote them down."""
    written = path.with_suffix(".txt")
    if written.is_file():
        return written.read_text(encoding="utf-8")
    first = path.stem.partition("_")[0]
    return first if first.isdigit() else None


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.speech", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of sounds")
    parser.add_argument("--model", default="whisper-tiny-en")
    options = parser.parse_args()
    models = ModelsConfig()
    extractor = make_extractor(models.encoder(options.model, "speech"), models)
    extractor.load()
    num_words = num_errors = num_right = num_sounds = 0
    sound_seconds = work_seconds = 0.0
    for path in sorted(path for path in options.folder.iterdir() if path.suffix in (".wav", ".flac")):
        reference = reference_of(path)
        if reference is None:
            print(f"{path.name}: no words beside it")
            continue
        content, said = path.read_bytes(), tokenize(reference)
        started = time.process_time()
        (found,) = extractor.extract([content])
        work_seconds += time.process_time() - started
        try:
            sound_seconds += len(decode_audio(content)) / SAMPLE_RATE_HZ
        except MediaError as error:
            print(f"{path.name}: {error}")
        errors = word_errors(said, tokenize(found.text or ""))
        num_sounds, num_right = num_sounds + 1, num_right + (errors == 0)
        num_words, num_errors = num_words + len(said), num_errors + errors
        if errors:
            print(f"{path.name}: {errors} of {len(said)}: {' '.join(said)!r} as {(found.text or found.error)!r}")
    if not num_words:
        parser.error(f"{options.folder}: sounds with words beside them are needed, there are none")
    print(
        f"{num_errors} of {num_words} words wrong ({num_errors / num_words:.1%}), {num_right} of {num_sounds} sounds "
        f"right, {sound_seconds / work_seconds:.1f} s of sound a processor second"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
