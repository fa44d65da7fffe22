"""Figures of one scene: its geometry, the surface's codes, and the MUSIC spectrum in two slices."""

from typing import TYPE_CHECKING

from risloc.plotting.static import plot_codebook, plot_scene, plot_slices
from stages.evaluation.one_scene import OneScene

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CAPTIONS", "draw_scene"]

CAPTIONS = {
    "scene": "The array's elements, the sources and what the hybrid makes of them, K known, in space.",
    "codebook": "The phase that each element of the surface adds, one panel a snapshot, the first ones.",
    "spectrum": "MUSIC on R_blend in two slices through its strongest estimate, over u and v and over u and 1/r, with truth "
    "and estimates.",
}
"""Name of each figure, and its caption."""


def draw_scene(scene: OneScene) -> "dict[str, Figure]":
    """Draw the figures of `CAPTIONS`."""
    title = f"R_blend, K = {len(scene.truth)}, SNR {scene.snr_db:g} dB"
    return {
        "scene": plot_scene(scene.array, scene.truth, estimate=scene.estimate),
        "codebook": plot_codebook(scene.codebook, *scene.shape),
        "spectrum": plot_slices(scene.slices, location=scene.truth, estimate=scene.estimate, title=title),
    }
