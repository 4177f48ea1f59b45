from __future__ import annotations

import pytest

from mmrec_lib.opinions.config import OpinionConfig
from mmrec_lib.opinions.model import OpinionModel, fit_opinions
from tests.unit.opinions.planted import planted_reviews

CONFIG = OpinionConfig(min_aspect_share=0.05, topic_counts=(2, 4, 8))


@pytest.fixture(scope="session")
def config() -> OpinionConfig:
    return CONFIG


@pytest.fixture(scope="session")
def model(config: OpinionConfig) -> OpinionModel:
    """Fitted on planted reviews."""
    return fit_opinions(planted_reviews(), config)
