"""mmrec: multimodal recommendation pipelines on Spark, from raw media to top-k tables.

What notebooks and other programs use is here; each name is imported when it is first used, so that a worker which needs
one of them does not pay for all:

    from mmrec_lib import current_rows, open_lakehouse

    lakehouse = open_lakehouse(out="out/demo")
    current_rows(lakehouse, "user_topk").where("user_id = 'u0734'").orderBy("rank").show()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmrec_lib.answering.searcher import open_searcher as open_searcher
    from mmrec_lib.embedding.operator import encode_udf as encode_udf
    from mmrec_lib.encoders.config import ModelsConfig as ModelsConfig
    from mmrec_lib.encoders.registry import make_encoder as make_encoder
    from mmrec_lib.evaluation.evaluate import evaluate as evaluate
    from mmrec_lib.features.load import load_snapshot as load_snapshot
    from mmrec_lib.lakehouse.reader import open_lakehouse as open_lakehouse
    from mmrec_lib.models.ranker.fit import fit_ranker as fit_ranker
    from mmrec_lib.models.ranker.ranker import FittedRanker as FittedRanker
    from mmrec_lib.models.tuning.choose import choose_settings as choose_settings
    from mmrec_lib.publishing.notebook import open_notebook as open_notebook
    from mmrec_lib.publishing.slices import current_rows as current_rows
    from mmrec_lib.topk.exact import exact_top as exact_top
    from mmrec_lib.tracking.registry import Registry as Registry

__version__ = "0.1.0"

_PUBLIC = {
    "FittedRanker": "models.ranker.ranker",
    "ModelsConfig": "encoders.config",
    "Registry": "tracking.registry",
    "choose_settings": "models.tuning.choose",
    "current_rows": "publishing.slices",
    "encode_udf": "embedding.operator",
    "evaluate": "evaluation.evaluate",
    "exact_top": "topk.exact",
    "fit_ranker": "models.ranker.fit",
    "load_snapshot": "features.load",
    "make_encoder": "encoders.registry",
    "open_lakehouse": "lakehouse.reader",
    "open_notebook": "publishing.notebook",
    "open_searcher": "answering.searcher",
}
__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604 the names of the table above


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"mmrec_lib has {', '.join(_PUBLIC)}, not {name}")
    from importlib import import_module

    return getattr(import_module(f"mmrec_lib.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
