"""Text in images → words, by PP-OCR; see `ocr_networks`.

An image in which no line is found costs no more than that. The lines of several images are read together.

Shape legend: N lines, H and W pixels; a box has 4 corners of (x, y), clockwise from the text's upper left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
from rapidocr.utils.process_img import apply_vertical_padding, resize_image_within_bounds

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.errors import medium_missing
from mmrec_lib.encoders.image.config import OcrConfig
from mmrec_lib.encoders.image.ocr_networks import OcrNetworks, Pixels, cut_line, upright
from mmrec_lib.encoders.runtime.prefetch import map_ahead
from mmrec_lib.encoders.spec import EncoderInput, EncoderSpec, ExtractedText, Span
from mmrec_lib.errors import EncoderError
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.images import decode_image, open_image

# Longer images are made smaller, which bounds time and memory.
LONGEST_SIDE_PX = 2000

# In an image with a shorter side nothing can be read.
_SHORTEST_SIDE_PX = 8

# Smaller images are enlarged until their shorter side is as long before lines are looked for. With rapidocr's 736
# fewer words were read (182 of 199 on hard labels, against 195), in twice the time; with 384 a tenth of the words of
# film posters is lost. A look at a smaller image first, to skip those without text, does not pay: product photos have
# spots that look like text at any size, and small text is not seen.
_FINDER_SIDE_PX = 448

# Images whose lines are read together.
_GROUP_IMAGES = 16

# rapidocr reads boxes of this ratio of height to width as lines that run down.
_TALL_RATIO = 1.5

# So that enlarging the shorter side does not make the longer one huge.
_LARGEST_RATIO = LONGEST_SIDE_PX / _FINDER_SIDE_PX

# Wide and low images get margins above and below, as rapidocr does it.
_WIDEST_RATIO, _LOWEST_IMAGE_PX = 8, 30


@dataclass(frozen=True)
class _Page:
    """Lines that were found in one image.

    Attributes:
        boxes: `[N, 4, 2] float32` corners, clockwise from the image's upper left.
        lines: Pixels of each line.
    """

    boxes: npt.NDArray[np.float32]
    lines: list[Pixels]


class OcrExtractor:
    """Reads the text in images, given as the bytes of their files; see the `Extractor` protocol.

    Each line is a span; lines come in reading order (see `reading_order`) and are joined by line breaks. The confidence
    is the mean over the characters. An image without text has an empty one. It runs on the processor whatever the
    device of the other models is.

    Args:
        spec: Identity.
        config: Entry of the config.
        directory: None: the weights come with the package.
        models: How models are run.
    """

    def __init__(self, spec: EncoderSpec, config: OcrConfig, directory: None, models: ModelsConfig) -> None:
        self._spec, self._config, self._models = spec, config, models
        self._networks: OcrNetworks | None = None

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Loads the weights.

        Raises:
            EncoderError: When the installed package lacks them.
        """
        self._networks = OcrNetworks(self._spec.id, self._models.threads)

    def extract(self, batch: Sequence[EncoderInput]) -> list[ExtractedText]:
        """Text in images; what cannot be decoded is a row with an error."""
        if self._networks is None:
            raise EncoderError(f"Text in images `{self._spec.id}`: call load() before extract().")
        decoded = map_ahead(_decoded, batch, self._models.decode_threads, num_ahead=2 * self._models.decode_threads)
        found: list[ExtractedText] = []
        while group := list(islice(decoded, _GROUP_IMAGES)):
            pages = [image if isinstance(image, ExtractedText) else _page(image, self._networks) for image in group]
            texts = self._read(self._networks, [page for page in pages if isinstance(page, _Page)])
            found += [page if isinstance(page, ExtractedText) else next(texts) for page in pages]
        return found

    def _read(self, networks: OcrNetworks, pages: Sequence[_Page]) -> Iterator[ExtractedText]:
        """Texts of images whose lines were found, read together."""
        lines = [line for page in pages for line in page.lines]
        turned = networks.turned(lines)
        read = networks.read([upright(line, float(p)) for line, p in zip(lines, turned, strict=True)])
        start = 0
        for page in pages:
            end = start + len(page.lines)
            is_upside_down = _is_upside_down(turned[start:end])
            boxes_N42 = from_upper_left(page.boxes, is_upside_down)
            yield self._text(boxes_N42, read[start:end])
            start = end

    def _text(self, boxes_N42: npt.NDArray[np.float32], read: Sequence[tuple[str, float]]) -> ExtractedText:
        sure = [row for row, (text, score) in enumerate(read) if text.strip() and score >= self._config.min_confidence]
        if not sure:
            return ExtractedText("")
        spans = tuple(Span(*read[sure[row]]) for row in reading_order(boxes_N42[sure]))
        lengths = [len(span.text) for span in spans]
        confidence = float(np.average([span.confidence or 0.0 for span in spans], weights=lengths))
        return ExtractedText("\n".join(span.text for span in spans), None, confidence, spans)


def _decoded(content: EncoderInput) -> Pixels | ExtractedText:
    """An image in OpenCV's order of colours, which the networks were trained on, or why there is no text."""
    if not isinstance(content, bytes):
        return ExtractedText(None, error=medium_missing("image"))
    try:
        size = open_image(content).size
        wanted = round(min(size) * min(1.0, LONGEST_SIDE_PX / max(size)))
        image_HW3 = decode_image(content, short_side_px=max(wanted, 1))
    except MediaError as error:
        return ExtractedText(None, error=str(error))
    if min(image_HW3.shape[:2]) < _SHORTEST_SIDE_PX:
        return ExtractedText("")
    bounded, *_ = resize_image_within_bounds(_widened(image_HW3)[:, :, ::-1], _LOWEST_IMAGE_PX, LONGEST_SIDE_PX)
    padded, _ = apply_vertical_padding(bounded, {}, _WIDEST_RATIO, _LOWEST_IMAGE_PX)
    return np.ascontiguousarray(padded)


def _page(image_HW3: Pixels, networks: OcrNetworks) -> _Page:
    """Lines of an image."""
    boxes_N42 = networks.find(image_HW3, max(_FINDER_SIDE_PX, min(image_HW3.shape[:2])))
    return _Page(boxes_N42, [cut_line(image_HW3, box_42) for box_42 in boxes_N42])


def _is_upside_down(turned_N: npt.NDArray[np.float32]) -> bool:
    """Tell if most of the text in an image stands on its head, given how probable that is of each line."""
    return bool((turned_N - 0.5).sum() > 0)


def from_upper_left(boxes_N42: npt.NDArray[np.float32], is_upside_down: bool) -> npt.NDArray[np.float32]:
    """Boxes as the network finds them, with corners from the text's upper left instead of the image's.

    As rapidocr does it, a box that is tall stands for a line that runs down, or up where the text is upside down.

    Args:
        boxes_N42: `[N, 4, 2] float32` corners, clockwise from the image's upper left.
        is_upside_down: Whether lines were turned by half a turn before they could be read.
    """
    widths_N = np.linalg.norm(boxes_N42[:, 1] - boxes_N42[:, 0], axis=1)
    heights_N = np.linalg.norm(boxes_N42[:, 3] - boxes_N42[:, 0], axis=1)
    is_tall_N = heights_N >= _TALL_RATIO * np.maximum(widths_N, 1.0)
    turned_N42 = np.where(is_tall_N[:, None, None], np.roll(boxes_N42, -1, axis=1), boxes_N42)
    return np.roll(turned_N42, -2, axis=1) if is_upside_down else turned_N42


def reading_order(boxes_N42: npt.NDArray[np.float32]) -> list[int]:
    """Order in which lines of text are read: from top to bottom, and from left to right where they stand side by side.

    The image may be turned: what counts as top follows from the direction of the text. Columns are not told apart.

    Args:
        boxes_N42: `[N, 4, 2] float32` corners of the lines.
    """
    if not len(boxes_N42):
        return []
    edges_N2 = boxes_N42[:, 1] - boxes_N42[:, 0]
    # Long lines tell the direction better than short ones.
    along_x, along_y = edges_N2.sum(axis=0) / max(float(np.linalg.norm(edges_N2.sum(axis=0))), 1e-6)
    centres_N2 = boxes_N42.mean(axis=1)
    across_N = centres_N2[:, 0] * along_x + centres_N2[:, 1] * along_y
    down_N = centres_N2[:, 1] * along_x - centres_N2[:, 0] * along_y
    heights_N = np.linalg.norm(boxes_N42[:, 3] - boxes_N42[:, 0], axis=1)
    rows: list[list[int]] = []
    for index in np.argsort(down_N, kind="stable").tolist():
        first = rows[-1][0] if rows else None
        if first is not None and down_N[index] - down_N[first] < min(heights_N[index], heights_N[first]) / 2:
            rows[-1].append(index)
        else:
            rows.append([index])
    return [index for row in rows for index in sorted(row, key=lambda i: float(across_N[i]))]


def _widened(image_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A very tall image with a white margin on its right, a very wide one with one below."""
    height, width = image_HW3.shape[:2]
    below = max(0, int(width / _LARGEST_RATIO) - height)
    right = max(0, int(height / _LARGEST_RATIO) - width)
    return np.pad(image_HW3, ((0, below), (0, right), (0, 0)), constant_values=255)
