"""The MUSIC spectrum of one scene, in two slices, with truth and estimates."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from risloc.files import write_bytes
from risloc.geometry import polar_of
from risloc.localise import Localiser
from risloc.network import HybridNetwork
from risloc.scene import Scenes
from risloc.spectrum import music_spectrum
from risloc.steering import steering_matrix
from stages.drawing import png

__all__ = ["plot_spectrum", "telling_scene"]

PIXELS = 120


def telling_scene(count: np.ndarray, snr_db: np.ndarray) -> int:
    """The first scene whose number of sources is nearest to three and, among those, whose SNR is nearest to 10 dB."""
    return int(np.argmin(100 * np.abs(count - 3.0) + np.minimum(np.abs(snr_db - 10), 99)))


def plot_spectrum(scene: Scenes, localiser: Localiser, network: HybridNetwork, path: Path) -> None:
    """The MUSIC spectrum of R_blend in one scene, over (u, v) and over (u, 1/r), through its strongest estimate.

    Where nothing was estimated it goes through the first source, or the middle of the domain.
    """
    with torch.inference_mode():
        prediction, _, R_blend = network.blend(scene.observation)
        candidates = localiser.hybrid_candidates(scene.observation, prediction.R_pred, R_blend, prediction.polar)
        [found] = localiser.select(localiser.sensing(scene.observation), candidates, [scene.truth.count])
        U = R_blend.subspace(localiser.slots)[0]
    true, estimate = polar_of(scene.truth.location[scene.truth.present]), found.polar[found.present]
    middle = localiser.domain.clamp(torch.tensor([[0.0, 0.0, sum(localiser.domain.inverse_distance) / 2]]))
    through = torch.cat([estimate, true, middle])[0]
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for axis, (row, fixed), label in zip(axes, ((1, 2), (2, 1)), ("v", "1/r [1/m]"), strict=True):
        values, extent = _slice(localiser, U, through, row)
        image = axis.imshow(values, origin="lower", extent=extent, aspect="auto", cmap="viridis")
        figure.colorbar(image, ax=axis, label="MUSIC spectrum [dB]")
        axis.scatter(
            true[:, 0], true[:, row], s=90, facecolors="none", edgecolors="white", linewidths=1.6, label="truth"
        )
        axis.scatter(estimate[:, 0], estimate[:, row], s=40, color="#D55E00", marker="x", label="estimate")
        name = ("u", "v", "1/r")[fixed]
        axis.set(xlabel="u", ylabel=label, title=f"at {name} = {float(through[fixed]):.2f}; all sources shown")
    axes[0].legend(fontsize=8, loc="upper left")
    snr = float(scene.truth.snr_db[0])
    figure.suptitle(f"R_blend, K = {int(scene.truth.count[0])}, SNR {snr:g} dB", fontsize=10)
    write_bytes(path, png(figure))


def _slice(
    localiser: Localiser, U: torch.Tensor, through: torch.Tensor, row: int
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """The spectrum [dB] over u (columns) and coordinate `row`, the third one fixed, and the extent of the picture."""
    (left, right), (low, high) = localiser.domain.polar_box[0], localiser.domain.polar_box[row]
    if low == high:  # no parameter: shown a little to both sides
        low, high = low - 0.1, high + 0.1
    y, x = torch.meshgrid(torch.linspace(low, high, PIXELS), torch.linspace(left, right, PIXELS), indexing="ij")
    polar = through.expand(PIXELS * PIXELS, 3).clone()
    polar[:, 0], polar[:, row] = x.flatten(), y.flatten()
    spectrum = music_spectrum(steering_matrix(localiser.array, polar), U)
    return 10 * spectrum.log10().view(PIXELS, PIXELS).numpy(), (left, right, low, high)
