"""The reference models by name."""

from __future__ import annotations

from tests.benchmarks.baselines.counting import CATEGORY_JACCARD, CONTENT_KNN, WINDOWED_POPULARITY
from tests.benchmarks.baselines.implicit_library import IMPLICIT_ALS, IMPLICIT_BPR
from tests.benchmarks.baselines.pairwise import FACTORISATION_MACHINE, LIGHT_GCN, VBPR
from tests.benchmarks.baselines.reference import Reference
from tests.benchmarks.baselines.sasrec import SASREC

REFERENCES: dict[str, Reference] = {
    reference.name: reference
    for reference in (
        WINDOWED_POPULARITY,
        CONTENT_KNN,
        CATEGORY_JACCARD,
        IMPLICIT_ALS,
        IMPLICIT_BPR,
        FACTORISATION_MACHINE,
        VBPR,
        LIGHT_GCN,
        SASREC,
    )
}
