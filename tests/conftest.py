"""One Spark session a test process, made when the first test asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings

PROJECT = Path(__file__).resolve().parent.parent
# A busy machine is no failure.
settings.register_profile("mmrec", deadline=None)
settings.load_profile("mmrec")

MODELS_ROOT = Path(os.environ.get("MMREC_MODELS_ROOT", PROJECT / "models"))


@pytest.fixture(scope="session")
def spark() -> Iterator[object]:
    from mmrec_lib.lakehouse.config import SparkConfig
    from mmrec_lib.lakehouse.session import build_session, java_options

    # It lives over many files: room from the start instead of a collection at each step of growth.
    conf = {
        "spark.driver.extraJavaOptions": f"{java_options()} -Xms1g -Xmn512m",
        "spark.hadoop.mapreduce.job.tags": "set-by-the-user",
    }
    session = build_session(SparkConfig(master="local[2]", driver_memory="2g", conf=conf), "mmrec-tests", is_small=True)
    yield session
    session.stop()


@pytest.fixture
def lakehouse(spark: object, tmp_path: Path) -> object:
    """An empty store."""
    from mmrec_lib.lakehouse.config import StoreConfig
    from mmrec_lib.lakehouse.tables import Lakehouse

    store = StoreConfig(data=str(tmp_path / "landing"), out=str(tmp_path / "out"))
    return Lakehouse(spark, store, "run-1", datetime(2026, 1, 1, tzinfo=UTC))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def models_root() -> Path:
    """Folder of the packaged models; tests that ask for it are marked `models`."""
    if not (MODELS_ROOT / "all-minilm-l6-v2").is_dir():
        pytest.fail(f"the packaged models are not under {MODELS_ROOT}: run `make models`")
    return MODELS_ROOT


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A temporary folder that all processes of this test run have in common."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
