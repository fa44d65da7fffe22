"""Scaling of measurements to single precision, and the error for matrices that it cannot factorise.

Axes: batch B.
"""

import contextlib
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from risloc.io.measurement_checks import root_mean_square
from risloc.io.measurements import Measurements
from risloc.locating.arranged import arranged
from risloc.locating.locate_arguments import LocateError
from risloc.scenes.batch import Observation

__all__ = ["factorised", "of_unit_size"]


@contextlib.contextmanager
def factorised() -> Iterator[None]:
    """Raise a `LocateError` if a matrix cannot be factorised in the block, or in the function that this decorates.

    Yields
    ------
    None
        Once.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        A matrix is singular in single precision.
    """
    try:
        yield
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # public, and documented
        reason = " ".join(str(error).split())
        raise LocateError(
            f"y, H, codes: expected scenes whose matrices can be factorised in single precision ({reason}); locate them one by "
            "one and leave out the degenerate ones"
        ) from error


def of_unit_size(measurements: Measurements) -> tuple[Observation, Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Scale y and H of each scene to unit mean squares, in single precision, with noise_var NaN; known pilots rearrange them.

    Parameters
    ----------
    measurements
        The scenes.

    Returns
    -------
    Observation
        The scaled scenes.
    size_y : [batch]
        What y was divided by.
    size_H : [batch]
        What H was divided by.
    """
    o = arranged(measurements)
    size_y, size_H = root_mean_square(o.y), root_mean_square(o.H)
    y = (o.y.to(torch.complex128) / size_y[:, None, None]).to(torch.complex64)
    H = (o.H.to(torch.complex128) / size_H[:, None, None]).to(torch.complex64)
    noise_var = torch.full((len(y),), torch.nan, dtype=torch.float32)
    codebook = o.codebook.to(torch.complex64)
    return Observation(y=y, codebook=codebook, H=H, noise_var=noise_var), size_y, size_H
