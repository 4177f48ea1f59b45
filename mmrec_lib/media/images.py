"""Pictures: bytes → RGB arrays."""

from __future__ import annotations

import io
import struct

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from mmrec_lib.media.errors import MediaError

MAX_PIXELS = 50_000_000

# Formats with a decoder that is tried and tested; anything else Pillow knows (PSD, EPS, FITS, …) is refused.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")

_16_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")


def open_image(content: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Reads the header of a picture, without decoding it.

    Args:
        content: Bytes of the picture.
        max_pixels: Most pixels that will be decoded; a small file can claim gigapixels.

    Raises:
        MediaError: When the bytes are empty, no picture of a known format, or claim too many pixels.
    """
    if not content:
        raise MediaError("media_empty", "the picture has 0 bytes")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError("media_oversized", f"more than {max_pixels:,} pixels: {error}") from None
    except UnidentifiedImageError:
        if content.startswith(_MAGIC) or content[8:12] == b"WEBP":
            raise MediaError("media_truncated", "the picture's header is truncated or damaged") from None
        raise MediaError("media_wrong_type", f"no picture of a known format ({', '.join(FORMATS)})") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, TypeError, KeyError, IndexError) as error:
        raise MediaError("media_truncated", f"the picture's header is damaged: {error}") from None
    width, height = image.size
    if width * height > max_pixels:
        raise MediaError("media_oversized", f"{width} x {height} pixels, at most {max_pixels:,} are allowed")
    if width < 1 or height < 1:
        raise MediaError("media_truncated", f"{width} x {height} pixels, at least 1 x 1 is needed")
    return image


def decode_image(
    content: bytes, *, max_pixels: int = MAX_PIXELS, short_side_px: int | None = None
) -> npt.NDArray[np.uint8]:
    """Decodes a picture, upright, in three colours.

    The camera's rotation (EXIF) is applied, transparency is laid over white, palettes, grey, CMYK and 16-bit pictures
    become RGB with 8 bits, and of an animation the first frame counts.

    Args:
        content: Bytes of the picture.
        max_pixels: Most pixels that will be decoded.
        short_side_px: When given, a JPEG may be decoded at a half, a quarter or an eighth of its size as long as its
            shorter side keeps at least this length. Faster for large photos.

    Returns:
        `[height, width, 3] uint8`.

    Raises:
        MediaError: When the bytes are no picture, are damaged, or too large.
    """
    image = open_image(content, max_pixels)
    try:
        if short_side_px is not None:
            scale = short_side_px / min(image.size)
            image.draft("RGB", (round(image.width * scale), round(image.height * scale)))
        image.load()
        return np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
    except MediaError:
        raise
    except Exception as error:
        # A decoder may fail on hostile bytes with anything; a bad picture is a row with an error, never a crash.
        raise MediaError("media_truncated", f"the picture is truncated or damaged: {error}") from None


def check_image(content: bytes, max_pixels: int = MAX_PIXELS) -> tuple[str, int, int]:
    """Decodes a picture only to know that it can be decoded.

    Returns:
        MIME type, width and height in pixels, as a viewer would show it (EXIF rotation applied).

    Raises:
        MediaError: As `decode_image`.
    """
    image = open_image(content, max_pixels)
    mime, (width, height) = Image.MIME[image.format or ""], image.size
    try:
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        # All of a JPEG's data is read at an eighth of its size too, at a fraction of the time.
        image.draft("L", (1, 1))
        image.load()
    except Exception as error:
        # As in decode_image: whatever a decoder raises means that the picture is damaged.
        raise MediaError("media_truncated", f"the picture is truncated or damaged: {error}") from None
    return (mime, height, width) if turned else (mime, width, height)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _16_BIT_MODES or image.mode == "I":
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    elif image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        span = float(np.ptp(values)) or 1.0
        image = Image.fromarray(((values - values.min()) / span * 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
