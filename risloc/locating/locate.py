"""Locates the sources of all scenes at once."""

import os
from typing import SupportsIndex

from risloc.io.measurements import Measurements
from risloc.learning.k_rules import BY_BIC
from risloc.learning.network import HybridNetwork
from risloc.locating.found import Found
from risloc.locating.locator import Locator
from risloc.locating.measurement_match import not_measurements
from risloc.locating.networks import chosen_network

__all__ = ["locate"]


def locate(
    measurements: Measurements,
    model: "HybridNetwork | str | os.PathLike[str] | None" = "auto",
    sources: "SupportsIndex | str" = BY_BIC,
    most: "SupportsIndex | None" = None,
    noise: str = "auto",
    fit: str = "conditional",
    echoes: str = "auto",
) -> Found:
    """Locate the sources of all scenes at once; `Locator` takes them part by part.

    Parameters
    ----------
    measurements
        The scenes.
    model
        "auto" or None: NOMP, which finds echoes too; a network, the name of one of the package or its folder: the hybrid;
        "music": classical MUSIC. If the K rule `sources` is part of a network, "auto" is the network "default".
    sources, most, noise, fit, echoes
        As in `Locator`.

    Returns
    -------
    Found
        The sources.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        As in `Locator`.
    TypeError
        The argument is not `Measurements`; the message says how to make them of simulated scenes or of a file.
    """
    if not isinstance(measurements, Measurements):
        raise TypeError(not_measurements(measurements))
    method = "music" if isinstance(model, str) and model == "music" else None
    network = chosen_network(model, sources) if method is None else None
    _, snapshots, antennas = measurements.y.shape
    locator = Locator(
        measurements.setup,
        snapshots,
        antennas,
        network,
        sources,
        most,
        noise,
        fit,
        method=method,
        echoes=echoes,
        reception=measurements.reception,
    )
    return locator.locate(measurements)
