"""Language of a text column."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf

from mmrec_lib.text.languages import READ_CHARACTERS, detect_languages


def language(text: Column) -> Column:
    """ISO 639-1 code of a text column's language; null where it cannot be told.

    Only the beginning of a text travels to Python, so a batch of `spark.sql.execution.arrow.maxRecordsPerBatch` rows
    is bounded whatever the texts are.
    """
    make: Any = arrow_udf  # Its stubs know no function with type hints.
    column: Column = make(_languages, returnType="string")(F.substring(text, 1, READ_CHARACTERS))
    return column


def _languages(texts: pa.Array) -> pa.Array:
    return pa.array([found.language for found in detect_languages(texts.to_pylist())], pa.string())
