"""An adapted image encoder as an MLflow model, as code: MLflow runs this file instead of unpickling an object.

Input: a column `image`, the bytes of its file. Output: a column `vector`, a list of numbers, None where the bytes are
no image that can be decoded, and a column `error`, which says why.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array
from PIL import Image

from mmrec_lib.encoders.image.encoder import normalised
from mmrec_lib.encoders.image.networks import load_vision
from mmrec_lib.encoders.image.preprocessing import ImagePreprocessing
from mmrec_lib.encoders.weights.directory import require_safe
from mmrec_lib.errors import RecipeError
from mmrec_lib.media.errors import MediaError


def signature() -> ModelSignature:
    """Schema of what the served encoder takes and gives, for MLflow."""
    vector = ColSpec(Array(DataType.float), "vector", required=False)
    error = ColSpec(DataType.string, "error", required=False)
    return ModelSignature(inputs=Schema([ColSpec(DataType.binary, "image")]), outputs=Schema([vector, error]))


def example() -> pd.DataFrame:
    """A red image of a few pixels, shown beside the signature."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    return pd.DataFrame({"image": [file.getvalue()]})


class ImageModel(PythonModel):  # type: ignore[misc]  # mlflow is not followed by the type checker
    """Images in, vectors out; see the module."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the encoder from the artifact `model`."""
        directory = Path(context.artifacts["model"])
        require_safe(directory)
        self._preprocessing = ImagePreprocessing.from_directory(directory)
        self._network = load_vision(directory, torch.float32)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """The vector of each row's image.

        Raises:
            RecipeError: When there is no column image.
        """
        if "image" not in model_input:
            raise RecipeError(f"encoder input: needs a column image, got {list(model_input.columns)}")
        vectors, errors = list[list[float] | None](), list[str | None]()
        for content in model_input["image"]:
            if not isinstance(content, bytes | bytearray):
                vectors.append(None)
                errors.append(f"bytes of an image are needed, got {type(content).__name__}")
                continue
            try:
                pixels = self._preprocessing.fit(bytes(content))
            except MediaError as error:
                vectors.append(None)
                errors.append(str(error))
                continue
            with torch.inference_mode():
                x_1CHW = normalised(torch.from_numpy(pixels.copy()[None]), self._preprocessing)
                vectors.append(self._network(pixel_values=x_1CHW)[0].tolist())
            errors.append(None)
        return pd.DataFrame({"vector": vectors, "error": errors}, index=model_input.index, dtype=object)


set_model(ImageModel())
