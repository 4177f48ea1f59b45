"""Reading text as it was before OpenVINO: rapidocr with ONNX Runtime, image by image. The reference of `ocr`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rapidocr

from mmrec_lib.encoders.config import EncoderConfig, ModelsConfig
from mmrec_lib.encoders.errors import medium_missing
from mmrec_lib.encoders.image.ocr import from_upper_left, reading_order
from mmrec_lib.encoders.spec import EncoderInput, EncoderSpec, ExtractedText, Span
from mmrec_lib.errors import EncoderError
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.images import decode_image, open_image

# Longer images are made smaller, which bounds time and memory.
LONGEST_SIDE_PX = 2000

# In an image with a shorter side nothing can be read.
_SHORTEST_SIDE_PX = 8

# Smaller images are enlarged until their shorter side is as long before lines are looked for. With rapidocr's 736
# fewer words were read (182 of 199 on hard labels, against 195), in twice the time.
_FINDER_SHORT_SIDE_PX = 448

# So that enlarging the shorter side does not make the longer one huge.
_LARGEST_RATIO = LONGEST_SIDE_PX / _FINDER_SHORT_SIDE_PX

# Named, because rapidocr would fetch by itself what it does not find under its own names.
_WEIGHTS = {
    "Det.model_path": "PP-OCRv6_det_small.onnx",
    "Cls.model_path": "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "Rec.model_path": "PP-OCRv6_rec_small.onnx",
}


class _Engine(rapidocr.RapidOCR):
    """rapidocr, which turns lines that stand on their head before it reads them and tells nobody.

    Attributes:
        labels: Of each line found in the last image, `0` or `180` and how probable that is.
    """

    labels: Sequence[tuple[str, float]] = ()

    def cls_and_rotate(self, img: Any) -> Any:
        """As in rapidocr."""
        images, result = super().cls_and_rotate(img)
        self.labels = result.cls_res or ()
        return images, result

    @property
    def is_upside_down(self) -> bool:
        """Tell if most of the text in the last image stands on its head."""
        return sum((1 if label == "180" else -1) * (score - 0.5) for label, score in self.labels) > 0


class ReferenceExtractor:
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

    def __init__(self, spec: EncoderSpec, config: EncoderConfig, directory: None, models: ModelsConfig) -> None:
        self._spec, self._config, self._threads = spec, config, models.threads
        self._engine: _Engine | None = None

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Loads the weights.

        Raises:
            EncoderError: When the installed package lacks them.
        """
        folder = Path(rapidocr.__file__).parent / "models"
        missing = [name for name in _WEIGHTS.values() if not (folder / name).is_file()]
        if missing:
            raise EncoderError(
                f"Text in images `{self._spec.id}`: the package rapidocr must bring its weights, it lacks "
                f"{', '.join(missing)}. Install the version of requirements.lock."
            )
        cv2.setNumThreads(self._threads)
        settings = {
            "Global.log_level": "critical",
            "Global.text_score": self._config.min_confidence,
            "Global.max_side_len": LONGEST_SIDE_PX,
            "Det.limit_side_len": _FINDER_SHORT_SIDE_PX,
            "EngineConfig.onnxruntime.intra_op_num_threads": self._threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
        weights = {key: str(folder / name) for key, name in _WEIGHTS.items()}
        self._engine = _Engine(params={**settings, **weights})

    def extract(self, batch: Sequence[EncoderInput]) -> list[ExtractedText]:
        """Text in images; what cannot be decoded is a row with an error."""
        if self._engine is None:
            raise EncoderError(f"Text in images `{self._spec.id}`: call load() before extract().")
        return [self._read(self._engine, content) for content in batch]

    def _read(self, engine: _Engine, content: EncoderInput) -> ExtractedText:
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
        # The networks were trained on OpenCV's order of colours.
        engine.labels = ()
        found: Any = engine(_widened(image_HW3)[:, :, ::-1])
        if found.boxes is None:
            return ExtractedText("")
        order = reading_order(from_upper_left(np.asarray(found.boxes, np.float32), engine.is_upside_down))
        spans = tuple(Span(str(found.txts[line]), float(found.scores[line])) for line in order)
        lengths = [len(span.text) for span in spans]
        confidence = float(np.average([span.confidence or 0.0 for span in spans], weights=lengths))
        return ExtractedText("\n".join(span.text for span in spans), None, confidence, spans)


def _widened(image_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A very tall image with a white margin on its right, a very wide one with one below."""
    height, width = image_HW3.shape[:2]
    below = max(0, int(width / _LARGEST_RATIO) - height)
    right = max(0, int(height / _LARGEST_RATIO) - width)
    return np.pad(image_HW3, ((0, below), (0, right), (0, 0)), constant_values=255)
