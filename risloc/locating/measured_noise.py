"""sigma^2 of measurements that do not give it.

Axes: batch B.
"""

from jaxtyping import Float
from torch import Tensor

from risloc.estimation.localiser import Localiser
from risloc.estimation.noise_level import NoiseLevelError, check_samples, noise_level
from risloc.locating.locate_arguments import LocateError
from risloc.scenes.batch import Observation

__all__ = ["check_noise_samples", "estimated_noise"]


def check_noise_samples(localiser: Localiser, blank: Observation, count: int | None) -> None:
    """Check that there are enough samples to separate the noise from the sources.

    Parameters
    ----------
    localiser
        The localiser of the surface.
    blank
        The scenes; their noise_var is not used.
    count
        The number of sources if it is known.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        There are too few; the message says what to do.
    """
    try:
        check_samples(localiser, blank, localiser.slots, count)
    except NoiseLevelError as error:
        raise LocateError(str(error)) from None


def estimated_noise(localiser: Localiser, blank: Observation, count: int | None) -> Float[Tensor, " batch"]:
    """Estimate sigma^2 of sources without echoes.

    Parameters
    ----------
    localiser, blank, count
        As in `check_noise_samples`.

    Returns
    -------
    [batch]
        sigma^2.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        As in `check_noise_samples`.
    """
    check_noise_samples(localiser, blank, count)
    return noise_level(localiser, blank, localiser.slots, count)
