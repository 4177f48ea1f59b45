from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mmrec_lib.media import images
from mmrec_lib.media.child import DecoderChild
from mmrec_lib.media.decoder_limits import DecoderLimits
from mmrec_lib.media.errors import MEDIA_REASONS, MediaError
from mmrec_lib.media.images import ContinuedImage, check_image, continue_edges, continued, decode_image
from tests.data.media_faults import huge_jpeg


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


# Where the upper left pixel of what the camera saw is in the file, by the EXIF tag Orientation.
CORNERS = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (-1, 0), 7: (-1, -1), 8: (0, -1)}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", list(CORNERS))
def test_every_rotation_by_the_camera_is_applied(kind: str, orientation: int) -> None:
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[CORNERS[orientation]] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(Image.fromarray(pixels), kind, exif=exif, **lossless)
    upright = decode_image(content)
    assert upright.shape == ((8, 4, 3) if orientation > 4 else (4, 8, 3))
    assert check_image(content)[1:] == upright.shape[1::-1]
    assert upright[0, 0].tolist() == [255] * 3 and upright.sum() == 3 * 255


def test_rotation_is_that_of_pillow() -> None:
    pixels = np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3)
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        content = encoded(Image.fromarray(pixels), "PNG", exif=exif)
        theirs = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
        assert np.array_equal(decode_image(content), np.asarray(theirs))


@pytest.mark.parametrize("exif", [b"nonsense", b"II*\x00", b"MM\x00*\xff\xff\xff\xff", bytes(100)])
def test_damaged_camera_data_do_not_cost_the_image(exif: bytes) -> None:
    content = png(1, 1, 8, 0, b"\0\x80", chunk(b"eXIf", exif))
    assert decode_image(content).tolist() == [[[128] * 3]]
    assert check_image(content) == ("image/png", 1, 1)


def test_transparency_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert (decode_image(encoded(clear, "PNG")) == 255).all()


def test_transparent_palette_is_laid_over_white() -> None:
    image = Image.new("P", (2, 2), 0)
    image.putpalette([10, 20, 30])
    assert (decode_image(encoded(image, "PNG", transparency=0)) == 255).all()


def test_cmyk_becomes_rgb_whether_inverted_as_adobe_does_or_not() -> None:
    inks = np.zeros((16, 8, 4), np.uint8)
    inks[:8] = (0, 255, 255, 0)  # red, and below it dark grey
    inks[8:] = (0, 0, 0, 200)
    inverted = encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=95)
    start = inverted.index(b"\xff\xee")
    plain = encoded(Image.fromarray(255 - inks, "CMYK"), "JPEG", quality=95)  # Pillow inverts what it writes
    plain = plain[:start] + plain[start + 2 + int.from_bytes(plain[start + 2 : start + 4], "big") :]
    assert b"Adobe" in inverted and b"Adobe" not in plain
    for content in (inverted, plain):
        image = decode_image(content).astype(int)
        assert np.abs(image[:8] - (255, 0, 0)).max() < 12
        assert np.abs(image[8:] - (55, 55, 55)).max() < 12
    assert np.abs(decode_image(encoded(Image.fromarray(inks, "CMYK"), "TIFF"))[0, 0] - (255, 0, 0)).max() == 0


def test_sixteen_bits_are_scaled_and_not_cut() -> None:
    grey = Image.fromarray(np.full((2, 2), 0x8000, np.uint16))
    for kind in ("PNG", "TIFF"):
        assert (decode_image(encoded(grey, kind)) == 0x80).all()
    colours = png(1, 1, 16, 2, b"\0" + struct.pack(">HHH", 0xFFFF, 0x8000, 0))
    assert decode_image(colours).tolist() == [[[255, 128, 0]]]
    with_alpha = png(1, 1, 16, 4, b"\0" + struct.pack(">HH", 0x8000, 0))
    assert decode_image(with_alpha).tolist() == [[[255] * 3]]


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([0.0, 0.5, 1.0], [0, 127, 255]),
        ([-3e38, 0.0, 3e38], [0, 127, 255]),
        ([0.0, np.nan, 2.0], [0, 0, 255]),
        ([0.0, np.inf, 2.0], [0, 0, 255]),
        ([np.nan] * 3, [0, 0, 0]),
        ([7.0] * 3, [0, 0, 0]),
    ],
)
def test_numbers_of_any_range_become_grey_levels(values: list[float], levels: list[int]) -> None:
    content = encoded(Image.fromarray(np.array([values], np.float32)), "TIFF")
    assert decode_image(content)[0, :, 0].tolist() == levels


def test_numbers_that_signal_that_they_are_none_cost_no_warning() -> None:
    values = np.array([[0x7FA00000, 0x3F800000, 0]], np.uint32).view(np.float32)
    assert decode_image(encoded(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize("value", [0, 1])
def test_one_bit_images_are_black_and_white(value: int) -> None:
    for kind in ("PNG", "TIFF", "BMP", "GIF"):
        assert (decode_image(encoded(Image.new("1", (4, 4), value), kind)) == 255 * value).all()


def test_grey_with_alpha_is_laid_over_white() -> None:
    assert (decode_image(encoded(Image.new("LA", (4, 4), (10, 0)), "PNG")) == 255).all()
    assert (decode_image(encoded(Image.new("LA", (4, 4), (10, 255)), "PNG")) == 10).all()


def test_lab_colours_become_rgb() -> None:
    red_as_lab = Image.new("LAB", (4, 4), (137, 208, 195))
    assert np.abs(decode_image(encoded(red_as_lab, "TIFF")).astype(int) - (255, 0, 0)).max() < 15


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_or_many_pages_the_first_counts(kind: str) -> None:
    more = {"save_all": True, "append_images": [Image.new("RGB", (8, 4), "blue")]}
    lossless = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(Image.new("RGB", (8, 4), (255, 0, 0)), kind, **more, **lossless)
    assert decode_image(content).tolist() == np.full((4, 8, 3), (255, 0, 0)).tolist()


def test_progressive_jpeg() -> None:
    pixels = decode_image(encoded(half_red((64, 32)), "JPEG", progressive=True, quality=95, subsampling=0))
    assert np.abs(pixels.astype(int) - np.asarray(half_red((64, 32)))).max() < 10


def test_arithmetic_jpeg() -> None:
    def segment(marker: int, body: bytes) -> bytes:
        return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body

    # One grey block whose coefficients are all zero, in arithmetic coding (SOF9, DAC).
    content = (
        b"\xff\xd8"
        + segment(0xDB, b"\0" + b"\1" * 64)
        + segment(0xC9, struct.pack(">BHHB", 8, 8, 8, 1) + b"\1\x11\0")
        + segment(0xCC, b"\0\x10\x10\x05")
        + segment(0xDA, b"\1\1\0\0\x3f\0")
        + b"\0\0\0\xff\xd9"
    )
    assert (decode_image(content) == 128).all()
    assert check_image(content) == ("image/jpeg", 8, 8)


@pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1), (2_000_000, 1)])
def test_images_of_any_shape(size: tuple[int, int]) -> None:
    content = png(*size, 8, 0, (b"\0" + b"\x80" * size[0]) * size[1])
    assert check_image(content)[1:] == size
    assert decode_image(content, short_side_px=256).shape == (size[1], size[0], 3)
    if max(size) <= 65_500:
        assert decode_image(encoded(Image.new("RGB", size), "JPEG"), short_side_px=256).shape == (*size[::-1], 3)


def test_large_jpeg_may_be_decoded_smaller_but_never_below_the_wanted_side() -> None:
    content = encoded(Image.new("RGB", (800, 1200), "green"), "JPEG")
    assert decode_image(content, short_side_px=100).shape == (150, 100, 3)
    assert min(decode_image(content, short_side_px=90).shape[:2]) >= 90


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int, height: int, depth: int, colours: int, rows: bytes, extra: bytes = b"", behind: bytes = b""
) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + extra + data + behind + chunk(b"IEND", b"")


def tiff(*tags: tuple[int, int]) -> bytes:
    """A TIFF of these tags and 4 KB of data behind them, which tag 273 or 324 (given as 0) shall point at."""
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value or start) for tag, value in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + b"\x80" * 4096


def gif(screen: tuple[int, int], frame: tuple[int, int]) -> bytes:
    content = bytearray(encoded(Image.new("P", (4, 4)), "GIF"))
    content[6:10] = struct.pack("<HH", *screen)
    start = content.index(b",", 13)
    content[start + 5 : start + 9] = struct.pack("<HH", *frame)
    return bytes(content)


def webp(side: int) -> bytes:
    frames = {"save_all": True, "append_images": [Image.new("RGB", (4, 4), "blue")]}
    content = bytearray(encoded(Image.new("RGB", (4, 4)), "WEBP", **frames))
    start = content.index(b"VP8X") + 12
    content[start : start + 6] = 2 * (side - 1).to_bytes(3, "little")
    return bytes(content)


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def strips(side: int, compression: int) -> bytes:
    return tiff((256, side), (257, side), (258, 8), (259, compression), (262, 1), (277, 1), (278, side), (273, 0))


def tiles(side: int, compression: int) -> bytes:
    return tiff(
        (256, 1),
        (257, 1),
        (258, 8),
        (259, compression),
        (262, 1),
        (277, 1),
        (322, side),
        (323, side),
        (324, 0),
        (325, 9),
    )


@pytest.mark.parametrize(
    "content",
    [
        *(png(side, side, 8, 2, b"") for side in (30_000, 20_000, 10_000, 8_000)),
        huge_jpeg(encoded(half_red(), "JPEG")),
        gif((30_000, 30_000), (4, 4)),
        gif((4, 4), (30_000, 30_000)),
        gif((4, 4), (9_000, 9_000)),
        webp(16_000),
        bmp(30_000, 30_000),
        bmp(30_000, -30_000),
        *(strips(30_000, compression) for compression in (1, 5, 8)),
    ],
)
def test_bomb_is_refused_by_its_header(content: bytes) -> None:
    for read in (check_image, decode_image):
        with pytest.raises(MediaError, match="pixels") as caught:
            read(content)
        assert caught.value.reason == "media_oversized"


_PACKED = zlib.compress(bytes(100 * 2**20), 9)


@pytest.mark.parametrize(
    ("where", "bomb"),
    [
        ("extra", chunk(b"zTXt", b"k\0\0" + _PACKED)),
        ("behind", chunk(b"zTXt", b"k\0\0" + _PACKED)),
        ("extra", chunk(b"iTXt", b"k\0\1\0\0\0" + _PACKED)),
        ("extra", chunk(b"iCCP", b"k\0\0" + _PACKED)),
        ("extra", chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000), 9)) * 100),
    ],
)
def test_bomb_beside_the_pixels_is_refused(where: str, bomb: bytes) -> None:
    content = png(1, 1, 8, 0, b"\0\x80", **{where: bomb})
    for read in (check_image, decode_image):
        with pytest.raises(MediaError) as caught:
            read(content)
        assert caught.value.reason == "media_oversized"


def test_more_data_than_pixels_and_absurd_tiles_cost_no_memory() -> None:
    contents = [png(1, 1, 8, 0, bytes(100 * 2**20)), *(tiles(60_000, compression) for compression in (1, 5, 8))]
    with DecoderChild(DecoderLimits(memory_bytes=2**28)) as child:
        for content in contents:
            try:
                assert child.call(decode_image, content).shape == (1, 1, 3)
            except MediaError as error:
                assert error.reason == "media_truncated"


def test_a_image_that_needs_more_memory_than_there_is_is_oversized() -> None:
    rows = (b"\0" + bytes(6_000)) * 6_000
    with DecoderChild(DecoderLimits(memory_bytes=2**28)) as child, pytest.raises(MediaError) as caught:
        child.call(decode_image, png(6_000, 6_000, 8, 0, rows))
    assert caught.value.reason == "media_oversized"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_truncated_images_are_found(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    content = encoded(noise, kind)
    for check in (check_image, decode_image):
        with pytest.raises(MediaError) as caught:
            check(content[: len(content) // 2])
        assert caught.value.reason == "media_truncated"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "media_empty"),
        (b"hello", "media_wrong_type"),
        (b"RIFF\0\0\0\0WEBP", "media_truncated"),
        (b"\xff\xd8\xff", "media_truncated"),
    ],
)
def test_reason_for_what_is_no_image(content: bytes, reason: str) -> None:
    with pytest.raises(MediaError) as caught:
        decode_image(content)
    assert caught.value.reason == reason


@given(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF"]), st.data())
@settings(deadline=None)
def test_damaged_images_decode_or_say_why(kind: str, data: st.DataObject) -> None:
    content = bytearray(encoded(half_red((16, 16)), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode_image(bytes(content), max_pixels=100_000)
    except MediaError as error:
        assert error.reason in MEDIA_REASONS
    else:
        assert image.dtype == np.uint8 and image.shape[2] == 3


def test_an_image_that_several_models_see_is_decoded_once_at_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.effect_noise((800, 600), 50).convert("RGB").save(file, "JPEG")
    content, decoded = file.getvalue(), list[tuple[int, int]]()
    real = images._upright_pixels

    def counting(image: Image.Image) -> np.ndarray:
        decoded.append(image.size)
        return real(image)

    expected = {side: images.decode_image(content, short_side_px=side) for side in (600, 256, 200)}
    monkeypatch.setattr(images, "_upright_pixels", counting)
    shared = images.DecodeOnce(content)
    for _ in range(2):
        for side, pixels in expected.items():
            assert np.array_equal(images.decode_image(shared, short_side_px=side), pixels)
    assert decoded == [(800, 600), (400, 300)]
    images.decode_image(content)
    images.decode_image(content)
    assert len(decoded) == 4
    # What is kept must not be changed by one model under the eyes of another.
    with pytest.raises(ValueError, match="read-only"):
        images.decode_image(shared)[0, 0] = 0


def test_large_images_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, "PNG")
    shared = images.DecodeOnce(file.getvalue())
    monkeypatch.setattr(images, "_KEPT_PIXELS", 599)
    assert images.decode_image(shared) is not images.decode_image(shared)
    monkeypatch.setattr(images, "_KEPT_PIXELS", 600)
    assert images.decode_image(shared) is images.decode_image(shared)


def test_continued_edges_repeat_the_border_around_the_image() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    made = continue_edges(pixels, 2.0)
    assert made.shape == (4, 6, 3)
    np.testing.assert_array_equal(made[1:3, 1:4], pixels)
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[3], made[2])
    np.testing.assert_array_equal(made[:, 0], made[:, 1])
    np.testing.assert_array_equal(made[:, 4:], made[:, 3:4].repeat(2, axis=1))


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_nothing_is_added_to_what_stays_as_large_as_it_is(factor: float) -> None:
    pixels = np.asarray(half_red())
    np.testing.assert_array_equal(continue_edges(pixels, factor), pixels)


def test_a_continued_image_has_no_more_pixels_than_any_other() -> None:
    assert continue_edges(np.zeros((40, 60, 3), np.uint8), 2.0, max_pixels=3_000).shape == (40, 60, 3)
    assert continue_edges(np.zeros((1, 1, 3), np.uint8), 2.0, max_pixels=1).shape == (2, 2, 3), "it cannot be halved"


def test_a_continued_image_is_decoded_like_its_file_and_refused_like_it() -> None:
    content = encoded(half_red(), "PNG")
    np.testing.assert_array_equal(decode_image(ContinuedImage(content, 1.0)), decode_image(content))
    np.testing.assert_array_equal(
        decode_image(ContinuedImage(content, 1.5)), continue_edges(decode_image(content), 1.5)
    )
    for bad in (b"", b"no image", content[:40]):
        with pytest.raises(MediaError) as plain:
            decode_image(bad)
        with pytest.raises(MediaError) as continued:
            decode_image(ContinuedImage(bad, 1.2))
        assert str(continued.value) == str(plain.value)


def test_of_a_batch_images_alone_are_continued() -> None:
    batch = [b"image", None, "text"]
    assert continued(batch, 1.0) is batch
    made = continued(batch, 1.2)
    assert made == batch
    assert [type(one) for one in made] == [ContinuedImage, type(None), str]
