"""One scene as numbers: the array, the sources, the estimates, the surface's codes, and slices of the MUSIC spectrum."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.estimation.localiser import Localiser
from risloc.estimation.spectrum import music_spectrum
from risloc.estimation.spectrum_slices import Slice, spectrum_slices
from risloc.learning.hybrid import NetworkView
from risloc.learning.network import HybridNetwork
from risloc.physics.geometry import Array, location_of, polar_of
from risloc.physics.steering import steering_matrix
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from stages.support.writers import write_arrays

__all__ = ["OneScene", "locate_one", "read_scene", "representative_scene", "write_scene"]


@dataclass(frozen=True, kw_only=True)
class OneScene:
    """One scene, located by the hybrid with K known.

    Parameters
    ----------
    array
        The elements of the surface.
    shape
        Number of elements across and up.
    truth, estimate : [src, 3]
        Azimuth [rad], elevation [rad] and distance [m] of the sources and of the estimates.
    codebook : [snap, elem]
        The codes of the surface.
    snr_db
        The SNR in dB.
    slices
        MUSIC on R_blend, through the strongest estimate; through the first source where nothing was estimated, and
        through the middle of the domain where there is no source either.
    """

    array: Array
    shape: tuple[int, int]
    truth: Float[Tensor, "src 3"]
    estimate: Float[Tensor, "found 3"]
    codebook: Complex[Tensor, "snap elem"]
    snr_db: float
    slices: tuple[Slice, ...]


def representative_scene(count: np.ndarray, snr_db: np.ndarray) -> int:
    """Return the first scene whose K is nearest to three and, among those, whose SNR is nearest to 10 dB."""
    return int(np.argmin(100 * np.abs(count - 3.0) + np.minimum(np.abs(snr_db - 10), 99)))


def locate_one(scene: Scenes, scenario: Scenario, localiser: Localiser, network: HybridNetwork) -> OneScene:
    """Locate the sources of one scene and cut its spectrum."""
    observation, truth = scene.observation, scene.truth
    with torch.inference_mode():
        view = NetworkView.of(network, observation)
        [found] = view.locate(localiser, [truth.count])
        U = view.R_blend.subspace(localiser.slots)[0]
        location, estimate = truth.location[truth.present], location_of(found.polar[found.present])
        middle = localiser.domain.clamp(torch.tensor([[0.0, 0.0, sum(localiser.domain.inverse_distance) / 2]]))
        slices = spectrum_slices(
            lambda polar: music_spectrum(steering_matrix(localiser.array, polar), U),
            localiser.domain,
            torch.cat([polar_of(estimate), polar_of(location), middle])[0],
        )
    return OneScene(
        array=localiser.array,
        shape=(scenario.n_h, scenario.n_v),
        truth=location,
        estimate=estimate,
        codebook=observation.codebook[0],
        snr_db=float(truth.snr_db[0]),
        slices=slices,
    )


def write_scene(path: Path, scene: OneScene) -> None:
    """Write a scene as an .npz of plain arrays."""
    cuts = {
        f"slice{i}_{name}": np.asarray(value)
        for i, cut in enumerate(scene.slices)
        for name, value in asdict(cut).items()
    }
    write_arrays(
        path,
        {
            "elements": scene.array.elements.numpy(),
            "wavelength": np.asarray(scene.array.wavelength),
            "shape": np.asarray(scene.shape),
            "truth": scene.truth.numpy(),
            "estimate": scene.estimate.numpy(),
            "codebook": scene.codebook.numpy(),
            "snr_db": np.asarray(scene.snr_db),
            **cuts,
        },
    )


def read_scene(path: Path) -> OneScene:
    """Read what `write_scene` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)
    count = sum(name.endswith("_level") for name in arrays)
    return OneScene(
        array=Array(elements=torch.from_numpy(arrays["elements"]), wavelength=float(arrays["wavelength"])),
        shape=(int(arrays["shape"][0]), int(arrays["shape"][1])),
        truth=torch.from_numpy(arrays["truth"]),
        estimate=torch.from_numpy(arrays["estimate"]),
        codebook=torch.from_numpy(arrays["codebook"]),
        snr_db=float(arrays["snr_db"]),
        slices=tuple(_slice(arrays, f"slice{i}") for i in range(count)),
    )


def _slice(arrays: Mapping[str, np.ndarray], name: str) -> Slice:
    left, right, low, high = map(float, arrays[f"{name}_extent"])
    return Slice(
        level=torch.from_numpy(arrays[f"{name}_level"]),
        extent=(left, right, low, high),
        row=int(arrays[f"{name}_row"]),
        fixed=float(arrays[f"{name}_fixed"]),
    )
