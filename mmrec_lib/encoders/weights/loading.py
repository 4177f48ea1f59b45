"""Loading models: from safetensors only, never running their code, completely, and without bars on the console."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer
from transformers.utils import logging

_VOCABULARY_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silences transformers' progress bars and everything below an error inside the block; also a decorator."""
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


def load_model(factory: Any, directory: Path, dtype: torch.dtype, *, unused: tuple[str, ...] = ()) -> Any:
    """A model of a directory, in evaluation mode.

    Args:
        factory: A class of transformers with `from_pretrained`.
        directory: Folder in transformers format.
        dtype: Dtype of the weights.
        unused: Beginnings of the names of weights that may be missing, because nothing is computed with them.

    Raises:
        OSError: When files are missing.
        ValueError: When weights are missing or damaged, settings are absurd, or the model needs code of its own.
        KeyError: When the family of the model is unknown.
    """
    try:
        with quiet_loading():
            model, report = factory.from_pretrained(
                directory,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=dtype,
                output_loading_info=True,
            )
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"weights that cannot be read: {error}") from None
    except (OSError, ValueError, KeyError, MemoryError):
        raise
    except ImportError as error:
        raise ValueError(f"a family that needs a package which is not installed: {error}") from None
    except Exception as error:
        # Each family checks its settings in its own way; the type tells what a short message does not.
        raise ValueError(f"settings that its family cannot have: {type(error).__name__}: {error}") from None
    # transformers fills what is missing with random numbers.
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(unused))
    if missing:
        raise ValueError(f"weights without {len(missing)} of the model's parts, such as {missing[0]}")
    return model.eval()


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of a directory.

    Raises:
        OSError: When files are missing.
        ValueError: When it is no fast tokenizer (`tokenizer.json`), or needs code of its own.
    """
    # Without any of them transformers makes up a tokenizer that knows no word.
    if not any((directory / name).is_file() for name in _VOCABULARY_FILES):
        raise OSError(f"no tokenizer, one of {', '.join(_VOCABULARY_FILES)}")
    try:
        with quiet_loading():
            tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, MemoryError):
        raise
    except ImportError as error:
        raise ValueError(f"a tokenizer that needs a package which is not installed: {error}") from None
    except Exception as error:
        # The reader of tokenizer.json raises Exception itself.
        raise ValueError(f"a tokenizer that cannot be read: {error}") from None
    if not tokenizer.is_fast:
        raise ValueError("a tokenizer without tokenizer.json")
    return tokenizer
