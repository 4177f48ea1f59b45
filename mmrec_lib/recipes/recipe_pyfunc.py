"""A trained recipe as an MLflow model, as code: MLflow runs this file instead of unpickling an object.

Input, one row an example:

- `text`: the words; None counts as an empty text.
- `other` (optional): the second text of a pair.
- `image` (optional): of `text_image` the vector of the image encoder, of `from_nothing` the pixels from 0 to 255 as one
  list of 3 · px · px, colours first; None for none.

Output: `label` and `confidence` (empty of a tagger), `expected` (of rating levels their mean, else NaN), and `spans`, a
JSON list of the parts that a tagger found: start, end, label, confidence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType

from mmrec_lib.errors import RecipeError
from mmrec_lib.recipes.config import RecipeConfig
from mmrec_lib.recipes.examples import Example
from mmrec_lib.recipes.recipe import Prediction, load_recipe


def signature() -> ModelSignature:
    """Schema of what the served recipe takes and gives, for MLflow."""
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(DataType.string, "text"),
                ColSpec(DataType.string, "other", required=False),
                ColSpec(AnyType(), "image", required=False),
            ]
        ),
        outputs=Schema(
            [
                ColSpec(DataType.string, "label"),
                ColSpec(DataType.double, "confidence"),
                ColSpec(DataType.double, "expected"),
                ColSpec(DataType.string, "spans"),
            ]
        ),
    )


class ServedRecipe(PythonModel):  # type: ignore[misc]  # mlflow is not followed by the type checker
    """Examples in, predictions out; see the module."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the recipe from the artifact `model`."""
        self._model = load_recipe(Path(context.artifacts["model"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """The prediction of each row.

        Raises:
            RecipeError: When a column is missing, or an image is of another size than the recipe reads.
        """
        config = self._model.config
        needed = ["text", *(["other"] if config.kind == "pair" else [])]
        if missing := [name for name in needed if name not in model_input]:
            raise RecipeError(
                f"recipe input: needs the columns {', '.join(needed)}, got {', '.join(map(str, model_input.columns))} "
                f"(without {', '.join(missing)})"
            )
        others = model_input["other"] if config.kind == "pair" else [None] * len(model_input)
        images = model_input["image"] if config.needs_images and "image" in model_input else [None] * len(model_input)
        size = self._model.image_size
        examples = [
            Example(
                str(row), _text(text), None if config.kind != "pair" else _text(other), _image(row, one, config, size)
            )
            for row, (text, other, one) in enumerate(zip(model_input["text"], others, images, strict=True))
        ]
        return _frame(self._model.predict(examples), model_input.index)


def _frame(found: Iterable[Prediction], index: pd.Index) -> pd.DataFrame:
    rows = [
        {
            "label": one.label or "",
            "confidence": np.nan if one.confidence is None else one.confidence,
            "expected": np.nan if one.expected is None else one.expected,
            "spans": json.dumps(
                [
                    {"start": span.start, "end": span.end, "label": span.label, "confidence": confidence}
                    for span, confidence in one.spans
                ]
            ),
        }
        for one in found
    ]
    return pd.DataFrame(rows, index=index, columns=["label", "confidence", "expected", "spans"])


def _text(value: Any) -> str:
    return "" if _is_missing(value) else str(value)


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))


def _image(row: int, value: Any, config: RecipeConfig, size: int) -> npt.NDArray[Any] | None:
    if _is_missing(value):
        return None
    numbers = np.asarray(value, np.float32).reshape(-1)
    if len(numbers) != size:
        raise RecipeError(f"recipe input, row {row}: an image of {size} numbers is needed, got {len(numbers)}")
    if config.kind == "text_image":
        return numbers
    return numbers.round().clip(0, 255).astype(np.uint8).reshape(3, config.image_px, config.image_px)


set_model(ServedRecipe())
