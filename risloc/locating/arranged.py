"""Measurements as the observation of free symbols that is searched, and what a locator can do with their reception.

Axes: batch B, snap L, ant M, elem N.
"""

import dataclasses

import torch

from risloc.estimation.assessment import Estimates
from risloc.estimation.reliability import ONE_SNAPSHOT, REASONS, UNKNOWN, known_coordinates, with_reason
from risloc.io.measurement_checks import Fault, MeasurementError
from risloc.io.measurements import Measurements
from risloc.io.reception import Reception, reception_faults
from risloc.locating.locate_arguments import LocateError
from risloc.physics.geometry import Domain, location_of
from risloc.scenes.batch import Observation
from risloc.scenes.rearrangement import rearranged

__all__ = ["arranged", "arranged_echoes", "arranged_estimates", "arranged_faults", "arranged_sizes"]


def arranged(measurements: Measurements) -> Observation:
    """Rearrange the observation if pilots are known.

    Parameters
    ----------
    measurements
        The scenes.

    Returns
    -------
    Observation
        The scenes in their units and their precision; without sigma^2 their noise_var is NaN.
    """
    m = measurements
    unknown = torch.full((len(m),), torch.nan, dtype=torch.float32)
    noise_var = unknown if m.noise_var is None else m.noise_var
    observation = Observation(y=m.y, codebook=m.codebook, H=m.H, noise_var=noise_var)
    if m.pilots is None:
        return observation
    return rearranged(
        observation, m.pilots, unknown_gains=m.reception.gains_unknown, static_path=m.reception.static_path
    )


def arranged_estimates(reception: Reception, estimates: Estimates, domain: Domain) -> Estimates:
    """Take back the reason that a source is in one snapshot alone where snapshots are antennas, one of which may be far stronger.

    Parameters
    ----------
    reception
        What is known of the receiver.
    estimates
        The sources.
    domain
        The region where sources may be.

    Returns
    -------
    Estimates
        The sources; those concerned have the next reason that holds, or none.
    """
    if not reception.gains_unknown or estimates.echoes is not None:
        return estimates
    alone = estimates.reason == REASONS.index(ONE_SNAPSHOT)
    deviation = estimates.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    distance = location_of(estimates.polar.double())[..., 2:]
    known = known_coordinates(domain, torch.cat([deviation[..., :2], deviation[..., 2:] * distance.square()], dim=-1))
    reason = estimates.reason.masked_fill(alone, 0)
    for name, sure in zip(UNKNOWN, known.unbind(-1), strict=True):
        reason = with_reason(reason, estimates.present, name, alone & ~sure)
    return dataclasses.replace(estimates, reason=reason)


def arranged_faults(measurements: Measurements) -> list[Fault]:
    """Find scenes in which what is unknown of the receiver explains everything.

    Parameters
    ----------
    measurements
        The scenes.

    Returns
    -------
    list of Fault
        The faults; none without known pilots.
    """
    m = measurements
    return [] if m.pilots is None else reception_faults(m.reception, m.pilots, m.codebook, m.H, m.y)


def arranged_sizes(reception: Reception, snapshots: int, antennas: int, method: str, fit: str) -> tuple[int, int]:
    """Check that a method knows of a reception, and count the snapshots and antennas of the rearranged observation.

    Parameters
    ----------
    reception
        What is known of the receiver.
    snapshots
        The number of snapshots L.
    antennas
        The number of antennas M.
    method
        One of `risloc.locating.locate_arguments.METHODS`.
    fit
        One of `risloc.locating.locate_arguments.FITS`.

    Returns
    -------
    tuple of int
        The numbers of both.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        The method or the fit needs unknown symbols, or there are too few codes.
    TypeError
        The first argument is not a `Reception`.
    """
    if not isinstance(reception, Reception):
        raise TypeError(
            f"reception: expected a Reception, got {type(reception).__name__}: use the attribute reception of measurements"
        )
    if reception.pilots and (method, fit) != ("nomp", "conditional"):
        raise LocateError(
            f"pilots: only NOMP with the conditional fit knows of pilots, got {method} and {fit}: use --method nomp and --fit "
            "conditional (model=None, fit='conditional')"
        )
    try:
        return reception.sizes(snapshots, antennas)
    except MeasurementError as error:
        raise LocateError(str(error)) from None


def arranged_echoes(reception: Reception, echoes: str) -> str:
    """Choose whether echoes are searched for: by default not with unknown gains, where all waves have proportional symbols.

    Parameters
    ----------
    reception
        What is known of the receiver.
    echoes
        One of `risloc.estimation.echo_localiser.ECHOES`.

    Returns
    -------
    str
        The choice.
    """
    return "never" if echoes == "auto" and reception.gains_unknown else echoes
