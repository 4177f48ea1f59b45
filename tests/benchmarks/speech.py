"""Word errors of speech to text on sounds whose words are known: `python -m tests.benchmarks.speech <folder>`.

Each sound `<name>.wav` or `<name>.flac` has its words in `<name>.txt`, or in front of the first `_` of its name (as
spoken digits come: `7_george_3.wav`), or in the JSON file of `--words`. What a file lacks is said; a sound that cannot
be read counts with all its words. `--faster-whisper <directory>` measures that library instead, where it is installed,
on a model in CTranslate2's format.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_extractor
from mmrec_lib.errors import MmrecError
from mmrec_lib.media.audio import SAMPLE_RATE_HZ, decode_audio

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


def reference_of(path: Path, words: Mapping[str, str]) -> str | None:
    """The words of a sound; None where nobody wrote them down."""
    if path.stem in words:
        return words[path.stem]
    written = path.with_suffix(".txt")
    if written.is_file():
        return written.read_text(encoding="utf-8")
    first = path.stem.partition("_")[0]
    return first if first.isdigit() else None


def own_transcriber(model: str, threads: int) -> Callable[[bytes], str]:
    """The project's own extractor; a sound with an error has no words."""
    models = ModelsConfig(threads=threads)
    extractor = make_extractor(models.encoder(model, "speech"), models)
    extractor.load()

    def transcribe(content: bytes) -> str:
        (found,) = extractor.extract([content])
        if found.error:
            print(found.error)
        return found.text or ""

    return transcribe


def other_transcriber(directory: Path, threads: int, settings: Mapping[str, Any]) -> Callable[[bytes], str]:
    """faster-whisper in int8."""
    library = importlib.import_module("faster_whisper")
    model = library.WhisperModel(str(directory), device="cpu", compute_type="int8", cpu_threads=threads)

    def transcribe(content: bytes) -> str:
        segments, _ = model.transcribe(decode_audio(content), **settings)
        return " ".join(segment.text for segment in segments)

    return transcribe


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.speech", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of sounds")
    parser.add_argument("--model", default="whisper-tiny-en")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--words", type=Path, help="JSON object: words by the name of the file")
    parser.add_argument(
        "--faster-whisper", type=Path, metavar="DIRECTORY", help="measure faster-whisper with this model"
    )
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON object: arguments of its transcribe")
    options = parser.parse_args()
    if options.faster_whisper and importlib.util.find_spec("faster_whisper") is None:
        parser.error("--faster-whisper: the package faster-whisper is needed, it is not installed")
    if options.faster_whisper is None:
        transcribe = own_transcriber(options.model, options.threads)
    else:
        transcribe = other_transcriber(options.faster_whisper, options.threads, options.settings)
    words = json.loads(options.words.read_text(encoding="utf-8")) if options.words else {}
    num_words = num_errors = num_right = num_sounds = 0
    sound_seconds = work_seconds = 0.0
    for path in sorted(path for path in options.folder.iterdir() if path.suffix in (".wav", ".flac")):
        reference = reference_of(path, words)
        if reference is None:
            print(f"{path.name}: no words beside it")
            continue
        content, said = path.read_bytes(), tokenize(reference)
        heard = ""
        try:
            sound_seconds += len(decode_audio(content)) / SAMPLE_RATE_HZ
            started = time.process_time()
            heard = transcribe(content)
            work_seconds += time.process_time() - started
        except MmrecError as error:
            print(f"{path.name}: {error}")
        errors = word_errors(said, tokenize(heard))
        num_sounds, num_right = num_sounds + 1, num_right + (errors == 0)
        num_words, num_errors = num_words + len(said), num_errors + errors
        if errors:
            print(f"{path.name}: {errors} of {len(said)}: {' '.join(said)!r} as {heard!r}")
    if not num_words:
        parser.error(f"{options.folder}: sounds with words beside them are needed, there are none")
    print(
        f"{num_errors} of {num_words} words wrong ({num_errors / num_words:.1%}), {num_right} of {num_sounds} sounds "
        f"right, {sound_seconds / work_seconds:.1f} s of sound a processor second"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
