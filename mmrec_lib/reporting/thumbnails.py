"""Images small enough to travel inside a page."""

from __future__ import annotations

import base64
import hashlib
import io
import logging

from PIL import Image

from mmrec_lib.errors import MachineError
from mmrec_lib.media.child import DecoderChild
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.images import shrink_image

SIDE_PX = 168
_QUALITY = 76
_log = logging.getLogger(__name__)


class Thumbnails:
    """Makes `data:` addresses of images, each distinct image once, until a budget of bytes is spent.

    An image that cannot be decoded within the limits of a decoder costs its own place on the page and nothing else.

    Args:
        budget_bytes: Sum of the addresses' lengths; images after that are left out, so that a page stays light.
        decoder: Decodes images in a process of its own.
    """

    def __init__(self, budget_bytes: int, decoder: DecoderChild) -> None:
        """Nothing is made yet; see the class for the arguments."""
        self._budget, self._left, self._decoder = budget_bytes, budget_bytes, decoder
        self._made: dict[str, str | None] = {}

    def begin_page(self) -> None:
        """Give the next page the whole budget; images that were made for an earlier one are not decoded again."""
        self._left = self._budget

    def address(self, image: bytes | None) -> str | None:
        """A `data:` address of a JPEG of at most SIDE_PX pixels a side; None where there is no image to show."""
        if not image:
            return None
        key = hashlib.sha256(image).hexdigest()
        if key not in self._made:
            self._made[key] = self._shrunk(image)
        address = self._made[key]
        if address is None or len(address) > self._left:
            return None
        self._left -= len(address)
        return address

    def _shrunk(self, image: bytes) -> str | None:
        """JPEG address, or None where the bytes are no image that can be decoded."""
        try:
            pixels = self._decoder.call(shrink_image, image, SIDE_PX)
        except MediaError:
            return None
        except MachineError as error:
            # A page without images is of more use than none.
            _log.warning("an image is left out of the report: %s", error)
            return None
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=_QUALITY, optimize=True, progressive=True)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
