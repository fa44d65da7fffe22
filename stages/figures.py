"""The figures of the evaluation: error against SNR with the bound, and slices of the spectrum with truth and estimates."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from risloc.geometry import polar_of
from risloc.localise import Localiser
from risloc.network import HybridNetwork
from risloc.scene import Scenes
from risloc.spectrum import music_spectrum
from risloc.steering import steering_matrix

__all__ = ["PALETTE", "plot_errors", "plot_spectrum", "telling_scene"]

PALETTE = {  # Okabe and Ito: told apart by readers with any colour vision
    "R_blend": "#D55E00",
    "R_pred": "#E69F00",
    "R_samp": "#0072B2",
    "R_true": "#009E73",
    "untrained": "#CC79A7",
    "back_projection": "#56B4E9",
    "pursuit": "#000000",
}
PIXELS = 120


def plot_errors(rows: Sequence[dict[str, object]], suffix: str, path: Path) -> None:
    """Median position error against SNR, refined and plain side by side, with intervals and the median root-CRB."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    for axis, step in zip(axes, ("refined", "plain"), strict=True):
        for name, colour in PALETTE.items():
            own = [row for row in rows if row["method"] == f"{name}_{step}{suffix}"]
            if own:
                snr, middle, low, high = (
                    np.array([float(str(row[key])) for row in own])
                    for key in ("snr_db", *(f"position_error_median_m{end}" for end in ("", "_low", "_high")))
                )
                axis.plot(snr, middle, color=colour, marker="o", markersize=4, label=name)
                axis.fill_between(snr, low, high, color=colour, alpha=0.12, linewidth=0)
        bound = {float(str(row["snr_db"])): float(str(row["root_crb_median_m"])) for row in rows}
        axis.plot(list(bound), list(bound.values()), color="0.4", linestyle="--", label="root-CRB (median)")
        axis.set(
            xlabel="SNR [dB]", yscale="log", title=f"MUSIC, {step}" if step == "plain" else "with likelihood refinement"
        )
        axis.grid(which="both", alpha=0.25)
        axis.legend(fontsize=8)
    least = min((value for value in bound.values() if value > 0), default=1e-2)  # NaN where no scene has a source
    axes[0].set(ylabel="median position error [m]", ylim=(least / 4, None))  # the oracle is exact, far below
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


def telling_scene(count: np.ndarray, snr_db: np.ndarray) -> int:
    """The first scene whose number of sources is nearest to three and, among those, whose SNR is nearest to 10 dB."""
    return int(np.argmin(100 * np.abs(count - 3.0) + np.minimum(np.abs(snr_db - 10), 99)))


def plot_spectrum(scene: Scenes, localiser: Localiser, network: HybridNetwork, path: Path) -> None:
    """The MUSIC spectrum of R_blend in one scene, over (u, v) and over (u, 1/r), through its strongest estimate.

    Where nothing was estimated it goes through the first source, or the middle of the domain.
    """
    with torch.inference_mode():
        prediction, _, R_blend = network.blend(scene.observation)
        sensing, count = localiser.sensing(scene.observation), scene.truth.count
        [found] = localiser.refined(sensing, R_blend, count, slots=prediction.polar)
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
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


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
