"""Pictures small enough to travel inside a page."""

from __future__ import annotations

import base64
import hashlib
import io
import warnings

from PIL import Image, ImageOps

SIDE_PX = 168
_QUALITY = 76


class Thumbnails:
    """Makes `data:` addresses of pictures, each distinct picture once, until a budget of bytes is spent.

    Args:
        budget_bytes: Sum of the addresses' lengths; pictures after that are left out, so that a page stays light.
    """

    def __init__(self, budget_bytes: int) -> None:
        """Nothing is made yet; see the class for the budget."""
        self._left = budget_bytes
        self._made: dict[str, str | None] = {}

    def address(self, picture: bytes | None) -> str | None:
        """A `data:` address of a JPEG of at most SIDE_PX pixels a side; None where there is no picture to show."""
        if not picture:
            return None
        key = hashlib.sha256(picture).hexdigest()
        if key not in self._made:
            self._made[key] = _shrunk(picture)
        address = self._made[key]
        if address is None or len(address) > self._left:
            return None
        self._left -= len(address)
        return address


def _shrunk(picture: bytes) -> str | None:
    """JPEG address, or None where the bytes are no picture that can be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(picture)) as image:
                # JPEG decodes at a fraction of its size where that suffices.
                image.draft("RGB", (2 * SIDE_PX, 2 * SIDE_PX))
                upright = _on_white(ImageOps.exif_transpose(image))
                upright.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
                buffer = io.BytesIO()
                upright.save(buffer, "JPEG", quality=_QUALITY, optimize=True, progressive=True)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _on_white(image: Image.Image) -> Image.Image:
    """RGB; what was transparent becomes white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
        return ground.convert("RGB")
    return image.convert("RGB")
