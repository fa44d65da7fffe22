"""A `SceneView` as interactive figures: in space, over directions, over ranges, and the codebook.

Every function returns a Plotly figure and displays nothing. The colours are distinguishable with any colour vision (Okabe and
Ito; viridis; twilight for phases), and no meaning rests on colour alone. Plotly is not a dependency of the package; it is
imported when a figure is drawn. No module outside this room and the command line needs this one.

Axes: elem N, src K, snap L, point.
"""

import math
import typing

import torch
from torch import Tensor

from risloc.physics.geometry import polar_of, position_of
from risloc.plotting.echo_places import ECHO, drawn_images, joints
from risloc.plotting.palette import BLUE, VERMILION
from risloc.plotting.scene_view import SceneView

if typing.TYPE_CHECKING:
    import plotly.graph_objects

__all__ = ["BANDS", "codebook_figure", "direction_figure", "range_figure", "space_figure"]

BANDS = (3, 6, 9, 12, 15, 20)
"""Where the bands of `space_figure` end, in dB below the peak of the spectrum; weaker points are not drawn."""

MOST_CODES = 256  # snapshots that the picture of the codebook shows
_OPACITY = (0.5, 0.35, 0.22, 0.15, 0.1, 0.05)
_GREY = "#666666"
_Look = dict[str, typing.Any]
_TRUTH: _Look = {"symbol": "circle-open", "size": 10, "color": BLUE, "line": {"width": 2, "color": BLUE}}
_FOUND: dict[bool, _Look] = {
    True: {"symbol": "diamond", "color": VERMILION},
    False: {"symbol": "square-open", "color": _GREY},
}
_ECHO: _Look = {"symbol": "circle", "color": VERMILION, "opacity": 0.4}
_JOINT: _Look = {"color": "rgba(213, 94, 0, 0.4)", "width": 1}
_WORDS = {True: "estimate, bar +- 1 std of range", False: "estimate, not resolved"}


def space_figure(view: SceneView) -> "plotly.graph_objects.Figure":
    """Draw the surface, the strongest points of the spectrum in bands, the true sources and the estimates in space, in metres.

    Echoes are fainter marks, each joined to its source by a line; `risloc.plotting.echo_places` says where they are drawn.

    The vertical axis of the figure is y. The `meta` of a trace that is a band says where the band ends; see `BANDS`.

    Parameters
    ----------
    view
        The scene.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.
    """
    figure, peak = _plotly().Figure([*_bands(view), *_sources(view)]), float(view.level[0])
    axes = {"xaxis": "x [m]", "yaxis": "z [m], boresight", "zaxis": "y [m]"}
    camera = {"eye": {"x": 1.25, "y": -1.55, "z": 0.75}, "center": {"x": 0, "y": 0, "z": -0.2}}
    figure.update_layout(
        scene={name: {"title": {"text": text}} for name, text in axes.items()} | {"aspectmode": "data", "camera": camera},
        coloraxis={
            "colorscale": "Viridis", "cmin": peak - BANDS[-1], "cmax": peak,
            "colorbar": {"title": {"text": "dB"}, "thickness": 12, "len": 0.7},
        },
        legend={"orientation": "h", "y": 0, "yanchor": "top", "itemsizing": "constant"},
    )  # fmt: skip
    return _plain(figure)


def _bands(view: SceneView) -> list["plotly.graph_objects.Scatter3d"]:
    go, below = _plotly(), view.level[0] - view.level
    traces, low = [], -1.0
    for end, opacity in zip(BANDS, _OPACITY, strict=True):
        chosen = (below > low) & (below <= end)
        look = {"size": 3, "color": view.level[chosen].numpy(), "coloraxis": "coloraxis", "opacity": opacity}
        words = "%{marker.color:.1f} dB<extra>MUSIC</extra>"
        traces.append(
            go.Scatter3d(
                **_drawn(view.points[chosen]), mode="markers", marker=look, meta={"within_db": end},
                showlegend=False, hovertemplate=words,
            )
        )  # fmt: skip
        low = float(end)
    return traces


def _sources(view: SceneView) -> list["plotly.graph_objects.Scatter3d"]:
    go, found = _plotly(), view.found
    elements = torch.nn.functional.pad(view.setup.surface.array.elements, (0, 1))
    dots = {"symbol": "square", "size": 2.5, "color": _GREY}
    traces = [go.Scatter3d(**_drawn(elements), mode="markers", marker=dots, name="element", hoverinfo="skip")]
    if view.truth is not None:
        place = _drawn(position_of(view.truth))
        traces.append(go.Scatter3d(**place, mode="markers", marker=_TRUTH, name="true source", hovertemplate=_HOVER))
    for good, look in _FOUND.items():
        slots = _slots(view, good)
        marker = look | {"size": 6}
        name = {"name": _WORDS[good], "legendgroup": _WORDS[good]}
        place = _drawn(found.position[0, slots])
        traces.append(go.Scatter3d(**place, mode="markers", marker=marker, hovertemplate=_HOVER, **name))
        if good:
            line = {"color": VERMILION, "width": 5}
            bars = _drawn(_bars(view, slots))
            traces.append(go.Scatter3d(**bars, mode="lines", line=line, hoverinfo="skip", showlegend=False, **name))
    return [*traces, *_echoes(view)]


def _echoes(view: SceneView) -> list["plotly.graph_objects.Scatter3d"]:
    """Draw the echoes in space; without echoes there is no trace."""
    image, source = _images(view)
    if not len(image):
        return []
    drawn, name = drawn_images(image, source), {"name": ECHO, "legendgroup": ECHO}
    lines = _plotly().Scatter3d(
        **_drawn(joints(drawn, source)), mode="lines", line=_JOINT, hoverinfo="skip", showlegend=False, **name
    )
    hover = "x %{customdata[0]:.2f}, y %{customdata[1]:.2f}, z %{customdata[2]:.2f} m"
    marks = _plotly().Scatter3d(
        **_drawn(drawn),
        mode="markers",
        marker=_ECHO | {"size": 4},
        customdata=image.numpy(),
        hovertemplate=hover,
        **name,
    )
    return [lines, marks]


def _images(view: SceneView) -> tuple[Tensor, Tensor]:
    """Return the positions of the images, and that of the source of each."""
    echoes, position = view.found.echoes, view.found.position[0]
    if echoes is None:
        return position[:0], position[:0]
    present = echoes.present[0]
    return echoes.position[0][present], position[present.nonzero()[:, 0]]


def direction_figure(view: SceneView) -> "plotly.graph_objects.Figure":
    """Draw the spectrum over (u, v) at the range of the strongest estimate, with all sources and their echoes, whatever
    their range.

    Parameters
    ----------
    view
        The scene.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.
    """
    go, slices = _plotly(), view.slices
    figure = go.Figure(
        go.Heatmap(
            x=slices.u.numpy(), y=slices.v.numpy(), z=slices.directions.numpy(), colorscale="Viridis",
            colorbar={"title": {"text": "dB"}, "thickness": 12},
            hovertemplate="u %{x:.2f}, v %{y:.2f}: %{z:.1f} dB<extra></extra>",
        )
    )  # fmt: skip
    if view.truth is not None:
        polar = polar_of(view.truth)
        look = _TRUTH | {"color": "white", "line": {"width": 2, "color": "white"}}
        figure.add_scatter(
            x=polar[:, 0].numpy(), y=polar[:, 1].numpy(), mode="markers", marker=look, name="true source"
        )
    for good, look in _FOUND.items():
        polar = polar_of(view.found.location[0, _slots(view, good)])
        marker = look | {"size": 9} | ({} if good else {"color": "white"})
        figure.add_scatter(
            x=polar[:, 0].numpy(), y=polar[:, 1].numpy(), mode="markers", marker=marker, name=_WORDS[good]
        )
    _add_echo_directions(figure, view)
    axes = {
        name: {"title": {"text": name}, "range": [float(x[0]), float(x[-1])]}
        for name, x in (("u", slices.u), ("v", slices.v))
    }
    figure.update_layout(xaxis=axes["u"], yaxis=axes["v"], showlegend=False)
    return _plain(figure)


def _add_echo_directions(figure: "plotly.graph_objects.Figure", view: SceneView) -> None:
    image, source = _images(view)
    if len(image):
        u_v = [(x / x.norm(dim=-1, keepdim=True))[:, :2] for x in (image, source)]
        lines = joints(*u_v)
        figure.add_scatter(
            x=lines[:, 0].numpy(), y=lines[:, 1].numpy(), mode="lines+markers", line=_JOINT,
            marker=_ECHO | {"size": [0, 6, 0] * len(image)}, name=ECHO, hoverinfo="skip",
        )  # fmt: skip


def range_figure(view: SceneView) -> "plotly.graph_objects.Figure":
    """Draw the spectrum over 1/r in the direction of the strongest estimate, which is marked with its standard deviation.

    Parameters
    ----------
    view
        The scene.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.
    """
    slices = view.slices
    figure = _plotly().Figure()
    figure.add_scatter(
        x=slices.w.numpy(), y=slices.ranges.numpy(), mode="lines", line={"color": BLUE}, showlegend=False,
        customdata=(1 / slices.w).numpy(), hovertemplate="r = %{customdata:.2f} m: %{y:.1f} dB<extra></extra>",
    )  # fmt: skip
    if bool(view.found.present.any()):
        _mark_range(figure, view)
    figure.update_layout(xaxis={"title": {"text": "1/r [1/m]"}}, yaxis={"title": {"text": "dB"}})
    return _plain(figure)


def _mark_range(figure: "plotly.graph_objects.Figure", view: SceneView) -> None:
    w = float(view.slices.through[2])
    nearest = (polar_of(view.found.location[0])[:, 2] - w).abs().nan_to_num(torch.inf).argmin()
    std = float(view.found.location_std[0, nearest, 2]) * w * w  # standard deviation of 1/r
    words = {"text": f"r = {1 / w:.2f} m", "xanchor": "left", "yanchor": "bottom", "font": {"color": VERMILION}}
    figure.add_vline(
        x=w, line={"color": VERMILION, "dash": "dash"}, annotation=words, annotation_position="bottom right"
    )
    if math.isfinite(std):
        figure.add_vrect(x0=w - std, x1=w + std, fillcolor=VERMILION, opacity=0.2, line_width=0)


def codebook_figure(view: SceneView) -> "plotly.graph_objects.Figure":
    """Draw the phase of each element (across, n = ix + n_h iy) in each of the first snapshots (down).

    Parameters
    ----------
    view
        The scene.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.
    """
    phase = view.codebook[:MOST_CODES].angle().rad2deg()
    figure = _plotly().Figure()
    figure.add_heatmap(
        z=phase.round().short().numpy(), zmin=-180, zmax=180, colorscale="Twilight", y0=1,
        colorbar={"title": {"text": "deg"}, "thickness": 12, "tickvals": [-180, -90, 0, 90, 180]},
        hovertemplate="element %{x}, snapshot %{y}: %{z} deg<extra></extra>",
    )  # fmt: skip
    figure.update_layout(
        xaxis={"title": {"text": "element n"}}, yaxis={"title": {"text": "snapshot l"}, "autorange": "reversed"}
    )
    return _plain(figure)


_HOVER = "x %{x:.3f}, y %{z:.3f}, z %{y:.3f} m"


def _slots(view: SceneView, resolved: bool) -> Tensor:
    return torch.nonzero(view.found.present[0] & (view.found.resolved[0] == resolved)).flatten()


def _bars(view: SceneView, slots: Tensor) -> Tensor:
    """Return the ends of bars of one standard deviation of range to both sides, along the ray, with a gap after each bar."""
    ends = view.found.location[0, slots, None].repeat(1, 3, 1)
    std = view.found.location_std[0, slots, 2]
    ends[..., 2] += torch.stack([-std, std, torch.full_like(std, torch.nan)], dim=1)
    return position_of(ends).flatten(0, 1)


def _drawn(position: Tensor) -> _Look:
    """Return the coordinates for the figure, whose vertical axis is y."""
    x, y, z = position.float().numpy().T
    return {"x": x, "y": z, "z": y}


def _plain(figure: "plotly.graph_objects.Figure") -> "plotly.graph_objects.Figure":
    figure.update_layout(template="none", margin={"l": 48, "r": 8, "t": 8, "b": 40}, font={"size": 12})
    figure.update_xaxes(zeroline=False)
    figure.update_yaxes(zeroline=False)
    return figure


def _plotly() -> typing.Any:
    import plotly.graph_objects

    return plotly.graph_objects
