"""What the hardware offers: an accelerator if there is one, and mixed precision if it is supported."""

import torch

__all__ = ["best_device", "half_precision", "mixed_precision"]


def best_device() -> torch.device:
    """Choose the accelerator if there is one, otherwise the CPU.

    Returns
    -------
    torch.device
        The device.
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half_precision(device: torch.device) -> torch.dtype | None:
    """Choose bfloat16 if the device multiplies matrices in it natively, otherwise float16 on an accelerator and None on the CPU.

    Parameters
    ----------
    device
        The device to use.

    Returns
    -------
    torch.dtype or None
        The half-precision type.
    """
    if device.type == "cuda":
        own = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if own else torch.float16
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else None


def mixed_precision(device: torch.device, wanted: bool) -> torch.autocast:
    """Return the context in which convolutions and real matrix products run in half precision, if requested and supported.

    Parameters
    ----------
    device
        The device to use.
    wanted
        Whether mixed precision is requested.

    Returns
    -------
    torch.autocast
        The context.
    """
    dtype = half_precision(device) if wanted else None
    return torch.autocast(device.type, dtype, enabled=dtype is not None)
