from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from mmrec_lib.ingest.probe_process import ProbeProcess
from mmrec_lib.media.errors import MediaError


def picture() -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.zeros((8, 6, 3), dtype=np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def test_media_are_told_one_after_the_other_good_and_bad() -> None:
    with ProbeProcess() as process:
        for _ in range(2):
            info = process.probe(picture(), "image", 1000)
            assert (info.mime, info.width_px, info.height_px) == ("image/png", 6, 8)
            with pytest.raises(MediaError) as caught:
                process.probe(b"no picture", "image", 1000)
            assert caught.value.reason == "media_wrong_type"
        with pytest.raises(MediaError) as caught:
            process.probe(picture(), "image", 10)
        assert caught.value.reason == "media_oversized"


@pytest.mark.parametrize("program", ["import os; os.kill(os.getpid(), 11)", "import time; time.sleep(60)"])
def test_a_decoder_that_crashes_or_hangs_costs_one_medium(program: str) -> None:
    with ProbeProcess(timeout_seconds=1.0, command=(sys.executable, "-c", program)) as process:
        for _ in range(2):
            with pytest.raises(MediaError) as caught:
                process.probe(b"bytes", "audio", 1000)
            assert caught.value.reason == "media_truncated"
