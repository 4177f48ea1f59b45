"""Device and threads of a process: chosen from the hardware where the config leaves it open."""

from __future__ import annotations

from mmrec_lib.encoders.config import ModelsConfig


def on_this_machine(models: ModelsConfig, *, cores: int = 1, gpu: str | None = None) -> ModelsConfig:
    """The same models with a device and a number of threads.

    Args:
        models: As configured.
        cores: Processor cores that this process may use.
        gpu: Address of the GPU that a scheduler gave to this process, or None when it gave none.
    """
    device = models.device
    if device == "auto":
        import torch

        device = "cpu" if not torch.cuda.is_available() else f"cuda:{gpu}" if gpu is not None else "cuda"
    return models.model_copy(update={"device": device, "threads": models.threads or cores})
