"""Tags of containers that are not UTF-8: PyAV reads them one way before version 19 and another way since."""

from __future__ import annotations

import io

import av
import numpy as np

from mmrec_lib.media.containers import open_container

TITLE, DAMAGED = b"TITLETITLE", b"\xff\xfe\xfdABCDEFG"


def titled_video() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        container.metadata["title"] = TITLE.decode()
        stream = container.add_stream("mjpeg", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuvj420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame.reformat(format="yuvj420p")))
        container.mux(stream.encode())
    return buffer.getvalue()


def test_a_title_that_is_not_utf8_stops_nobody() -> None:
    content = titled_video()
    assert TITLE in content
    with open_container(content.replace(TITLE, DAMAGED)) as container:
        assert len(container.streams.video) == 1
        assert container.metadata["title"].endswith("ABCDEFG")
