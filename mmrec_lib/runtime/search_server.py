"""`mmrec search`: the search page of a finished store, on this machine."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from mmrec_lib.answering.searcher import Searcher
from mmrec_lib.config import load_config
from mmrec_lib.errors import ConfigError, MachineError
from mmrec_lib.lakehouse.reader import open_lakehouse
from mmrec_lib.lakehouse.session import build_session
from mmrec_lib.media.child import DecoderChild
from mmrec_lib.runtime.explain import explain
from mmrec_lib.runtime.logs import configure_logging
from mmrec_lib.runtime.main import add_config_flags, fail, overrides_of
from mmrec_lib.runtime.settings import Settings
from mmrec_lib.runtime.size import is_small_store

NAME = "search"
_PORT = 8000


def serve(argv: Sequence[str], conf_root: Path) -> int:
    """Open the store that the flags name and answer until the process is ended; returns the exit status.

    Args:
        argv: Flags of configuration, `--host` and `--port`.
        conf_root: The conf folder.

    Raises:
        SystemExit: With status 2 for a wrong command line.
    """
    flags = _parser().parse_args(argv)
    configure_logging()
    settings: Settings | None = None
    try:
        settings = load_config(Settings, conf_root, flags.env, flags.conf, overrides_of(flags))
        _answer(settings, flags.host, flags.port)
    except KeyboardInterrupt:
        return 0
    except Exception as error:
        return fail(NAME, explain(error, settings.store if settings is not None else None))
    return 0


def _answer(settings: Settings, host: str, port: int) -> None:
    store = settings.store
    if not 0 <= port < 1 << 16:
        raise ConfigError(f"search: a port from 0 to 65535 is needed, got {port}.")
    try:
        import uvicorn

        from mmrec_lib.publishing.search_page import SearchPage, create_search_app
    except ImportError as error:
        raise MachineError(
            f"search: the packages fastapi and uvicorn are needed ({error}). Install mmrec[serve]."
        ) from error
    with closing(_bound(host, port)) as listening, DecoderChild() as decoder:
        spark = build_session(settings.spark, is_small=is_small_store(store))
        place = {"out": store.out} if store.out else {"catalog": store.catalog, "schema_name": store.schema_name}
        lakehouse = open_lakehouse(spark, **place, staging=store.staging)
        searcher = Searcher(lakehouse, settings.models, settings.embedding, settings.search, settings.showing)
        page = SearchPage(searcher, lakehouse, decoder)
        name = Path(store.out).name if store.out else f"{store.catalog}.{store.schema_name}"
        host, port = listening.getsockname()[:2]
        print(f"Search page: http://{f'[{host}]' if ':' in host else host}:{port}/   (Ctrl-C ends it)", flush=True)
        server = uvicorn.Server(uvicorn.Config(create_search_app(page, name), log_level="warning"))
        server.run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens before anything is opened, so that a port in use is told at once.

    Raises:
        MachineError: When there is no such address, or something else listens there.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise MachineError(
            f"search: {host} port {port} cannot be listened on ({error}). Choose another with --port; 0 takes any."
        ) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mmrec search", description="a page that searches a finished store by words, a photo or a recording"
    )
    add_config_flags(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=_PORT, help=f"port to listen on; 0 takes any (default: {_PORT})")
    return parser
