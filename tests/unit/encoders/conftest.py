from __future__ import annotations

import pytest

from mmrec_lib.encoders.config import ModelsConfig
from tests.unit.encoders.tiny_models import make_models, packaged_models


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> ModelsConfig:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def real_models() -> ModelsConfig:
    return packaged_models()
