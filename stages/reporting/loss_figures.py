"""Figures of the losses by epoch, drawn from the tables that overfit and train write."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from risloc.plotting.static import looks
from stages.evaluation.tables import Row, number

__all__ = ["LOSSES", "draw_losses", "plot_losses"]

LOSSES = {
    "losses_overfit": "Overfit check: weighted components of the loss on a fixed set, with constant weights and with the "
    "curriculum.",
    "losses_train": "Training: weighted components of the training and of the validation loss by epoch.",
}
"""Name of each figure, and its caption."""


def draw_losses(overfit: Sequence[Row], train: Sequence[Row]) -> dict[str, Figure]:
    """Draw the figures of `LOSSES` from the rows of overfit's and of train's losses.csv."""
    schedules = dict.fromkeys(str(row["schedule"]) for row in overfit)
    panels = {name: [row for row in overfit if row["schedule"] == name] for name in schedules}
    return {"losses_overfit": plot_losses(panels), "losses_train": plot_losses({"training": train})}


def plot_losses(curves: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw the weighted components of the training and of the validation loss by epoch, on a logarithmic axis.

    Parameters
    ----------
    curves
        Title of each panel, and the rows of its losses.csv. Components that are never positive are left out.
    """
    figure = Figure(figsize=(6.4 * len(curves), 4.2), layout="constrained")
    axes = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axis, (title, rows) in zip(axes, curves.items(), strict=True):
        epochs = [number(row, "epoch") for row in rows]
        components = [key.removeprefix("train/") for key in rows[0] if key.startswith("train/weighted_")]
        columns = {
            name: [[number(row, f"{split}/{name}") for row in rows] for split in ("train", "val")]
            for name in components
        }
        drawn = {name: splits for name, splits in columns.items() if any(value > 0 for value in splits[0])}
        for (name, (train, val)), (colour, marker) in zip(drawn.items(), looks(), strict=False):
            look = {"color": colour, "marker": marker, "markersize": 4, "markevery": max(1, len(rows) // 12)}
            axis.semilogy(epochs, train, label=name.removeprefix("weighted_loss_"), **look)
            axis.semilogy(epochs, val, linestyle=":", **look)
        axis.set(title=f"{title} (solid: train, dotted: validation)", xlabel="epoch")
        axis.grid(True, alpha=0.3)
    axes[0].set_ylabel("weighted loss component")
    axes[0].legend(fontsize="small", ncols=2)
    return figure
