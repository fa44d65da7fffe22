"""The network for a setup: loads it, and says whether it fits.

A network fits the array, carrier and region that it was trained for.
"""

import os

from risloc.io.measurements import Setup, setup_of
from risloc.learning.checkpoint import SHIPPED, load_checkpoint, shipped_checkpoint
from risloc.learning.k_rules import needs_network
from risloc.learning.network import HybridNetwork

__all__ = ["chosen_network", "load_model", "network_fault"]


def load_model(name: "str | os.PathLike[str]") -> HybridNetwork:
    """Load a network.

    Parameters
    ----------
    name
        "default" or "robust", which are part of the package, or the folder of a checkpoint.

    Returns
    -------
    HybridNetwork
        The network.

    Raises
    ------
    risloc.learning.checkpoint.CheckpointError
        There is no such network, or it is damaged.
    """
    text = os.fspath(name)
    return load_checkpoint(shipped_checkpoint(text) if text in SHIPPED else text)[0]


def chosen_network(model: "HybridNetwork | str | os.PathLike[str] | None", sources: object) -> HybridNetwork | None:
    """Return the network that an argument `model` stands for.

    Parameters
    ----------
    model
        A network, its name or folder, or None; "auto": "default" if its own K rule is asked for, otherwise none.
    sources
        The number of sources, or the name of a K rule.

    Returns
    -------
    HybridNetwork or None
        The network.
    """
    if model == "auto":
        return load_model("default") if needs_network(sources) else None
    return load_model(model) if isinstance(model, str | os.PathLike) else model


def network_fault(network: HybridNetwork, setup: Setup) -> str | None:
    """Say why a network does not fit a setup: another array or carrier, or a region that it was not trained for.

    Parameters
    ----------
    network
        The network.
    setup
        The setup of the measurements.

    Returns
    -------
    str or None
        The predicate of a sentence about the network; None if it fits.
    """
    trained = setup_of(network.scenario)
    if (trained.n_h, trained.n_v, trained.reference) != (setup.n_h, setup.n_v, setup.reference):
        return (
            f"was made for {trained.n_h} x {trained.n_v} elements with reference {trained.reference}, but the measurements have "
            f"{setup.n_h} x {setup.n_v} with reference {setup.reference}"
        )
    for name, tolerance in (("carrier_hz", 1e-3), ("spacing_m", 1e-2)):
        expected, measured = getattr(trained, name), getattr(setup, name)
        if abs(expected - measured) > tolerance * expected:
            return f"was made for {name} = {expected:.6g}, but the measurements have {measured:.6g}"
    for name in ("azimuth_span_deg", "elevation_span_deg", "distance_span_m"):
        (low, high), region = getattr(trained, name), getattr(setup, name)
        if region is not None and (region[0] < low or region[1] > high):
            return (
                f"was trained for {name} = [{low:g}, {high:g}], but the search region is [{region[0]:g}, {region[1]:g}]"
            )
    return None
