"""Loads a model as somebody does who has none of this project: run as a program, it refuses to import `mmrec_lib`.

    python -I tests/served.py <folder of the model>

Prints as JSON what the model answers and from where its code came. It imports nothing of the project.
"""

from __future__ import annotations

import importlib.abc
import json
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType


class Refuser(importlib.abc.MetaPathFinder):
    """Stands before all other finders, those of editable installs among them."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Refuse the library and the jobs, let everything else pass."""
        if fullname.split(".", maxsplit=1)[0] in ("mmrec_lib", "jobs", "tests"):
            raise ModuleNotFoundError(f"No module named {fullname!r}: it is hidden here", name=fullname)


def main(folder: str) -> int:
    """Load, ask, print."""
    sys.meta_path.insert(0, Refuser())
    warnings.simplefilter("ignore")
    import mlflow
    import pandas as pd

    model = mlflow.pyfunc.load_model(folder)
    rows = pd.DataFrame(
        {
            "item_ids": [["i00", "i02", "i04"], None],
            "weights": [[3, 1, None], None],
            "attributes": [None, '{"likes": "red"}'],
        }
    )
    found = model.predict(rows, params={"k": 3})
    own = {name: module for name, module in sys.modules.items() if name.startswith("mmrec_model_")}
    print(
        json.dumps(
            {
                "item_ids": found["item_ids"].tolist(),
                "alone": model.predict(rows[["item_ids"]])["item_ids"].map(len).tolist(),
                "files": sorted(str(module.__file__) for module in own.values()),
                "library": sorted(name for name in sys.modules if name.startswith("mmrec_lib")),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
