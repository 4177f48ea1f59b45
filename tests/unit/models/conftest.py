from __future__ import annotations

import pytest

from mmrec_lib.models.config import RankerSettings
from tests.unit.models.checkerboard import SETTINGS, Checkerboard, checkerboard


@pytest.fixture(scope="session")
def board() -> Checkerboard:
    return checkerboard()


@pytest.fixture(scope="session")
def settings() -> RankerSettings:
    return SETTINGS
