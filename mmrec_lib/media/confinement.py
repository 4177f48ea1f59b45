"""Confinement of decoders: they must not read their parent's secrets, reach a network, gain rights or write files.

Bytes from strangers may make a decoder run code of theirs. What the code then finds is a process without tokens in its
environment, without open files but its two pipes, and, where the system lets it, without a network.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

# What Python and the libraries of decoders need of an environment; tokens, credentials and addresses are not among it.
_NAMES = frozenset(
    (
        *("PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "PYTHONUTF8", "PYTHONIOENCODING"),
        *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_"),
    )
)
_PREFIX = "LC_"

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS = 38
# Landlock (Linux 5.13 and later): numbers of its calls on every architecture, and what is handled and never allowed.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_VERSION, _PATH_BENEATH = 1, 1
_READS = 0b100
_WRITES = 0b1_1111_1111_0010  # write, remove and make files of any kind
_TRUNCATES = 1 << 14  # cut files short without opening them
_TCP = 0b11  # bind and connect
_SCOPES = 0b11  # abstract Unix sockets and signals of processes outside
_TRUNCATES_SINCE, _TCP_SINCE, _SCOPES_SINCE = 3, 4, 6


def decoder_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a decoder process gets, one thread for each of its libraries.

    Args:
        environment: That of the parent.
    """
    kept = {name: value for name, value in environment.items() if name in _NAMES or name.startswith(_PREFIX)}
    # One thread: a worker has one core, and every further thread of a library takes memory.
    return kept | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def confine() -> list[str]:
    """Takes from this process, for good, what a decoder does not need.

    It can gain no rights (`no_new_privs`), has a network namespace of its own without any device, and by Landlock can
    neither write files nor look into the memory and environment of other processes.

    Returns:
        What the system did not let it do, in words; empty when all of it holds.
    """
    if not sys.platform.startswith("linux"):
        return ["rights, network and files are those of its parent: the system is not Linux"]
    libc = ctypes.CDLL(None, use_errno=True)
    missing = []
    # A namespace of the user as well only where the network's alone is refused: it takes root's rights to read files.
    has_network = libc.unshare(_CLONE_NEWNET) != 0 and libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0
    network_error = os.strerror(ctypes.get_errno())
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        missing.append(f"it may gain rights: {os.strerror(ctypes.get_errno())}")
    version = _restrict(libc)
    if version < 1:
        missing.append("files can be written and processes be looked into: the system has no Landlock")
    elif version < _TRUNCATES_SINCE:
        missing.append("files can be cut short: the system's Landlock is too old")
    if has_network:
        what = "only TCP is closed" if version >= _TCP_SINCE else "the network is that of its parent"
        missing.append(f"{what}: no network namespace ({network_error})")
    return missing


def _restrict(libc: ctypes.CDLL) -> int:
    """Version of Landlock that restricts this process now; 0 where there is none."""
    version = int(libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION))
    if version < 1:
        return 0
    handled = [_READS | _WRITES | (_TRUNCATES if version >= _TRUNCATES_SINCE else 0)]
    if version >= _TCP_SINCE:
        handled.append(_TCP)
    if version >= _SCOPES_SINCE:
        handled.append(_SCOPES)
    rules = struct.pack(f"{len(handled)}Q", *handled)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0)
    if ruleset < 0:
        return 0
    try:
        try:
            paths = _readable()
        except OSError:
            return 0
        for path in paths:
            with suppress(OSError):
                _allow_reads(libc, ruleset, path)
        return version if libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0 else 0
    finally:
        os.close(ruleset)


def _readable() -> list[Path]:
    """Everything but other processes: libraries may be anywhere, and are imported late."""
    return [*(path for path in Path("/").iterdir() if path.name != "proc"), Path("/proc/self")]


def _allow_reads(libc: ctypes.CDLL, ruleset: int, path: Path) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", _READS, descriptor)
        if libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    finally:
        os.close(descriptor)
