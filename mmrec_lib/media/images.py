"""Images: bytes → RGB arrays."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, UnidentifiedImageError

from mmrec_lib.media.errors import MediaError

MAX_PIXELS = 50_000_000

# Formats with a decoder that is tried and tested; anything else Pillow knows (PSD, EPS, FITS, …) is refused.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")

_16_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")

_ORIENTATION_TAG = 0x0112
# What makes an image upright, by the EXIF tag Orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# Larger images are not kept: a worker holds several, and decoding them for each model costs less than their memory.
_KEPT_PIXELS = 4_000_000


class DecodeOnce(bytes):
    """The bytes of an image, of which `decode_image` keeps the pixels, so that several models share one decoding.

    Each size at which it is decoded is kept, because a model's input is to be the same whoever else looks at the image.
    Keep one only as long as models look at it. For use in one thread at a time.
    """

    def kept(self, size: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
        """Pixels decoded at a size (width and height in the file), or None."""
        pixels: dict[tuple[int, int], npt.NDArray[np.uint8]] = self.__dict__.get("_pixels", {})
        return pixels.get(size)

    def keep(self, size: tuple[int, int], pixels: npt.NDArray[np.uint8]) -> None:
        """Keep what was decoded at a size, unless it is large."""
        if size[0] * size[1] <= _KEPT_PIXELS:
            pixels.flags.writeable = False
            self.__dict__.setdefault("_pixels", {})[size] = pixels


class ContinuedImage(bytes):
    """The bytes of an image that `decode_image` gives larger, with its edges continued; see `continue_edges`.

    Models read it as any other image, without knowing of it.

    Attributes:
        factor: What width and height are multiplied with, at least 1.
    """

    factor: float

    def __new__(cls, content: bytes, factor: float) -> ContinuedImage:
        """The image of a file."""
        made = super().__new__(cls, content)
        made.factor = factor
        return made


def continued(contents: Sequence[str | bytes | None], factor: float) -> Sequence[str | bytes | None]:
    """The same contents of a batch, with each image among them as a `ContinuedImage`; a factor of 1 changes none."""
    if factor == 1:
        return contents
    return [ContinuedImage(content, factor) if isinstance(content, bytes) else content for content in contents]


def open_image(content: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Reads the header of an image, without decoding it.

    Args:
        content: Bytes of the image.
        max_pixels: Most pixels that will be decoded; a small file can claim gigapixels.

    Raises:
        MediaError: When the bytes are empty, no image of a known format, damaged, or claim too many pixels.
    """
    if not content:
        raise MediaError("media_empty", "the image has 0 bytes")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError("media_oversized", f"more than {max_pixels:,} pixels: {error}") from None
    except UnidentifiedImageError:
        if content.startswith(_MAGIC) or content[8:12] == b"WEBP":
            raise MediaError("media_truncated", "the image's header is truncated or damaged") from None
        raise MediaError("media_wrong_type", f"no image of a known format ({', '.join(FORMATS)})") from None
    except Exception as error:
        # A parser may fail on hostile bytes with anything; a bad image is a row with an error, never a crash.
        raise _damage(error, "header") from None
    width, height = image.size
    if width * height > max_pixels:
        raise MediaError("media_oversized", f"{width} x {height} pixels, at most {max_pixels:,} are allowed")
    if width < 1 or height < 1:
        raise MediaError("media_truncated", f"{width} x {height} pixels, at least 1 x 1 is needed")
    return image


def decode_image(
    content: bytes, *, max_pixels: int = MAX_PIXELS, short_side_px: int | None = None
) -> npt.NDArray[np.uint8]:
    """Decodes an image, upright, in three colours.

    The camera's rotation (EXIF) is applied, transparency is laid over white, palettes, grey, CMYK and 16-bit images
    become RGB with 8 bits, and of an animation the first frame counts.

    Args:
        content: Bytes of the image.
        max_pixels: Most pixels that will be decoded.
        short_side_px: When given, a JPEG may be decoded at a half, a quarter or an eighth of its size as long as its
            shorter side keeps at least this length. Faster for large photos.

    Returns:
        `[height, width, 3] uint8`.

    Raises:
        MediaError: When the bytes are no image, are damaged, or too large.
    """
    pixels = _decoded(content, max_pixels, short_side_px)
    return continue_edges(pixels, content.factor, max_pixels) if isinstance(content, ContinuedImage) else pixels


def _decoded(content: bytes, max_pixels: int, short_side_px: int | None) -> npt.NDArray[np.uint8]:
    image = open_image(content, max_pixels)
    try:
        if short_side_px is not None:
            scale = short_side_px / min(image.size)
            image.draft("RGB", (round(image.width * scale), round(image.height * scale)))
        size = image.size
        if isinstance(content, DecodeOnce) and (kept := content.kept(size)) is not None:
            return kept
        pixels = _upright_pixels(image)
        if isinstance(content, DecodeOnce):
            content.keep(size, pixels)
        return pixels
    except Exception as error:
        # As in open_image.
        raise _damage(error) from None


def continue_edges(pixels: npt.NDArray[np.uint8], factor: float, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """The same image in the middle of a larger one, into which the pixels at its edges are repeated.

    A model that looks at the middle of an image sees the border then, too, which else it cuts off.

    Args:
        pixels: `[height, width, 3] uint8`.
        factor: What height and width are multiplied with, at least 1.
        max_pixels: Most pixels of the result: an image that would have more is halved first, as often as it takes.

    Returns:
        `[height * factor, width * factor, 3] uint8`, rounded.
    """
    while round(pixels.shape[0] * factor) * round(pixels.shape[1] * factor) > max_pixels and pixels.size > 3:
        pixels = np.asarray(Image.fromarray(pixels).reduce(2))
    more = [round(side * factor) - side for side in pixels.shape[:2]]
    margins = [(pixels_more // 2, pixels_more - pixels_more // 2) for pixels_more in more]
    return np.pad(pixels, (*margins, (0, 0)), mode="edge")


def shrink_image(content: bytes, side_px: int, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Decodes an image as `decode_image` does and makes it small enough to be looked at.

    Args:
        content: Bytes of the image.
        side_px: Most pixels of its longer side; a smaller image stays as it is.
        max_pixels: Most pixels that will be decoded.

    Returns:
        `[height, width, 3] uint8`.

    Raises:
        MediaError: As `decode_image`.
    """
    image = Image.fromarray(decode_image(content, max_pixels=max_pixels, short_side_px=2 * side_px))
    try:
        image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
        return np.asarray(image)
    except Exception as error:
        # As in open_image.
        raise _damage(error) from None


def check_image(content: bytes, max_pixels: int = MAX_PIXELS) -> tuple[str, int, int]:
    """Decodes an image only to know that it can be decoded.

    Returns:
        MIME type, width and height in pixels, as a viewer would show it (EXIF rotation applied).

    Raises:
        MediaError: As `decode_image`.
    """
    image = open_image(content, max_pixels)
    mime, (width, height) = Image.MIME[image.format or ""], image.size
    try:
        # All of a JPEG's data is read at an eighth of its size too, at a fraction of the time.
        image.draft("L", (1, 1))
        image.load()
        turned = _orientation(image) in (5, 6, 7, 8)
    except Exception as error:
        # As in open_image.
        raise _damage(error) from None
    return (mime, height, width) if turned else (mime, width, height)


def _upright_pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    image.load()
    method = _UPRIGHT.get(_orientation(image))
    image = _to_rgb(image)
    return np.asarray(image if method is None else image.transpose(method))


def _damage(error: Exception, part: str = "image") -> MediaError:
    """The error of an image whose decoder failed."""
    subject = "the image" if part == "image" else f"the image's {part}"
    if isinstance(error, MemoryError):
        return MediaError("media_oversized", f"{subject} needs more memory than there is")
    if "MAX_TEXT" in str(error):
        # Pillow's bounds on what a PNG packs beside its pixels: texts and colour profiles.
        return MediaError("media_oversized", f"{subject} holds texts or a profile that unpack to too much: {error}")
    return MediaError("media_truncated", f"{subject} is truncated or damaged: {error}")


def _orientation(image: Image.Image) -> int:
    """The EXIF tag Orientation, 1 where there is none or the camera's data are damaged: the pixels are not."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
        # Pillow takes every CMYK JPEG as inverted, which only Adobe's are.
        image = ImageChops.invert(image)
    if image.mode in _16_BIT_MODES or image.mode == "I":
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    elif image.mode == "F":
        with np.errstate(invalid="ignore"):  # of numbers that signal that they are none
            values = np.asarray(image, np.float64)
        image = Image.fromarray(_as_grey(values))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _as_grey(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Numbers of any range as grey levels, the least black and the greatest white; what is not finite is black."""
    finite = values[np.isfinite(values)]
    least, span = (float(finite.min()), float(np.ptp(finite))) if finite.size else (0.0, 0.0)
    levels = (values - least) / (span or 1.0) * 255
    return np.nan_to_num(levels, nan=0.0, posinf=0.0, neginf=0.0).astype(np.uint8)
