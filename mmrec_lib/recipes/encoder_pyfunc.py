"""An adapted encoder as an MLflow model, as code: MLflow runs this file instead of unpickling an object.

Input: a column `text`; None counts as an empty text. Output: a column `vector`, a list of numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array

from mmrec_lib.errors import RecipeError
from mmrec_lib.recipes.text_vectors import TextVectors


def signature() -> ModelSignature:
    """Schema of what the served encoder takes and gives, for MLflow."""
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "text")]), outputs=Schema([ColSpec(Array(DataType.float), "vector")])
    )


class EncoderModel(PythonModel):  # type: ignore[misc]  # mlflow is not followed by the type checker
    """Texts in, vectors out; see the module."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the encoder from the artifact `model`."""
        self._encoder = TextVectors(Path(context.artifacts["model"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """The vector of each row's text.

        Raises:
            RecipeError: When there is no column text.
        """
        if "text" not in model_input:
            raise RecipeError(f"encoder input: needs a column text, got {list(model_input.columns)}")
        texts = ["" if pd.isna(text) else str(text) for text in model_input["text"]]
        vectors = pd.Series(
            [row.tolist() for row in self._encoder.encode(texts)], index=model_input.index, dtype=object
        )
        return pd.DataFrame({"vector": vectors})


set_model(EncoderModel())
