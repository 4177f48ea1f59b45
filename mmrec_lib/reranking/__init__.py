"""Re-ranking: from a few hundred candidates a user to the list that is shown.

Kernels are compiled when a step that needs them first runs.
"""

from mmrec_lib.reranking.config import (
    CalibrationConfig,
    ContentSimilarityConfig,
    DppConfig,
    DuplicatesConfig,
    ExplorationConfig,
    MmrConfig,
    QuotaConfig,
    RerankingConfig,
)
from mmrec_lib.reranking.duplicates import find_duplicate_groups, title_codes
from mmrec_lib.reranking.facts import Candidates, ItemFacts, RerankedLists, UserFacts
from mmrec_lib.reranking.rerank import Reranker, build_reranker
from mmrec_lib.reranking.second_stage import ContentSimilarity, SecondStage

__all__ = [
    "CalibrationConfig",
    "Candidates",
    "ContentSimilarity",
    "ContentSimilarityConfig",
    "DppConfig",
    "DuplicatesConfig",
    "ExplorationConfig",
    "ItemFacts",
    "MmrConfig",
    "QuotaConfig",
    "RerankedLists",
    "Reranker",
    "RerankingConfig",
    "SecondStage",
    "UserFacts",
    "build_reranker",
    "find_duplicate_groups",
    "title_codes",
]
