"""Mutated media: files of every format, damaged in every way, each made again from its seed and number.

    for medium in mutated(500):
        ...

The originals are images and sounds of the sample store and generated ones in every format that is read; what is done
to them is what networks, disks, broken writers and attackers do.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from PIL import Image

STORE = Path(__file__).parent / "store"
NUM_STORE_IMAGES, NUM_STORE_SOUNDS = 8, 4

Rng = np.random.Generator
Chunks = list[bytes]


@dataclass(frozen=True)
class Medium:
    """A file.

    Attributes:
        name: What it is and what was done to it.
        kind: image, audio or video: what it was before.
        content: Its bytes.
    """

    name: str
    kind: str
    content: bytes


def mutated(count: int, seed: int = 0) -> Iterator[Medium]:
    """Damaged media; the n-th is the same however many are asked for.

    Args:
        count: How many.
        seed: Another one gives others.
    """
    sources = originals()
    ways = list(MUTATIONS.items())
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        original = sources[int(rng.integers(len(sources)))]
        content, done = original.content, []
        for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
            way, mutate = ways[int(rng.integers(len(ways)))]
            content = mutate(content, rng)
            done.append(way)
        yield Medium(f"{seed}/{number}: {original.name}, {', then '.join(done)}", original.kind, content)


@functools.cache
def originals() -> tuple[Medium, ...]:
    """Whole media, a few of the sample store's and one or more in every format."""
    images = sorted((STORE / "images").glob("p*.jpg"))[:: 400 // NUM_STORE_IMAGES]
    sounds = sorted((STORE / "audio").glob("rv*.flac"))[:NUM_STORE_SOUNDS]
    return (
        *(Medium(path.name, "image", path.read_bytes()) for path in images),
        *(Medium(path.name, "audio", path.read_bytes()) for path in sounds),
        *_images(),
        *_sounds(),
        *(Medium(f"clip in {form}", "video", clip(form)) for form in ("mp4", "matroska", "avi")),
        Medium("sound in ipod", "audio", clip("ipod", with_images=False)),
    )


def _images() -> Iterator[Medium]:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (4, 6, 3), np.uint8)).resize((48, 40), Image.Resampling.BICUBIC)
    more: dict[str, Any] = {"save_all": True, "append_images": [smooth.rotate(90), smooth.rotate(180)]}
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a picture"
    grey = Image.fromarray(rng.integers(0, 65536, (9, 11), np.uint16))
    numbers = Image.fromarray(rng.standard_normal((9, 11)).astype(np.float32))
    made: tuple[tuple[str, str, Image.Image, dict[str, Any]], ...] = (
        ("plain", "JPEG", smooth, {}),
        ("exif", "JPEG", smooth, {"exif": exif}),
        ("progressive", "JPEG", smooth, {"progressive": True}),
        ("cmyk", "JPEG", smooth.convert("CMYK"), {}),
        ("grey", "JPEG", smooth.convert("L"), {}),
        ("plain", "PNG", smooth, {}),
        ("exif", "PNG", smooth, {"exif": exif}),
        ("palette", "PNG", smooth.quantize(16), {"transparency": 3}),
        ("alpha", "PNG", smooth.convert("RGBA"), {}),
        ("16 bits", "PNG", grey, {}),
        ("animated", "PNG", smooth, more),
        ("plain", "GIF", smooth, {}),
        ("animated", "GIF", smooth, more),
        ("plain", "WEBP", smooth, {}),
        ("lossless", "WEBP", smooth.convert("RGBA"), {"lossless": True}),
        ("animated", "WEBP", smooth, more),
        ("plain", "BMP", smooth, {}),
        ("palette", "BMP", smooth.quantize(16), {}),
        ("plain", "TIFF", smooth, {}),
        ("pages", "TIFF", smooth, more),
        ("16 bits", "TIFF", grey, {}),
        ("numbers", "TIFF", numbers, {}),
        ("lab", "TIFF", Image.fromarray(np.asarray(smooth), "LAB"), {}),
        *(
            (packing, "TIFF", smooth, {"compression": packing})
            for packing in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")
        ),
        ("fax", "TIFF", smooth.convert("1"), {"compression": "group4"}),
    )
    for name, form, image, options in made:
        file = io.BytesIO()
        image.save(file, form, **options)
        yield Medium(f"{name} {form}", "image", file.getvalue())


def _sounds() -> Iterator[Medium]:
    wave = np.sin(2 * np.pi * 330 * np.arange(8_000) / 8_000)[:3_000, None] * np.array([0.5, 0.3])
    forms = (
        ("WAV", "PCM_16"),
        ("WAV", "PCM_U8"),
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("WAV", "IMA_ADPCM"),
        ("WAVEX", "PCM_16"),
        ("RF64", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
        ("AIFF", "PCM_16"),
        ("AIFF", "FLOAT"),
    )
    for form, subtype in forms:
        file = io.BytesIO()
        soundfile.write(file, wave, 8_000, format=form, subtype=subtype)
        yield Medium(f"{form} {subtype}", "audio", file.getvalue())


def clip(form: str, num_frames: int = 10, *, with_images: bool = True) -> bytes:
    """A video of a moving bar, 64 x 48 pixels, with a tone; or the tone alone."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        video = container.add_stream("mpeg4", rate=10) if with_images else None
        if video is not None:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        for number in range(num_frames):
            pixels = np.zeros((48, 64, 3), np.uint8)
            pixels[:, 5 * number : 5 * number + 9] = (255, 40 * number % 256, 0)
            if video is not None:
                container.mux(video.encode(av.VideoFrame.from_ndarray(pixels)))
            samples = np.sin(np.arange(1_600) / 9, dtype=np.float32)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, 1_600 * number
            container.mux(sound.encode(frame))
        for stream in (video, sound):
            if stream is not None:
                container.mux(stream.encode())
    return file.getvalue()


def _flip_bits(content: bytes, rng: Rng) -> bytes:
    changed = bytearray(content)
    for place in rng.integers(0, max(len(content), 1), int(rng.integers(1, 20))) if content else ():
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _zero_a_run(content: bytes, rng: Rng) -> bytes:
    start, end = _part(content, rng)
    return content[:start] + bytes(end - start) + content[end:]


def _cut(content: bytes, rng: Rng) -> bytes:
    return content[: int(rng.integers(len(content) + 1))]


def _lose_a_run(content: bytes, rng: Rng) -> bytes:
    start, end = _part(content, rng)
    return content[:start] + content[end:]


def _repeat_a_run(content: bytes, rng: Rng) -> bytes:
    start, end = _part(content, rng)
    return content[:end] + content[start:end] * int(rng.integers(1, 5)) + content[end:]


def _splice(content: bytes, rng: Rng) -> bytes:
    other = originals()[int(rng.integers(len(originals())))].content
    return content[: int(rng.integers(len(content) + 1))] + other[int(rng.integers(len(other) + 1)) :]


def _change_a_field(content: bytes, rng: Rng) -> bytes:
    """Writes an extreme number over 1, 2 or 4 bytes near the beginning."""
    size = int(rng.choice([1, 2, 4]))
    place = int(rng.integers(min(len(content), 200) + 1))
    value = [0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), 2 ** (8 * size - 1) - 1][int(rng.integers(5))]
    field = value.to_bytes(size, "big" if rng.integers(2) else "little")
    return content[:place] + field + content[place + size :]


def _swap_chunks(content: bytes, rng: Rng) -> bytes:
    head, chunks = _chunks(content)
    if len(chunks) < 2:
        chunks = [content[start : start + 64] for start in range(0, len(content), 64)]
        head = b""
    if len(chunks) > 1:
        first, second = rng.choice(len(chunks), 2, replace=False)
        chunks[first], chunks[second] = chunks[second], chunks[first]
    return head + b"".join(chunks)


def _repeat_a_chunk(content: bytes, rng: Rng) -> bytes:
    head, chunks = _chunks(content)
    if chunks:
        chosen = int(rng.integers(len(chunks)))
        chunks[chosen] *= int(rng.integers(2, 60))
    return head + b"".join(chunks)


def _change_a_checked_chunk(content: bytes, rng: Rng) -> bytes:
    """Flips bits inside a PNG's chunk and puts its checksum right, so that what reads it sees them."""
    head, chunks = _chunks(content)
    if not content.startswith(b"\x89PNG") or not chunks:
        return _flip_bits(content, rng)
    chosen = int(rng.integers(len(chunks)))
    size, body = chunks[chosen][:4], chunks[chosen][8:-4]
    body = chunks[chosen][4:8] + _flip_bits(body, rng)
    chunks[chosen] = size + body + struct.pack(">I", zlib.crc32(body))
    return head + b"".join(chunks)


def _append_garbage(content: bytes, rng: Rng) -> bytes:
    return content + rng.bytes(int(rng.integers(1, 2_000)))


MUTATIONS: dict[str, Callable[[bytes, Rng], bytes]] = {
    "bits flipped": _flip_bits,
    "a run zeroed": _zero_a_run,
    "cut": _cut,
    "a run lost": _lose_a_run,
    "a run repeated": _repeat_a_run,
    "spliced": _splice,
    "a field changed": _change_a_field,
    "chunks swapped": _swap_chunks,
    "a chunk repeated": _repeat_a_chunk,
    "a checked chunk changed": _change_a_checked_chunk,
    "garbage appended": _append_garbage,
}


def _part(content: bytes, rng: Rng) -> tuple[int, int]:
    start = int(rng.integers(len(content) + 1))
    return start, min(start + int(rng.integers(1, 400)), len(content))


def _chunks(content: bytes) -> tuple[bytes, Chunks]:
    """Head and chunks of a PNG, RIFF, IFF or ISO file; no chunks of other files."""
    if content.startswith(b"\x89PNG"):
        return content[:8], _walk(content, 8, lambda at: 12 + struct.unpack_from(">I", content, at)[0])
    if content[:4] in (b"RIFF", b"FORM"):
        form = "<I" if content[:4] == b"RIFF" else ">I"
        return content[:12], _walk(
            content, 12, lambda at: 8 + (struct.unpack_from(form, content, at + 4)[0] + 1) // 2 * 2
        )
    if content[4:8] == b"ftyp":
        return b"", _walk(content, 0, lambda at: max(struct.unpack_from(">I", content, at)[0], 8))
    return content, []


def _walk(content: bytes, start: int, size_at: Callable[[int], int]) -> Chunks:
    chunks = []
    while start + 8 <= len(content):
        size = size_at(start)
        chunks.append(content[start : start + size])
        start += size
    if start < len(content):
        chunks.append(content[start:])
    return chunks
