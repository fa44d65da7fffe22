"""What a function of tensors says of arguments that are none, or of another shape."""

from typing import Any

from torch import Tensor

__all__ = ["check_tensor"]


def check_tensor(
    name: str, value: Any, *ends: int | None, batch: int | None = None, complex_: bool | None = None
) -> None:
    """Refuse what is no tensor, or one whose last axes or kind of numbers are others.

    ends : sizes of the last axes, None: any.  batch : how many axes come before them; None: any number.
    complex_ : whether the numbers are complex; None: either.

    Raises
    ------
    TypeError
        No tensor: numpy arrays become one by torch.from_numpy.
    ValueError
        Another shape, or numbers of another kind.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a torch tensor, got {type(value).__name__}: torch.as_tensor(...) makes one")
    shape = tuple(value.shape)
    last, before = shape[max(len(shape) - len(ends), 0) :], len(shape) - len(ends)
    fits = before >= 0 and all(end in (None, size) for end, size in zip(ends, last, strict=True))
    if not fits or batch not in (None, before):
        axes = ", ".join(["any"] * (batch or 0) + ["any" if end is None else str(end) for end in ends])
        wanted = f"[{axes}]" if batch is not None else f"[..., {axes}]"
        raise ValueError(f"{name}: expected the shape {wanted}, got {shape}")
    if complex_ is not None and value.is_complex() != complex_:
        kind = "complex" if complex_ else "real"
        raise ValueError(f"{name}: expected {kind} numbers, got {str(value.dtype).removeprefix('torch.')}")
