"""Small searches load no compiler, large ones do, and threads leave BLAS as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

from mmrec_lib.topk import compiling, exact, prepare_items
from mmrec_lib.topk.threads import single_threaded_blas, usable_threads


def run_python(code: str, **environment: str) -> str:
    """Output of a program in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_small_search_does_not_load_numba() -> None:
    code = (
        "import sys, numpy as np\nfrom mmrec_lib.topk import exact_top\n"
        "exact_top(np.ones((9, 4), np.float32), np.ones((99, 4), np.float32), 3)\nprint('numba' in sys.modules)"
    )
    assert run_python(code).strip() == "False"


def test_a_process_that_has_searched_much_goes_over_to_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []
    monkeypatch.setattr(exact, "_work", exact._Work())
    monkeypatch.setattr(exact, "_PAIRS_WORTH_LOADING", 50_000)
    monkeypatch.setattr(exact, "_KERNELS", "no module of this name")
    monkeypatch.setattr(
        "mmrec_lib.topk.compiled_search.search_compiled", lambda items, users, **_: searched.append(len(users))
    )
    vectors = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    lists = [exact.exact_top(vectors, vectors[:70], 3) for _ in range(3)]
    assert searched == [300]
    np.testing.assert_array_equal(lists[0].indices, lists[1].indices)


def test_items_are_prepared_for_the_kernels_once_they_have_served_enough_users(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []
    monkeypatch.setattr(exact, "_PAIRS_WORTH_CALLING", 1)
    monkeypatch.setattr(exact, "_KERNELS", "sys")
    monkeypatch.setattr(
        "mmrec_lib.topk.compiled_search.search_compiled", lambda items, users, **_: searched.append(len(users))
    )
    vectors = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32)
    items = prepare_items(vectors)
    for _ in range(4):
        exact.search(items, vectors, 3)
    assert searched == [100, 100]


def test_the_limit_of_blas_threads_is_taken_back_after_the_last_user() -> None:
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = usable_threads()
        first, second = single_threaded_blas(), single_threaded_blas()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert usable_threads() == 1
        second.__exit__(None, None, None)
        assert usable_threads() == before


def test_machine_code_goes_to_a_private_folder_where_nothing_else_can_be_written(tmp_path: Path) -> None:
    code = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = [caching.UserProvidedCacheLocator]\n"
        "from mmrec_lib.topk.filter_kernels import sort_values\nimport numba, numpy as np\n"
        "values = np.array([3, 1, 2], np.int32)\nsort_values(values, 0, 3)\n"
        "print(values.tolist(), repr(numba.config.CACHE_DIR), sort_values.stats.cache_misses)"
    )
    for _ in range(2):
        assert run_python(code, TMPDIR=str(tmp_path), NUMBA_CACHE_DIR="").startswith("[1, 2, 3] ''")
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.rglob("*sort_values*.nbi"))


def test_a_shared_folder_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    folder = compiling.private_folder(tmp_path)
    assert compiling.private_folder(tmp_path) == folder
    assert folder is not None
    folder.chmod(0o777)
    assert compiling.private_folder(tmp_path) is None


@pytest.mark.parametrize("planted", ["file", "dangling link", "link"])
def test_what_others_put_in_the_folders_place_is_not_used(tmp_path: Path, planted: str) -> None:
    folder = compiling.private_folder(tmp_path)
    assert folder is not None
    folder.rmdir()
    if planted == "file":
        folder.write_text("")
    else:
        target = tmp_path / "elsewhere"
        if planted == "link":
            target.mkdir()
        folder.symlink_to(target)
    assert compiling.private_folder(tmp_path) is None


def test_without_any_folder_machine_code_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / f"mmrec-numba-{os.getuid()}").write_text("")
    code = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = [caching.UserProvidedCacheLocator]\n"
        "from mmrec_lib.topk.filter_kernels import sort_values\nimport numpy as np\n"
        "values = np.array([3, 1, 2], np.int32)\nsort_values(values, 0, 3)\nprint(values.tolist())"
    )
    assert run_python(code, TMPDIR=str(tmp_path), NUMBA_CACHE_DIR="").strip() == "[1, 2, 3]"


def test_a_processor_chosen_by_the_environment_gets_no_int8() -> None:
    code = "from mmrec_lib.topk.compiled_search import has_int8\nprint(has_int8())"
    assert run_python(code, NUMBA_CPU_NAME="generic").strip() == "False"
