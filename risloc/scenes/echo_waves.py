"""The echoes of scenes: images and gains by the law of the scenario, in portable arithmetic.

Axes: batch B, src K_MAX, path (echoes of a source), image 24, wall 6.
"""

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from risloc.physics.echo_domain import echo_domain
from risloc.physics.image_sources import hits, mirror_images
from risloc.physics.portable_arithmetic import exact_location_of, phasor, power_of_ten, times, units
from risloc.physics.reflection import permittivity, reflection
from risloc.scenes.batch import Echoes
from risloc.scenes.random_draws import Draws, uniform_in
from risloc.scenes.scenario import Scenario

__all__ = ["echoes_of_draws"]


def echoes_of_draws(
    scenario: Scenario, draws: Draws, location: Float[Tensor, "batch src 3"], present: Bool[Tensor, "batch src"]
) -> Echoes | None:
    """Compute the echoes of the sources by the law of the scenario.

    farther: the images are uniform in the angles of `echo_domain`, their distance over that of the source is uniform in
    `farther_span`, and g_kj ~ CN(0, 10^(power_db / 10) / paths).

    room: the images of one and of two reflections in a shoebox around the surface. An image q_kj of the source at p_k has the
    gain |p_k| / |q_kj| exp(-j k (|q_kj| - |p_k|)) times Fresnel's reflection coefficient of each wall on the path to the origin,
    relative to the direct wave, whose phase is 0 at the origin. Images behind the surface (z <= 0) do not illuminate its front and
    have no echo.

    Parameters
    ----------
    scenario
        The scenario.
    draws
        The random numbers of the scenes.
    location : [batch, src, 3]
        Azimuth and elevation of the sources in radians, distance in metres, single precision.
    present : [batch, src]
        Which slots contain a source; the others get no echo.

    Returns
    -------
    Echoes or None
        The echoes, the strongest first in a room; None without a law.
    """
    law = scenario.echoes.law
    if law == "none":
        return None
    place, gain = (_farther if law == "farther" else _in_room)(scenario, draws, location.double())
    gain = torch.where(present[..., None], gain, 0).to(torch.complex64)
    return Echoes(location=torch.where((gain != 0)[..., None], place, 0).float(), gain=gain)


def _farther(s: Scenario, draws: Draws, location: Tensor) -> tuple[Tensor, Tensor]:
    law, domain = s.echoes, echo_domain(s.surface.domain)
    unit = draws.echo_uniform.reshape(*draws.echo_gains.shape, 3)
    angles = [uniform_in(span, unit[..., axis]) for axis, span in enumerate((domain.azimuth, domain.elevation))]
    distance = location[..., 2:] * torch.from_numpy(uniform_in(law.farther_span, unit[..., 2]))
    place = torch.stack([*map(torch.from_numpy, angles), distance], -1)
    deviation = power_of_ten(torch.tensor(law.power_db / 10, dtype=torch.float64)).div(law.paths).sqrt()
    return place, deviation * draws.echo_gains.to(torch.complex128)


def _in_room(s: Scenario, draws: Draws, location: Tensor) -> tuple[Tensor, Tensor]:
    """Return the strongest images and their gains, 0 for those behind the surface."""
    walls, epsilon, yaw = _rooms(s, draws)
    image = mirror_images(_turned(units(location) * location[..., 2:], -yaw), walls)
    distance = (image[..., 0].square() + image[..., 1].square() + image[..., 2].square()).sqrt()
    turns = (location[..., 2:] - distance) / s.wavelength
    gain = times(torch.complex(location[..., 2:] / distance, torch.zeros_like(distance)), phasor(turns))
    gain = times(gain, _reflections(image.abs() / distance[..., None], epsilon))
    position = _turned(image, yaw)
    front = position[..., 2] > 0
    place = exact_location_of(torch.where(front[..., None], position, 1.0))
    gain = torch.where(front, gain, 0)
    strongest = (gain.real.square() + gain.imag.square()).sort(dim=-1, descending=True, stable=True).indices
    strongest = strongest[..., : s.echoes.paths]
    return place.take_along_dim(strongest[..., None], 2), gain.take_along_dim(strongest, 2)


def _rooms(
    s: Scenario, draws: Draws
) -> tuple[Float[Tensor, "batch 3 2"], Complex[Tensor, "batch wall"], Float[Tensor, " batch"]]:
    """Return the walls along each axis of the rooms, the permittivity of each wall, and the yaws in turns."""
    law, unit = s.echoes, draws.echo_uniform
    spans = (
        law.side_span_m,
        law.side_span_m,
        law.height_span_m,
        law.height_span_m,
        law.behind_span_m,
        law.front_span_m,
    )
    distance = np.stack([uniform_in(span, unit[:, wall]) for wall, span in enumerate(spans)], 1).reshape(-1, 3, 2)
    kinds = torch.tensor([permittivity(name, s.carrier_hz) for name in law.materials], dtype=torch.complex128)
    material = torch.from_numpy((unit[:, 6:12] * len(law.materials)).astype(np.int64))
    return (
        torch.from_numpy(distance * [-1.0, 1.0]),
        kinds[material],
        torch.from_numpy(uniform_in(law.yaw_span_deg, unit[:, 12]) / 360),
    )


def _reflections(
    cosine: Float[Tensor, "batch src image 3"], epsilon: Complex[Tensor, "batch wall"]
) -> Complex[Tensor, "batch src image"]:
    """Return the product of the reflection coefficients on the path of each image."""
    product = torch.ones(cosine.shape[:-1], dtype=torch.complex128)
    for wall, reflected in enumerate(hits().unbind(1)):
        axis = wall // 2
        coefficient = reflection(epsilon[:, None, None, wall], cosine[..., axis], upright=axis != 1)
        product = torch.where(reflected, times(product, coefficient), product)
    return product


def _turned(position: Float[Tensor, "batch src ..."], turns: Float[Tensor, " batch"]) -> Float[Tensor, "batch src ..."]:
    """Rotate positions [..., 3] about y, by which z moves towards x."""
    turn = phasor(turns).view(-1, *[1] * (position.dim() - 2))
    x, y, z = position.unbind(-1)
    return torch.stack([turn.real * x + turn.imag * z, y, turn.real * z - turn.imag * x], -1)
