"""Examples in docstrings of the pure rooms give what they say."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys

import pytest

# Modules without Spark whose docstrings hold examples.
MODULES = (
    "mmrec_lib.evaluation.auc",
    "mmrec_lib.evaluation.lists",
    "mmrec_lib.evaluation.metrics",
    "mmrec_lib.evaluation.predictions",
    "mmrec_lib.evaluation.significance",
    "mmrec_lib.listing.audiences",
    "mmrec_lib.listing.measures",
    "mmrec_lib.listing.related",
    "mmrec_lib.listing.selection",
    "mmrec_lib.reranking.duplicates",
    "mmrec_lib.search.fusion",
    "mmrec_lib.search.words",
    "mmrec_lib.text.clauses",
    "mmrec_lib.text.tokenizer",
    "mmrec_lib.text.well_formed",
    "mmrec_lib.topk.exact",
    "mmrec_lib.topk.selection",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0


def test_modules_with_examples_do_not_import_spark() -> None:
    imports = "; ".join(f"import {name}" for name in MODULES)
    program = f"import sys; {imports}; sys.exit('pyspark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
