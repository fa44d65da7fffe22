"""The figures of the evaluation: error against SNR with the bound, and slices of the spectrum with truth and estimates."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes

from risloc.geometry import polar_of
from risloc.localise import Localiser
from risloc.network import HybridNetwork
from risloc.shards import ShardReader
from risloc.spectrum import grid_energy

__all__ = ["PALETTE", "plot_errors", "plot_spectrum"]

PALETTE = {  # Okabe and Ito: told apart by readers with any colour vision
    "R_blend": "#D55E00",
    "R_pred": "#E69F00",
    "R_samp": "#0072B2",
    "R_true": "#009E73",
    "untrained": "#CC79A7",
    "back_projection": "#56B4E9",
    "pursuit": "#000000",
}
SCENES_SEARCHED = 256  # for a scene with several sources at a middling SNR to show


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
    axes[0].set_ylabel("median position error [m]")
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


def plot_spectrum(reader: ShardReader, localiser: Localiser, network: HybridNetwork, path: Path) -> None:
    """|U^H a|^2 / N of R_blend in one test scene: over (u, v) at its best plane, and over (u, 1/r) at its best row."""
    head = reader.read(slice(0, min(len(reader), SCENES_SEARCHED)))
    wanted = (head.truth.count - 3).abs() * 100 + (head.truth.snr_db - 10).abs()
    scene = head[wanted.argmin()[None]]
    with torch.inference_mode():
        R_blend = network.blend(scene.observation)[2]
        found = localiser.refined(localiser.sensing(scene.observation), R_blend, scene.truth.count)
        energy = grid_energy(localiser.grid, R_blend.subspace(localiser.slots))[0] / localiser.array.size
    volume = energy.view(localiser.grid.shape).clone().numpy()
    plane, row, _ = np.unravel_index(volume.argmax(), volume.shape)
    true = polar_of(scene.truth.location[scene.truth.present]).numpy()
    estimate = found.polar[found.present].numpy()
    u, v, w = (x.numpy() for x in (localiser.grid.u, localiser.grid.v, localiser.grid.w))
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    _slice(axes[0], u, v, volume[plane], true[:, [0, 1]], estimate[:, [0, 1]])
    axes[0].set(xlabel="u", ylabel="v", title=f"R_blend, plane 1/r = {w[plane]:.2f} /m")
    _slice(axes[1], u, w, volume[:, row], true[:, [0, 2]], estimate[:, [0, 2]])
    axes[1].set(xlabel="u", ylabel="1/r [1/m]", title=f"R_blend, row v = {v[row]:.2f}")
    axes[0].legend(fontsize=8, loc="upper left")
    snr = float(scene.truth.snr_db[0])
    figure.suptitle(
        f"K = {int(scene.truth.count[0])}, SNR {snr:g} dB: share of a steering vector inside the subspace", fontsize=10
    )
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


def _slice(axis: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, true: np.ndarray, found: np.ndarray) -> None:
    mesh = axis.pcolormesh(x, y, values, cmap="viridis", vmin=0, vmax=1, shading="nearest")
    axis.scatter(
        true[:, 0], true[:, 1], s=90, facecolors="none", edgecolors="white", linewidths=1.6, label="truth (all planes)"
    )
    axis.scatter(found[:, 0], found[:, 1], s=40, color="#D55E00", marker="x", label="estimate")
    axis.figure.colorbar(mesh, ax=axis)
