"""Sources with echoes in measurements of unit size, with a given sigma^2 or without.

Axes: batch B.
"""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from risloc.estimation.assessment import Estimates
from risloc.estimation.echo_localiser import EchoLocaliser
from risloc.estimation.whiteness import Whiteness, whiteness
from risloc.scenes.batch import Observation

__all__ = ["located_echoes"]


def located_echoes(
    localiser: EchoLocaliser,
    blank: Observation,
    noise_var: Float[Tensor, " batch"] | None,
    count: int | None,
    *,
    believe: bool,
    checked: bool,
) -> tuple[Estimates, Float[Tensor, " batch"], Whiteness | None]:
    """Locate sources with echoes.

    Parameters
    ----------
    localiser
        The localiser.
    blank
        The scenes; their noise_var is not used.
    noise_var : [batch]
        The given sigma^2, or None.
    count
        The number of sources if it is known.
    believe
        Whether the number of sources depends on a given sigma^2.
    checked
        Whether a given sigma^2 is not believed where the data contradict it.

    Returns
    -------
    Estimates
        The estimates.
    [batch]
        sigma^2: the given one, or that of the residual.
    Whiteness or None
        Tests of the residual if no sigma^2 is given.
    """
    level = torch.ones(len(blank), dtype=torch.float32) if noise_var is None else noise_var
    sensing = localiser.localiser.sensing(dataclasses.replace(blank, noise_var=level))
    given = noise_var is not None
    answer = localiser.locate(sensing, count=count, given=given and believe, checked=checked)
    if given:
        return answer.estimates, level, None
    scenes = dataclasses.replace(sensing, noise_var=answer.noise_var)
    return answer.estimates, answer.noise_var, whiteness(scenes, answer.responses, answer.estimates.present)
