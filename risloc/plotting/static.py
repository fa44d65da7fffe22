"""Figures of one scene: array and sources in 3-D, the codebook, slices of a spectrum, and plain curves.

Every function returns a matplotlib figure and displays nothing; `save_figure` writes it. The colours are distinguishable with
any colour vision (`risloc.plotting.palette`; viridis; twilight for phases), and no meaning rests on colour alone. matplotlib
is an optional dependency (`risloc[figures]`), which is imported when a figure is drawn.

Axes: elem N, src K, snap L.
"""

import itertools
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.estimation.spectrum_slices import Slice, spectrum_slices
from risloc.physics.geometry import Array, Domain, polar_of, position_of
from risloc.plotting.echo_places import ECHO, drawn_images, joints
from risloc.plotting.palette import BLUE, PALETTE, VERMILION

if typing.TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

__all__ = ["looks", "plot_codebook", "plot_curves", "plot_scene", "plot_slices", "plot_spectrum"]


_GREY = "0.55"
_MARKERS = "os^vDPX*"  # one more than colours, so that 56 styles come before one repeats
_NAMES = ("u", "v", "1/r [1/m]")


def looks() -> Iterator[tuple[str, str]]:
    """Iterate over the styles of curves without end; seven curves differ in colour and in marker, 56 in at least one of them.

    Returns
    -------
    Iterator of tuple
        A colour and a marker for each curve.
    """
    return zip(itertools.cycle(PALETTE), itertools.cycle(_MARKERS))


def plot_scene(
    array: Array,
    location: Float[Tensor, "src 3"],
    *,
    estimate: Float[Tensor, "found 3"] | None = None,
    distance_std: Float[Tensor, " found"] | None = None,
    echoes: Float[Tensor, "found path 3"] | None = None,
) -> "matplotlib.figure.Figure":
    """Draw the elements of the array, the sources and the estimates in space; the vertical axis of the figure is y.

    Parameters
    ----------
    array
        The surface.
    location : [src, 3]
        Azimuth [rad], elevation [rad] and distance [m] of the true sources.
    estimate : [found, 3]
        The same of the estimates; None: none are drawn.
    distance_std : [found]
        The standard deviation of each estimated distance in metres, drawn as a bar of one deviation to both sides along the
        ray; None: no bars.
    echoes : [found, path, 3]
        Azimuth, elevation and distance of the images of each estimate, NaN in empty slots; None: none are drawn. They are
        fainter marks, each joined to its estimate by a line; `risloc.plotting.echo_places` says where they are drawn.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.
    """
    figure = _figure((6.4, 5.2))
    axis: typing.Any = figure.add_subplot(projection="3d")
    elements = array.elements.cpu()
    flat = torch.zeros(len(elements))
    axis.scatter(elements[:, 0], flat, elements[:, 1], s=4, color=_GREY, label="elements")
    true = position_of(location.cpu())
    floor = float(torch.cat([true[:, 1], elements[:, 1]]).min())
    axis.scatter(*_drawn(true), s=70, facecolors="none", edgecolors=BLUE, linewidths=1.6, label="sources")
    for x, y, z in true.tolist():
        axis.plot([x, x], [z, z], [floor, y], color=BLUE, linewidth=0.6, linestyle=":")
        axis.plot([0, x], [0, z], [0, y], color=_GREY, linewidth=0.5)
    if estimate is not None:
        found = position_of(estimate.cpu())
        axis.scatter(*_drawn(found), s=40, color=VERMILION, marker="x", label="estimates")
        for place, std in zip(estimate.cpu(), [] if distance_std is None else distance_std.cpu(), strict=False):
            ends = place.repeat(2, 1)
            ends[:, 2] += torch.stack([-std, std]).to(ends)
            axis.plot(*_drawn(position_of(ends)), color=VERMILION, linewidth=1.6)
        if echoes is not None:
            _add_echoes(axis, position_of(echoes.cpu()), found)
    axis.set(xlabel="x [m]", ylabel="z [m], boresight", zlabel="y [m]")
    spans = [high - low for low, high in (axis.get_xlim3d(), axis.get_ylim3d(), axis.get_zlim3d())]
    axis.set_box_aspect(
        spans, zoom=0.85
    )  # the same scale on all axes; the zoom leaves room for the labels, which the layout ignores
    axis.locator_params(nbins=5)
    axis.view_init(elev=22, azim=-62)
    axis.legend(fontsize=8, loc="upper left")
    return figure


def _add_echoes(axis: typing.Any, image: Tensor, source: Tensor) -> None:
    present = image.isfinite().all(-1)
    if bool(present.any()):
        own = source[present.nonzero()[:, 0]].to(image)
        drawn = drawn_images(image[present], own)
        axis.plot(*_drawn(joints(drawn, own)), color=VERMILION, linewidth=0.6, alpha=0.4)
        axis.scatter(*_drawn(drawn), s=14, color=VERMILION, alpha=0.4, label=ECHO)


def plot_codebook(
    codebook: Complex[Tensor, "snap elem"], n_h: int, n_v: int, *, most: int = 16
) -> "matplotlib.figure.Figure":
    """Draw the phase of each element of an n_h x n_v surface, with one panel for each of the first snapshots.

    Parameters
    ----------
    codebook : [snap, elem]
        The codes.
    n_h, n_v
        The numbers of columns and rows of the surface.
    most
        The largest number of panels.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.

    Raises
    ------
    ValueError
        The codes do not have n_h x n_v elements.
    """
    if codebook.shape[1] != n_h * n_v:
        raise ValueError(f"codebook: expected codes of {n_h} x {n_v} = {n_h * n_v} elements, got {codebook.shape[1]}")
    shown = codebook[:most].cpu().angle().rad2deg().view(-1, n_v, n_h)
    columns = min(8, len(shown))
    rows = -(-len(shown) // columns)
    figure = _figure((1.1 * columns + 1.2, 1.25 * rows + 0.5))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for i, (axis, phase) in enumerate(zip(axes, shown, strict=False)):
        image = axis.imshow(
            phase.numpy(), origin="lower", cmap="twilight", vmin=-180, vmax=180, interpolation="nearest"
        )
        axis.set_title(f"l = {i + 1}", fontsize=8)
        axis.set(xticks=[], yticks=[])
    for axis in axes[len(shown) :]:
        axis.remove()
    figure.colorbar(image, ax=axes[: len(shown)], label="phase [deg]", ticks=[-180, -90, 0, 90, 180])
    return figure


def plot_spectrum(
    spectrum: Callable[[Float[Tensor, "point 3"]], Float[Tensor, " point"]],
    domain: Domain,
    through: Float[Tensor, " 3"],
    *,
    location: Float[Tensor, "src 3"] | None = None,
    estimate: Float[Tensor, "found 3"] | None = None,
    title: str = "",
    pixels: int = 160,
) -> "matplotlib.figure.Figure":
    """Draw two slices of a spectrum in dB through a point: over (u, v) at its 1/r, and over (u, 1/r) at its v.

    Parameters
    ----------
    spectrum
        A positive function of points (u, v, w), such as ``lambda p: music_spectrum(steering_matrix(array, p), U)``.
    domain
        The region that the slices span.
    through : [3]
        The point (u, v, w).
    location, estimate : [src, 3]
        Azimuth [rad], elevation [rad] and distance [m] of the sources and of the estimates. Both slices show all of them,
        wherever they lie in the third coordinate.
    title
        Title of the figure.
    pixels
        Pixels along each side of a slice.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.
    """
    slices = spectrum_slices(spectrum, domain, through, pixels)
    return plot_slices(slices, location=location, estimate=estimate, title=title)


def plot_slices(
    slices: Sequence[Slice],
    *,
    location: Float[Tensor, "src 3"] | None = None,
    estimate: Float[Tensor, "found 3"] | None = None,
    title: str = "",
) -> "matplotlib.figure.Figure":
    """Draw slices of a spectrum in dB, a panel each, as `plot_spectrum` does.

    Parameters
    ----------
    slices
        At least one slice.
    location, estimate : [src, 3]
        Azimuth [rad], elevation [rad] and distance [m] of the sources and of the estimates. Each panel shows all of them,
        wherever they lie in its fixed coordinate.
    title
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.
    """
    figure = _figure((5.0 * len(slices), 4.2))
    axes = list(figure.subplots(1, len(slices), squeeze=False)[0])
    marks = {"o": (location, "truth"), "x": (estimate, "estimate")}
    for axis, cut in zip(axes, slices, strict=True):
        image = axis.imshow(cut.level.numpy(), origin="lower", extent=cut.extent, aspect="auto", cmap="viridis")
        figure.colorbar(image, ax=axis, label="spectrum [dB]")
        for marker, (places, name) in marks.items():
            if places is not None:
                _mark(axis, polar_of(places.cpu()), cut.row, marker, name)
        axis.set(xlabel="u", ylabel=_NAMES[cut.row], title=f"at {_NAMES[3 - cut.row]} = {cut.fixed:.2f}")
    if any(places is not None for places, _ in marks.values()):
        axes[0].legend(fontsize=8, loc="upper left")
    figure.suptitle(title, fontsize=10)
    return figure


def plot_curves(
    x: Sequence[float] | Sequence[int],
    curves: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    log: bool = True,
) -> "matplotlib.figure.Figure":
    """Draw curves over x, each with its name and a style of its own.

    Parameters
    ----------
    x
        The common values of x.
    curves
        The values of each curve, by its name.
    xlabel, ylabel
        Labels of the axes.
    log
        Whether the y axis is logarithmic.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.

    Raises
    ------
    ValueError
        A curve and x differ in length.
    """
    figure = _figure((6.4, 4.2))
    axis = figure.subplots()
    for (name, y), (colour, marker) in zip(curves.items(), looks(), strict=False):
        if len(y) != len(x):
            raise ValueError(f"{name}: expected {len(x)} values, one for each x, got {len(y)}")
        axis.plot(x, y, color=colour, marker=marker, markersize=4.5, label=name)
    axis.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
    axis.grid(alpha=0.3, which="both")
    axis.legend(fontsize=8)
    return figure


def _figure(size: tuple[float, float]) -> "matplotlib.figure.Figure":
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "figures need matplotlib, which is not installed: pip install 'risloc[figures]'"
        ) from error
    return Figure(figsize=size, layout="constrained")


def _drawn(position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return x, z and y, because the vertical axis of the figure is y."""
    return position[:, 0], position[:, 2], position[:, 1]


def _mark(axis: "matplotlib.axes.Axes", polar: Tensor, row: int, marker: str, name: str) -> None:
    look: dict[str, typing.Any] = {"s": 45, "color": VERMILION}
    if marker == "o":
        look = {"s": 90, "facecolors": "none", "edgecolors": "white", "linewidths": 1.6}
    axis.scatter(polar[:, 0], polar[:, row], marker=marker, label=name, **look)
