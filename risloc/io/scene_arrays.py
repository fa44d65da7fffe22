"""Scenes as plain arrays, as they are stored in files: codes as integers, everything else unchanged.

Axes: batch B, src K_MAX, elem N, ant M, snap L, path P (echoes of a source).
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch

from risloc.physics.codebook import codebook, codes_of
from risloc.scenes.batch import Echoes, Observation, Scenes, Truth
from risloc.scenes.scenario import Scenario

__all__ = ["arrays_of", "digest", "layout", "scenes_of"]

Arrays = dict[str, np.ndarray]


def layout(scenario: Scenario) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """List the arrays of a scene in the order of storage.

    Parameters
    ----------
    scenario
        The scenario.

    Returns
    -------
    dict
        The dtype and the shape, without the batch axis, of each array by its name.
    """
    N, M, L, K = scenario.size, scenario.antennas, scenario.snapshots, scenario.K_MAX
    complex64, float32, uint8 = np.dtype(np.complex64), np.dtype(np.float32), np.dtype(np.uint8)
    echoes = {}
    if P := scenario.echoes.most:
        echoes = {"echo_location": (float32, (K, P, 3)), "echo_gain": (complex64, (K, P))}
    return {
        "y": (complex64, (L, M)),
        "codes": (uint8, (L, N)),
        "H": (complex64, (M, N)),
        "noise_var": (float32, ()),
        "location": (float32, (K, 3)),
        "power": (float32, (K,)),
        "symbols": (complex64, (K, L)),
        "count": (uint8, ()),
        "snr_db": (float32, ()),
        **echoes,
    }


def arrays_of(scenes: Scenes, bits: int) -> Arrays:
    """Convert a batch of scenes to the arrays that `layout` lists.

    Parameters
    ----------
    scenes
        The scenes.
    bits
        The number of bits of a phase code.

    Returns
    -------
    dict
        The arrays by their names.
    """
    observation, truth = scenes.observation, scenes.truth
    tensors = {
        "y": observation.y,
        "codes": codes_of(observation.codebook, bits),
        "H": observation.H,
        "noise_var": observation.noise_var,
        "location": truth.location,
        "power": truth.power,
        "symbols": truth.symbols,
        "count": truth.count.to(torch.uint8),
        "snr_db": truth.snr_db,
    }
    if truth.echoes is not None:
        tensors |= {"echo_location": truth.echoes.location, "echo_gain": truth.echoes.gain}
    return {name: tensor.resolve_conj().contiguous().numpy() for name, tensor in tensors.items()}


def scenes_of(arrays: Mapping[str, np.ndarray], bits: int) -> Scenes:
    """Restore the scenes from the arrays of `arrays_of`, bit for bit; arrays are shared, not copied.

    Parameters
    ----------
    arrays
        The arrays by their names.
    bits
        The number of bits of a phase code.

    Returns
    -------
    Scenes
        The scenes.
    """
    x = {name: torch.from_numpy(array) for name, array in arrays.items()}
    observation = Observation(y=x["y"], codebook=codebook(x["codes"], bits), H=x["H"], noise_var=x["noise_var"])
    echoes = Echoes(location=x["echo_location"], gain=x["echo_gain"]) if "echo_gain" in x else None
    truth = Truth(
        location=x["location"], power=x["power"], symbols=x["symbols"], count=x["count"].long(), snr_db=x["snr_db"],
        echoes=echoes,
    )  # fmt: skip
    return Scenes(observation, truth)


def digest(parts: Mapping[str, np.ndarray], running: "hashlib.blake2b | None" = None) -> "hashlib.blake2b":
    """Feed arrays, in their order, with name, dtype and shape, to a BLAKE2b hash of 128 bits.

    Parameters
    ----------
    parts
        The arrays by their names.
    running
        The hash to continue; None starts a new one.

    Returns
    -------
    hashlib.blake2b
        The hash.
    """
    running = running or hashlib.blake2b(digest_size=16)
    for name, array in parts.items():
        running.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        running.update(np.ascontiguousarray(array).data)
    return running
