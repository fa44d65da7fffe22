"""Figures show what they were given: positions in space, phases, spectra at the right places; files are whole and alike."""

import dataclasses
import math
import sys

import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from risloc.estimation.spectrum import music_spectrum
from risloc.physics.geometry import polar_of, position_of
from risloc.physics.steering import steering_matrix
from risloc.plotting import echo_places, figure_files, static
from risloc.scenes.simulation import simulate
from stages.reporting.loss_figures import plot_losses

FOUND = torch.tensor([[0.3, -0.1, 2.0], [-0.5, 0.2, 4.0]])


def test_a_scene_has_its_sources_where_they_are(scenario):
    figure = static.plot_scene(scenario.surface.array, FOUND, estimate=FOUND, distance_std=torch.tensor([0.1, 0.5]))
    (axis,) = figure.axes
    elements, sources, estimates = axis.collections
    p = position_of(FOUND).numpy()
    for drawn in (sources, estimates):
        x, y, z = (np.asarray(each) for each in drawn._offsets3d)
        np.testing.assert_allclose(np.sort(x), np.sort(p[:, 0]), rtol=1e-6)
        np.testing.assert_allclose(np.sort(y), np.sort(p[:, 2]), rtol=1e-6)
        np.testing.assert_allclose(np.sort(z), np.sort(p[:, 1]), rtol=1e-6)
    assert len(elements._offsets3d[0]) == scenario.size
    bars = [line for line in axis.lines if line.get_linewidth() == 1.6]
    lengths = [float(np.linalg.norm(np.diff(np.array(bar.get_data_3d()), axis=1))) for bar in bars]
    assert lengths == pytest.approx([0.2, 1.0], rel=1e-5)


def test_echoes_are_joined_to_their_estimates_and_far_ones_keep_their_direction(scenario):
    images = torch.full((2, 2, 3), torch.nan)
    images[0, 0] = torch.tensor([0.2, 0.3, 5.0])
    images[1] = torch.tensor([[-0.4, 0.1, 6.0], [0.5, -0.2, 40.0]])
    array, how = scenario.surface.array, {"estimate": FOUND, "distance_std": torch.tensor([0.1, 0.5])}
    with_echoes, without = (static.plot_scene(array, FOUND, echoes=each, **how).axes[0] for each in (images, None))
    assert len(with_echoes.collections) == len(without.collections) + 1
    assert len(with_echoes.lines) == len(without.lines) + 1
    none = static.plot_scene(array, FOUND, echoes=torch.full_like(images, torch.nan), **how).axes[0]
    assert len(none.collections) == len(without.collections)
    images[1, 1, 2] = echo_places.FARTHEST * 4.0  # the farthest source is 4 m away
    x, z, y = (np.asarray(each) for each in with_echoes.collections[-1]._offsets3d)
    drawn = np.stack([x, y, z], axis=1)
    expected = position_of(images[[0, 1, 1], [0, 0, 1]]).numpy()
    np.testing.assert_allclose(drawn[np.argsort(x)], expected[np.argsort(expected[:, 0])], rtol=1e-5)
    x, z, y = with_echoes.lines[-1].get_data_3d()
    corners = np.stack([x, y, z], axis=1).reshape(3, 3, 3)
    np.testing.assert_allclose(corners[:, 0], position_of(FOUND[[0, 1, 1]]).numpy(), rtol=1e-6)
    np.testing.assert_allclose(corners[:, 1], expected, rtol=1e-5)
    assert with_echoes.get_legend().get_texts()[-1].get_text() == echo_places.ECHO


def test_a_codebook_s_panels_are_its_phases(scenario, generator):
    phase = torch.rand(6, scenario.size, generator=generator, dtype=torch.float64) * 2 * math.pi - math.pi
    figure = static.plot_codebook(torch.polar(torch.ones_like(phase), phase), scenario.n_h, scenario.n_v, most=5)
    panels = [axis for axis in figure.axes if axis.images]
    assert len(panels) == 5
    element = 3 + 2 * scenario.n_h  # row-major, x fastest
    assert panels[4].images[0].get_array()[2, 3] == pytest.approx(math.degrees(phase[4, element]))
    with pytest.raises(ValueError, match=r"codebook: expected codes of 4 x 4 = 16 elements, got 144"):
        static.plot_codebook(torch.ones(1, 144, dtype=torch.complex64), 4, 4)


def test_a_spectrum_is_highest_at_the_source(scenario):
    """MUSIC of one source's own steering vector: the brightest pixel of both slices is the pixel of the source."""
    array, domain = scenario.surface.array, scenario.surface.domain
    place = torch.tensor([[0.4, 0.1, 2.5]])
    through = polar_of(place)[0]
    U = steering_matrix(array, through[None]) / array.size**0.5
    figure = static.plot_spectrum(
        lambda p: music_spectrum(steering_matrix(array, p), U),
        domain,
        through,
        location=place,
        estimate=place,
        pixels=41,
    )
    for axis, row in zip(figure.axes[:2], (1, 2), strict=True):
        image = axis.images[0].get_array()
        left, right, low, high = axis.images[0].get_extent()
        y, x = np.unravel_index(np.nanargmax(image), image.shape)
        pixel = (right - left) / 40, (high - low) / 40
        assert abs(left + x * pixel[0] - float(through[0])) <= pixel[0]
        assert abs(low + y * pixel[1] - float(through[row])) <= 2 * pixel[1]
        assert [tuple(c.get_offsets()[0]) for c in axis.collections] == [
            pytest.approx((float(through[0]), float(through[row])))
        ] * 2


def test_a_fixed_coordinate_is_shown_too(scenario):
    line = dataclasses.replace(scenario, elevation_span_deg=(0.0, 0.0))
    figure = static.plot_spectrum(lambda p: p[:, 0].exp(), line.surface.domain, torch.tensor([0.0, 0.0, 0.5]), pixels=9)
    assert figure.axes[0].get_ylim() == pytest.approx((-0.1, 0.1))


def test_curves(tmp_path):
    figure = static.plot_curves([1, 2], {"train": [1.0, 0.5], "validation": [1.1, 0.7]}, xlabel="epoch", ylabel="NMSE")
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["train", "validation"]
    assert len({to_rgb(line.get_color()) for line in lines}) == len({line.get_marker() for line in lines}) == 2
    with pytest.raises(ValueError, match=r"train: expected 3 values, one for each x, got 1"):
        static.plot_curves([1, 2, 3], {"train": [1.0]}, xlabel="", ylabel="")


def test_thirty_curves_look_different():
    figure = static.plot_curves([1], {str(i): [1.0] for i in range(30)}, xlabel="", ylabel="")
    assert len({(line.get_color(), line.get_marker()) for line in figure.axes[0].lines}) == 30


def test_every_term_of_a_loss_is_drawn():
    """Nine terms of weight, more than there are colours, and one of none."""
    values = {f"weighted_loss_{i}": float(i) for i in range(10)}
    row = {"epoch": 1.0} | {f"{split}/{name}": value for split in ("train", "val") for name, value in values.items()}
    axis = plot_losses({"training": [row, row | {"epoch": 2.0}]}).axes[0]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [str(i) for i in range(1, 10)]
    assert len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in axis.lines}) == 18


@pytest.mark.parametrize("ending", figure_files.FORMATS)
def test_the_same_scene_is_the_same_file(scenario, tmp_path, ending):
    scene = simulate(scenario, seed=1, split="test", start=0, stop=1)
    for name in ("a", "b"):
        figure = static.plot_scene(scenario.surface.array, scene.truth.location[scene.truth.present])
        figure_files.save_figure(figure, tmp_path / f"{name}{ending}")
    first, second = ((tmp_path / f"{name}{ending}").read_bytes() for name in ("a", "b"))
    assert first == second
    assert first.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[ending])
    if ending == ".png":
        assert matplotlib.image.imread(tmp_path / "a.png").std() > 0.01


def test_another_format_is_refused(tmp_path):
    figure = static.plot_curves([1], {"a": [1.0]}, xlabel="", ylabel="")
    with pytest.raises(
        ValueError, match=r"a\.gif: expected a name that ends in one of \.pdf, \.png, \.svg, got '\.gif'"
    ):
        figure_files.save_figure(figure, tmp_path / "a.gif")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"figures need matplotlib, which is not installed: pip install 'risloc\[figures\]'"
    ):
        static.plot_curves([1], {"a": [1.0]}, xlabel="", ylabel="")
