"""The signal model: from the random numbers of scenes to what the base station receives, in portable arithmetic.

Axes: batch B, src K_MAX, elem N, ant M, snap L; rank is 1 where every scene's sources share a waveform, else K_MAX.
"""

import functools
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.physics.channel import direct_channel, rician_channel
from risloc.physics.codebook import codebook
from risloc.physics.geometry import Array
from risloc.physics.portable_arithmetic import (
    CHANNEL_STEP,
    coded_product,
    exact_matmul,
    exact_polar_of,
    exact_steering_matrix,
    exact_sum,
    on_grid,
    phasor,
    power_of_ten,
    times,
)
from risloc.scenes.batch import Echoes, Observation, Scenes, Truth
from risloc.scenes.echo_waves import echoes_of_draws
from risloc.scenes.random_draws import Draws, uniform_in
from risloc.scenes.scenario import Scenario
from risloc.scenes.source_locations import in_domain, source_locations

__all__ = ["scenes_of_draws"]


def scenes_of_draws(scenario: Scenario, draws: Draws, echoes: bool = True) -> Scenes:
    """Compute y_l = H diag(c_l) A s_l + n_l and the truth behind it; `risloc.scenes.simulation.simulate` has the details.

    Parameters
    ----------
    scenario
        The scenario.
    draws
        The random numbers of the scenes.
    echoes
        False leaves the echoes out, at the noise variance that the scenes have with them.

    Returns
    -------
    Scenes
        The scenes.

    Raises
    ------
    ValueError
        The sources of a scene cannot be separated as the scenario requires.
    """
    array, K = scenario.surface.array, scenario.K_MAX
    count = torch.from_numpy(draws.count)
    present = torch.arange(K) < count[:, None]
    places = source_locations(scenario, draws)
    location, power = _float(places), _float(_powers(scenario, draws, places)) * present
    snr_db = _float(draws.snr_db)
    H = _channel(scenario, draws, array)
    given, reflection = _mismatch(scenario, draws, H)
    book = codebook(draws.codes, scenario.code_bits)

    B = _mixing(scenario, draws, power)  # s_l = B z_l, P = B B^H
    z = torch.ones_like(draws.waveforms) if scenario.waveform == "constant" else draws.waveforms
    A, echo = _arriving(scenario, draws, array, location), echoes_of_draws(scenario, draws, location, present)
    arrived = _received(book, _with_echoes(A, array, echo), B, reflection, H)
    noise_var = _noise_variance(arrived, H if reflection is None else times(H, reflection[:, None]), count, snr_db)
    if echo is not None and not echoes:
        arrived, echo = _received(book, A, B, reflection, H), None
    y = _in_order(times(arrived[:, :, k], z[:, k, :, None]) for k in range(z.shape[1]))
    y = y + noise_var.double().sqrt()[:, None, None] * draws.noise
    symbols = _in_order(times(B[:, :, k, None], z[:, k, None]) for k in range(z.shape[1])).to(torch.complex64)
    return Scenes(
        Observation(y=y.to(torch.complex64), codebook=book, H=given, noise_var=noise_var),
        Truth(
            location=location * present[..., None],
            power=power,
            symbols=symbols,
            count=count,
            snr_db=snr_db,
            echoes=echo,
        ),
    )


def _channel(s: Scenario, draws: Draws, array: Array) -> Complex[Tensor, "batch ant elem"]:
    if draws.scattered is None:
        return direct_channel(len(draws.keys), s.size).to(torch.complex128)
    H = rician_channel(array, draws.scattered, torch.from_numpy(draws.direction), torch.from_numpy(draws.rician))
    return on_grid(H, CHANNEL_STEP)


def _powers(s: Scenario, draws: Draws, location: np.ndarray) -> np.ndarray:
    if s.power_law == "inverse_square":
        return 1 / np.square(location[..., 2])
    return power_of_ten(torch.from_numpy(uniform_in(s.power_span_db, draws.power) / 10)).numpy()


def _mixing(s: Scenario, draws: Draws, power: Tensor) -> Complex[Tensor, "batch src rank"]:
    """Return B; in a coherent scene among independent ones the first column is b, so that all sources send the first waveform."""
    amplitude = power.double().sqrt()
    b = (amplitude * phasor(torch.from_numpy(draws.phase)))[:, :, None]
    if s.waveform != "independent":
        return b
    shared = torch.from_numpy(draws.shared < s.coherent_fraction)[:, None, None]
    first = torch.arange(s.K_MAX) == 0
    return torch.where(shared, b * first, torch.diag_embed(amplitude).to(b.dtype))


def _arriving(s: Scenario, draws: Draws, array: Array, location: Tensor) -> Complex[Tensor, "batch elem src"]:
    """Return what the elements receive from each source: its direct wave and its extra paths."""
    A = exact_steering_matrix(array, exact_polar_of(location.double()))
    if not (paths := s.mismatch.multipath_paths):
        return A
    images = torch.from_numpy(in_domain(s, draws.images))
    deviation = power_of_ten(torch.tensor(s.mismatch.multipath_db / 10, dtype=torch.float64)).div(paths).sqrt()
    for path in range(paths):
        waves = exact_steering_matrix(array, exact_polar_of(images[:, :, path]))
        A = A + times(waves, deviation * draws.path_gains[:, None, :, path])
    return A


def _with_echoes(A: Tensor, array: Array, echoes: Echoes | None) -> Complex[Tensor, "batch elem src"]:
    """Add the echoes to the waves of the sources."""
    if echoes is None:
        return A
    polar = exact_polar_of(echoes.placed.double())
    for path in range(polar.shape[2]):
        A = A + times(exact_steering_matrix(array, polar[:, :, path]), echoes.gain[:, None, :, path])
    return A


def _received(
    book: Tensor, A: Tensor, B: Tensor, reflection: Tensor | None, H: Tensor
) -> Complex[Tensor, "batch snap rank ant"]:
    """Return G_l A B, transposed."""
    AB = exact_matmul(A, B)
    if reflection is not None:
        AB = times(AB, reflection[:, :, None])
    return coded_product(book, AB, H)


def _mismatch(s: Scenario, draws: Draws, H: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the channel that the estimator is given and the true complex reflection of each element; None if all are 1."""
    if draws.mismatch is None:
        return H.to(torch.complex64), None
    normal, uniform, error = draws.mismatch
    gain = power_of_ten(s.mismatch.element_gain_std_db / 20 * normal[:, 0].double())
    alive = uniform >= s.mismatch.dead_fraction
    reflection = gain * alive * phasor(s.mismatch.element_phase_std_deg / 360 * normal[:, 1].double())
    scale = (s.mismatch.channel_error * exact_sum(_squared(H)) / H[0].numel()).sqrt()
    return (H + scale[:, None, None] * error).to(torch.complex64), reflection


def _noise_variance(arrived: Tensor, H: Tensor, count: Tensor, snr_db: Tensor) -> Float[Tensor, " batch"]:
    """Return the mean power at an antenna over the SNR; without a source, the mean row energy of H over the SNR."""
    _, snapshots, _, antennas = arrived.shape
    mean_power = exact_sum(_squared(arrived)) / (snapshots * antennas)
    row_energy = exact_sum(_squared(H)) / antennas
    return (torch.where(count > 0, mean_power, row_energy) / power_of_ten(snr_db.double() / 10)).float()


def _float(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _squared(x: Complex[Tensor, "*shape"]) -> Float[Tensor, "*shape 2"]:
    return torch.view_as_real(x).square()


def _in_order(terms: Iterable[Tensor]) -> Tensor:
    return functools.reduce(torch.add, terms)
