"""One scene looked at: array, sources and estimates in space, the surface's codes, and the MUSIC spectrum in two slices."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from risloc.estimation.localiser import Localiser
from risloc.estimation.spectrum import music_spectrum
from risloc.learning.hybrid import NetworkView
from risloc.learning.network import HybridNetwork
from risloc.physics.geometry import location_of, polar_of
from risloc.physics.steering import steering_matrix
from risloc.plotting.static import plot_codebook, plot_scene, plot_spectrum
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SAYS", "draw_scene", "telling_scene"]

SAYS = {
    "scene": "The array's elements, the sources and what the hybrid makes of them, K known, in space.",
    "codebook": "The phase that each element of the surface adds, one panel a snapshot, the first ones.",
    "spectrum": "MUSIC on R_blend in two slices through its strongest estimate, over u and v and over u and 1/r, with truth "
    "and estimates.",
}
"""What each figure shows, in words."""


def telling_scene(count: np.ndarray, snr_db: np.ndarray) -> int:
    """The first scene whose number of sources is nearest to three and, among those, whose SNR is nearest to 10 dB."""
    return int(np.argmin(100 * np.abs(count - 3.0) + np.minimum(np.abs(snr_db - 10), 99)))


def draw_scene(scene: Scenes, scenario: Scenario, localiser: Localiser, network: HybridNetwork) -> "dict[str, Figure]":
    """The figures of `SAYS` of one scene.

    The slices go through the strongest estimate; where nothing was estimated through the first source, or the middle of the
    domain.
    """
    observation, truth = scene.observation, scene.truth
    with torch.inference_mode():
        view = NetworkView.of(network, observation)
        [found] = view.locate(localiser, [truth.count])
        U = view.R_blend.subspace(localiser.slots)[0]
    true, estimate = truth.location[truth.present], location_of(found.polar[found.present])
    middle = localiser.domain.clamp(torch.tensor([[0.0, 0.0, sum(localiser.domain.inverse_distance) / 2]]))
    spectrum = plot_spectrum(
        lambda polar: music_spectrum(steering_matrix(localiser.array, polar), U),
        localiser.domain,
        torch.cat([polar_of(estimate), polar_of(true), middle])[0],
        location=true,
        estimate=estimate,
        title=f"R_blend, K = {int(truth.count[0])}, SNR {float(truth.snr_db[0]):g} dB",
    )
    return {
        "scene": plot_scene(localiser.array, true, estimate=estimate),
        "codebook": plot_codebook(observation.codebook[0], scenario.n_h, scenario.n_v),
        "spectrum": spectrum,
    }
