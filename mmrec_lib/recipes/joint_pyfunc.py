"""An adapted joint encoder as an MLflow model, as code: MLflow runs this file instead of unpickling an object.

Input: a column `text`, a column `image` (the bytes of a file), or both. Output: columns `text_vector` and
`image_vector`, lists of numbers in one space, of length 1; None where a row has none, or one that cannot be read, for
which a column `error` says why.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array
from torch import Tensor, nn

from mmrec_lib.encoders.errors import TEXT_UNKNOWN
from mmrec_lib.encoders.image.encoder import normalised
from mmrec_lib.encoders.image.networks import load_towers
from mmrec_lib.encoders.image.preprocessing import ImagePreprocessing
from mmrec_lib.encoders.text.refusal import refusal
from mmrec_lib.encoders.weights.directory import require_safe
from mmrec_lib.encoders.weights.loading import load_tokenizer
from mmrec_lib.errors import RecipeError
from mmrec_lib.media.errors import MediaError
from mmrec_lib.recipes.image_pyfunc import example as image_example
from mmrec_lib.recipes.tower_texts import TowerTokens


def signature() -> ModelSignature:
    """Schema of what the served encoder takes and gives, for MLflow."""
    inputs = [ColSpec(DataType.string, "text", required=False), ColSpec(DataType.binary, "image", required=False)]
    made = [ColSpec(Array(DataType.float), f"{name}_vector", required=False) for name in ("text", "image")]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([*made, ColSpec(DataType.string, "error", False)]))


def example() -> pd.DataFrame:
    """A text and a red image of a few pixels, shown beside the signature."""
    return pd.DataFrame({"text": ["a red shoe"], "image": image_example()["image"]})


class JointModel(PythonModel):  # type: ignore[misc]  # mlflow is not followed by the type checker
    """Texts and images in, vectors out; see the module."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the encoder from the artifact `model`."""
        directory = Path(context.artifacts["model"])
        require_safe(directory)
        self._preprocessing = ImagePreprocessing.from_directory(directory)
        self._towers = load_towers(directory, torch.float32)
        self._tokens = TowerTokens(load_tokenizer(directory), self._towers, "cpu")

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """The vectors of each row's text and image.

        Raises:
            RecipeError: When there is neither a column text nor a column image.
        """
        columns = [name for name in ("text", "image") if name in model_input]
        if not columns:
            raise RecipeError(f"encoder input: needs a column text or image, got {list(model_input.columns)}")
        found: dict[str, list[Any]] = {"text_vector": [], "image_vector": [], "error": []}
        with torch.inference_mode():
            for _, row in model_input.iterrows():
                told = list[str]()
                for name, encode in (("text", self._of_text), ("image", self._of_image)):
                    content = row.get(name)
                    vector = None if _is_missing(content) else encode(content)
                    if isinstance(vector, str):
                        told.append(f"{name}: {vector}")
                    found[f"{name}_vector"].append(_listed(vector))
                found["error"].append("; ".join(told) or None)
        return pd.DataFrame(found, index=model_input.index, dtype=object)

    def _of_text(self, text: Any) -> Tensor | str:
        told = refusal(text)
        (ids,) = self._tokens.of([text])
        if told is not None or ids is None:
            return told or TEXT_UNKNOWN
        return self._tokens.vectors(self._towers.texts, [ids])

    def _of_image(self, content: Any) -> Tensor | str:
        if not isinstance(content, bytes | bytearray):
            return f"bytes of an image are needed, got {type(content).__name__}"
        try:
            pixels = self._preprocessing.fit(bytes(content))
        except MediaError as error:
            return str(error)
        vectors_1D: Tensor = self._towers.images(
            pixel_values=normalised(torch.from_numpy(pixels.copy()[None]), self._preprocessing)
        )
        return vectors_1D


def _is_missing(content: Any) -> bool:
    return content is None or content is pd.NA or (isinstance(content, float) and math.isnan(content))


def _listed(vector: Tensor | str | None) -> list[float] | None:
    if not isinstance(vector, Tensor):
        return None
    numbers: list[float] = nn.functional.normalize(vector, dim=1)[0].tolist()
    return numbers


set_model(JointModel())
