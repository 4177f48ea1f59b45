from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmrec_lib.media.errors import MEDIA_REASONS, MediaError
from mmrec_lib.media.images import check_image, decode_image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def half_red(size: tuple[int, int] = (8, 4)) -> Image.Image:
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, : size[0] // 2, 0] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_lossless_formats_give_the_pixels_back(kind: str) -> None:
    assert np.array_equal(decode_image(encoded(half_red(), kind)), np.asarray(half_red()))


@pytest.mark.parametrize(("kind", "mime"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")])
def test_check_tells_type_and_size(kind: str, mime: str) -> None:
    assert check_image(encoded(half_red((30, 20)), kind)) == (mime, 30, 20)


def test_rotation_by_the_camera_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    content = encoded(half_red((8, 4)), "PNG", exif=exif)
    assert check_image(content)[1:] == (4, 8)
    upright = decode_image(content)
    assert upright.shape == (8, 4, 3)
    assert upright[0, 0, 0] == 255 and upright[-1, 0, 0] == 0


def test_transparency_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert (decode_image(encoded(clear, "PNG")) == 255).all()


def test_transparent_palette_is_laid_over_white() -> None:
    image = Image.new("P", (2, 2), 0)
    image.putpalette([10, 20, 30])
    assert (decode_image(encoded(image, "PNG", transparency=0)) == 255).all()


def test_cmyk_becomes_rgb() -> None:
    pixel = decode_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))[4, 4]
    assert pixel[0] > 200 and pixel[1] < 60 and pixel[2] < 60


def test_sixteen_bits_are_scaled_and_not_cut() -> None:
    grey = Image.fromarray(np.full((2, 2), 0x8000, np.uint16))
    assert (decode_image(encoded(grey, "PNG")) == 0x80).all()


def test_large_jpeg_may_be_decoded_smaller_but_never_below_the_wanted_side() -> None:
    content = encoded(Image.new("RGB", (800, 1200), "green"), "JPEG")
    assert decode_image(content, short_side_px=100).shape == (150, 100, 3)
    assert min(decode_image(content, short_side_px=90).shape[:2]) >= 90


def png_claiming(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(20_000, 20_000), (10_000, 10_000), (9_000, 9_000)])
def test_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(MediaError) as caught:
        decode_image(png_claiming(*size))
    assert caught.value.reason == "media_oversized"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_truncated_pictures_are_found(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    content = encoded(noise, kind)
    for check in (check_image, decode_image):
        with pytest.raises(MediaError) as caught:
            check(content[: len(content) // 2])
        assert caught.value.reason == "media_truncated"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "media_empty"), (b"hello", "media_wrong_type"), (b"\xff\xd8\xff", "media_truncated")],
)
def test_reason_for_what_is_no_picture(content: bytes, reason: str) -> None:
    with pytest.raises(MediaError) as caught:
        decode_image(content)
    assert caught.value.reason == reason


# Pillow also warns of damage that it can live with.
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF"]), st.data())
@settings(deadline=None)
def test_damaged_pictures_decode_or_say_why(kind: str, data: st.DataObject) -> None:
    content = bytearray(encoded(half_red((16, 16)), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = decode_image(bytes(content), max_pixels=100_000)
    except MediaError as error:
        assert error.reason in MEDIA_REASONS
    else:
        assert picture.dtype == np.uint8 and picture.shape[2] == 3
