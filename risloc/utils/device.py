"""What a device can do: the accelerator where there is one, and mixed precision where it has units for it."""

import torch

__all__ = ["best_device", "half_precision", "mixed_precision"]


def best_device() -> torch.device:
    """The accelerator where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half_precision(device: torch.device) -> torch.dtype | None:
    """bfloat16 where matrix products in it run on the device's own units; else float16 on an accelerator, None on the CPU."""
    if device.type == "cuda":
        own = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if own else torch.float16
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else None


def mixed_precision(device: torch.device, wanted: bool) -> torch.autocast:
    """The context in which convolutions and real matrix products run in half precision, where that is wanted and there."""
    dtype = half_precision(device) if wanted else None
    return torch.autocast(device.type, dtype, enabled=dtype is not None)
