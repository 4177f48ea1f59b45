from __future__ import annotations

import pytest

from mmrec_lib.models.config import EaseSettings, GraphSettings, IalsSettings, RankerSettings
from tests.unit.models.checkerboard import Checkerboard, checkerboard


@pytest.fixture(scope="session")
def board() -> Checkerboard:
    return checkerboard()


@pytest.fixture(scope="session")
def settings() -> RankerSettings:
    return RankerSettings(
        dim=8,
        content_ease=EaseSettings(regulariser=1.0),
        ridge=EaseSettings(regulariser=1.0, diagonal_exponent=0.0),
        ials=IalsSettings(rank=8, iterations=5),
        graph_filter=GraphSettings(rank=8),
        min_group_users=5,
    )
