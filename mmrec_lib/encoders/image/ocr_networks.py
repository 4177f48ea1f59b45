"""The three networks of PP-OCR (Du et al., 2020), whose weights come with the package rapidocr, run by OpenVINO.

One finds lines of text, one tells lines that stand on their head, one reads lines. OpenVINO computes the first in about
a quarter of ONNX Runtime's time on a processor, with the same output, and the last in the same time.

Shape legend: N lines, C colours, H and W pixels, T positions along a line; a box has 4 corners of (x, y), clockwise
from the image's upper left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import openvino
import rapidocr
from openvino import opset13 as ops
from rapidocr.ch_ppocr_det.utils import DBPostProcess
from rapidocr.utils.process_img import get_rotate_crop_image

from mmrec_lib.errors import EncoderError

Pixels = npt.NDArray[np.uint8]

# Named, because rapidocr would fetch by itself what it does not find under its own names.
_FINDER = "PP-OCRv6_det_small.onnx"
_TURNER = "ch_ppocr_mobile_v2.0_cls_mobile.onnx"
_READER = "PP-OCRv6_rec_small.onnx"

# As rapidocr sets them.
_TEXT_PROBABILITY, _LINE_PROBABILITY, _LINE_GROWTH = 0.3, 0.5, 1.6
_TURNED_PROBABILITY = 0.9
_LINE_HEIGHT_PX, _TURNER_WIDTH_PX = 48, 192

# The finder halves its input five times.
_FINDER_STEP_PX = 32

# Images of a size after which a finder is compiled for it, and pixels of all such sizes: four small ones, 150 MB.
_OFTEN = 16
_COMPILED_PIXELS = 4 * 448 * 672

# A line is read with at least this margin on its right, as wide as lines with which it is read together: without one
# the last character is often lost. Each width costs a little once, when it is seen first.
_LINE_MARGIN_PX, _WIDTH_STEP_PX = 24, 32
_BATCH_LINES = 4


class OcrNetworks:
    """The networks, loaded.

    Args:
        encoder_id: Name of the model, for messages.
        threads: Threads to compute with.

    Raises:
        EncoderError: When the installed package lacks the weights.
    """

    def __init__(self, encoder_id: str, threads: int) -> None:
        folder = Path(rapidocr.__file__).parent / "models"
        missing = [name for name in (_FINDER, _TURNER, _READER) if not (folder / name).is_file()]
        if missing:
            raise EncoderError(
                f"Text in images `{encoder_id}`: the package rapidocr must bring its weights, it lacks "
                f"{', '.join(missing)}. Install the version of requirements.lock."
            )
        cv2.setNumThreads(threads)
        core = openvino.Core()
        reader = core.read_model(folder / _READER)
        self._characters = _characters(reader, encoder_id)
        self._finder = _Finder(core, folder / _FINDER, threads)
        self._turner = _request(core, core.read_model(folder / _TURNER), threads)
        self._reader = _request(core, _with_best_characters(reader), threads)
        self._boxes = DBPostProcess(_TEXT_PROBABILITY, _LINE_PROBABILITY, unclip_ratio=_LINE_GROWTH, use_dilation=True)

    def find(self, image_HW3: Pixels, short_side_px: int) -> npt.NDArray[np.float32]:
        """Find lines of text.

        Args:
            image_HW3: `[H, W, 3] uint8`, in OpenCV's order of colours.
            short_side_px: Length that the finder sees of the image's shorter side, to a multiple of 32.

        Returns:
            `[N, 4, 2] float32` corners in pixels of the image.
        """
        height, width = image_HW3.shape[:2]
        scale = short_side_px / min(height, width)
        seen = [max(1, round(side * scale / _FINDER_STEP_PX)) * _FINDER_STEP_PX for side in (width, height)]
        x_1CHW = _scaled(cv2.resize(image_HW3, seen))[None]
        probabilities_11HW = self._finder.infer(x_1CHW)
        boxes, _ = self._boxes(probabilities_11HW, (height, width))
        return np.asarray(boxes, np.float32).reshape(-1, 4, 2)

    def turned(self, lines: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        """Probability that each line stands on its head: `[N] float32`."""
        found_N = np.zeros(len(lines), np.float32)
        for start in range(0, len(lines), _BATCH_LINES):
            group = lines[start : start + _BATCH_LINES]
            x_NCHW = np.zeros((len(group), 3, _LINE_HEIGHT_PX, _TURNER_WIDTH_PX), np.float32)
            for row, line in enumerate(group):
                _place(line, x_NCHW[row])
            found_N[start : start + len(group)] = self._turner.infer([x_NCHW], share_inputs=True)[0][:, 1]
        return found_N

    def read(self, lines: Sequence[Pixels]) -> list[tuple[str, float]]:
        """The characters of lines, and the mean of their probabilities.

        A line is padded to a width that follows from itself alone, and read together with lines of that width: what is
        read does not depend on the other lines.
        """
        found: list[tuple[str, float]] = [("", 0.0)] * len(lines)
        for width, rows in _by_width(lines):
            x_NCHW = np.zeros((len(rows), 3, _LINE_HEIGHT_PX, width), np.float32)
            for place, row in enumerate(rows):
                _place(lines[row], x_NCHW[place])
            best = self._reader.infer([x_NCHW], share_inputs=True)
            for row, probabilities_T, classes_T in zip(rows, best[0], best[1], strict=True):
                found[row] = self._decoded(probabilities_T.reshape(-1), classes_T.reshape(-1))
        return found

    def _decoded(self, probabilities_T: npt.NDArray[np.float32], classes_T: npt.NDArray[np.int32]) -> tuple[str, float]:
        """Characters by CTC (Graves et al., 2006): repetitions count once, class 0 separates."""
        is_new_T = np.diff(classes_T, prepend=-1) != 0
        chosen = np.flatnonzero(is_new_T & (classes_T != 0))
        if not len(chosen):
            return "", 0.0
        text = "".join(self._characters[number] for number in classes_T[chosen].tolist())
        return text, float(probabilities_T[chosen].mean(dtype=np.float64))


class _Finder:
    """The network that finds lines, compiled for images of any size, and once more for each size that comes often.

    OpenVINO fuses more operations of a network that knows its size: an image takes a tenth less time, the same boxes
    are found, and compiling takes as long as two images.
    """

    def __init__(self, core: Any, file: Path, threads: int) -> None:
        self._core, self._file, self._threads = core, file, threads
        self._of_any_size = _request(core, core.read_model(file), threads)
        self._of_size: dict[tuple[int, ...], Any] = {}
        self._num_seen = Counter[tuple[int, ...]]()

    def infer(self, x_1CHW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Probability that a pixel is text, `[1, 1, H, W]`; valid until the next call."""
        shape = x_1CHW.shape
        self._num_seen[shape] += 1
        if self._num_seen[shape] == _OFTEN and self._has_room(shape):
            network = self._core.read_model(self._file)
            network.reshape(list(shape))
            self._of_size[shape] = _request(self._core, network, self._threads)
        request = self._of_size.get(shape, self._of_any_size)
        probabilities_11HW: npt.NDArray[np.float32] = request.infer([x_1CHW], share_inputs=True)[0]
        return probabilities_11HW

    def _has_room(self, shape: tuple[int, ...]) -> bool:
        return sum(height * width for *_, height, width in (*self._of_size, shape)) <= _COMPILED_PIXELS


def cut_line(image_HW3: Pixels, box_42: npt.NDArray[np.float32]) -> Pixels:
    """The part of an image in a box, as high as the networks want it; a tall box is a line that runs down."""
    line = get_rotate_crop_image(image_HW3, box_42.copy())
    width = max(1, -(-_LINE_HEIGHT_PX * line.shape[1] // line.shape[0]))
    return cv2.resize(np.ascontiguousarray(line), (width, _LINE_HEIGHT_PX)).astype(np.uint8, copy=False)


def upright(line: Pixels, turned_probability: float) -> Pixels:
    """A line, turned by half a turn where it stands on its head for sure."""
    return np.ascontiguousarray(line[::-1, ::-1]) if turned_probability > _TURNED_PROBABILITY else line


def _by_width(lines: Sequence[Pixels]) -> Iterator[tuple[int, list[int]]]:
    by_width: dict[int, list[int]] = {}
    for row, line in enumerate(lines):
        width = max(2, -(-(line.shape[1] + _LINE_MARGIN_PX) // _WIDTH_STEP_PX)) * _WIDTH_STEP_PX
        by_width.setdefault(width, []).append(row)
    for width, rows in sorted(by_width.items()):
        for start in range(0, len(rows), _BATCH_LINES):
            yield width, rows[start : start + _BATCH_LINES]


def _place(line: Pixels, into_CHW: npt.NDArray[np.float32]) -> None:
    """Writes a line to the left of an array, squeezed where it is too long."""
    width = min(line.shape[1], into_CHW.shape[2])
    fitted = line if width == line.shape[1] else cv2.resize(line, (width, _LINE_HEIGHT_PX))
    into_CHW[:, :, :width] = _scaled(fitted)


def _scaled(image_HW3: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Colours from -1 to 1, `[3, H, W] float32`."""
    scaled: npt.NDArray[np.float32] = image_HW3.transpose(2, 0, 1).astype(np.float32, order="C")
    scaled *= np.float32(2 / 255)
    scaled -= np.float32(1)
    return scaled


def _characters(reader: Any, encoder_id: str) -> list[str]:
    """Characters by the number of their class; 0 separates, the last one is a space."""
    try:
        written = str(reader.get_rt_info(["framework", "character"]).astype(str))
    except RuntimeError:
        raise EncoderError(
            f"Text in images `{encoder_id}`: the reader's file must hold its characters, there are none in {_READER}. "
            "Install the version of requirements.lock."
        ) from None
    characters = ["", *written.splitlines(), " "]
    num_classes = reader.output(0).partial_shape[2].get_length()
    if len(characters) != num_classes:
        raise EncoderError(
            f"Text in images `{encoder_id}`: a character for each of {num_classes} classes is needed, "
            f"got {len(characters)}. Install the version of requirements.lock."
        )
    return characters


def _with_best_characters(reader: Any) -> Any:
    """The reader, which gives the most probable class of each position instead of the probabilities of 18,710."""
    probabilities_NTC = reader.get_results()[0].input_value(0)
    best = ops.topk(probabilities_NTC, ops.constant(1, np.int32), 2, "max", "none", index_element_type="i32")
    return openvino.Model([best.output(0), best.output(1)], reader.get_parameters(), "reader")


def _request(core: Any, network: Any, threads: int) -> Any:
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        # As in `backend`: two workers must not be bound to the same core.
        "ENABLE_CPU_PINNING": False,
    }
    return core.compile_model(network, "CPU", settings).create_infer_request()
