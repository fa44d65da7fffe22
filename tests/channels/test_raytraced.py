"""The ray tracer itself: exact spherical waves, reciprocity, an image source, and sources located in a traced room."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from oracle import elements, steering

from risloc.cli.main import run
from risloc.config import ParamError
from risloc.io.measurement_reader import MeasurementReader
from risloc.performance.crb import stochastic_bound
from risloc.physics.geometry import location_of, position_of
from risloc.scenes.batch import Observation
from risloc.scenes.raytraced_simulation import simulate_in, trace_channel, trace_waves
from risloc.scenes.raytracer import RayTracerError, trace
from risloc.scenes.room import read_room
from risloc.scenes.simulation import simulate

pytestmark = pytest.mark.channels

POSITIONS = np.array([[0.3, 0.2, 1.1], [-0.5, -0.1, 0.7], [1.0, 0.4, 2.5]])


@pytest.fixture(scope="module")
def empty():
    """No face at all, M = 4 close to the surface."""
    room = dataclasses.replace(read_room("hall"), faces={}, max_depth=0, bs_columns=2, bs_rows=2)
    return dataclasses.replace(room, bs_position_m=(0.4, 0.5, 1.5), bs_yaw_deg=20.0, bs_spacing=0.5)


def location(positions):
    x, y, z = torch.from_numpy(positions).unbind(-1)
    r = (x**2 + y**2 + z**2).sqrt()
    return location_of(torch.stack([x / r, y / r, 1 / r], -1))


def surface(s):
    return elements(s.n_h, s.n_v, s.wavelength, s.reference)


def free_space(s, tx, rx):
    """[rx, tx]: wavelength / (4 pi d) exp(-j 2 pi d / wavelength)."""
    d = np.linalg.norm(rx[:, None] - tx[None], axis=-1)
    return s.wavelength / (4 * np.pi * d) * np.exp(-2j * np.pi * d / s.wavelength)


def test_a_line_of_sight_is_the_exact_spherical_wave(empty, small_scenario):
    s = small_scenario
    W = trace_waves(empty, s.surface.array, location(POSITIONS))[0].numpy()
    for k, where in enumerate(location(POSITIONS).numpy()):
        assert np.abs(W[:, k] - steering(surface(s), s.wavelength, *where)).max() < 1e-3


def test_the_channel_is_of_spherical_waves_with_unit_mean_square(empty, small_scenario):
    s = small_scenario
    H = trace_channel(empty, s.surface.array)[0].numpy()
    expected = free_space(s, surface(s), empty.antenna_positions(s.wavelength).numpy())
    expected /= np.sqrt(np.mean(np.abs(expected) ** 2))
    assert np.abs(H - expected).max() < 1e-3 * np.abs(expected).max()


def test_paths_are_reciprocal(small_scenario):
    """Between points amid two walls of concrete, two reflections: the same coefficients both ways."""
    points, corners = POSITIONS[:, [2, 0, 1]], np.array([[0, 0, 0], [0, 3, 0], [0, 3, 2], [0, 0, 2]])
    faces = [("concrete", corners + np.array([x, -1.5, -1.0])) for x in (-0.5, 4.0)]
    forth, back = (
        trace(faces, tx, rx, carrier_hz=small_scenario.carrier_hz, max_depth=2, thickness_m=0.1)
        for tx, rx in ((points[:1], points[1:]), (points[1:], points[:1]))
    )
    assert (np.abs(forth) > 0).all()
    assert np.abs(forth - back.transpose(0, 2, 1)).max() < 1e-4 * np.abs(forth).max()


def test_a_metal_wall_adds_the_image_source_with_the_opposite_sign(empty, small_scenario):
    """In a room turned by 25 degrees: E along a perfect conductor is zero, so the image of a vertical wave is -1 times it."""
    s, yaw = small_scenario, np.radians(25.0)
    room = dataclasses.replace(empty, faces={"left": "metal"}, x_span_m=(-2.0, 5.0), yaw_deg=25.0, max_depth=1)
    normal = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])  # the wall: normal . p = -2
    images = POSITIONS - 2 * (POSITIONS @ normal + 2.0)[:, None] * normal
    direct, mirrored = free_space(s, POSITIONS, surface(s)), free_space(s, images, surface(s))
    r = np.linalg.norm(POSITIONS, axis=1)
    expected = (direct - mirrored) / np.abs(direct) * np.exp(2j * np.pi * r / s.wavelength)
    W = trace_waves(room, s.surface.array, location(POSITIONS)).numpy()
    assert np.abs(mirrored / direct).min() > 0.1
    assert np.abs(W[1] - expected).max() < 5e-3
    assert np.abs(W[0] - W[1]).max() > 0.1


@pytest.mark.parametrize(("material", "elevation_deg", "error"), [("metal", 25.0, 0.06), ("concrete", 5.0, 0.08)])
def test_a_room_of_the_echo_law_has_the_waves_that_are_traced_in_it(
    empty, small_scenario, material, elevation_deg, error
):
    """Walls without reflections from behind, thick enough to be half-spaces; what is left is the spreading along the surface
    and, for concrete, the rotation of the polarisation, which are relative to the echoes, of up to two reflections."""
    law = dataclasses.replace(
        small_scenario.echoes, law="room", paths=24, side_span_m=(5.5, 5.5), height_span_m=(2.5, 2.5), materials=(material,),
        front_span_m=(6.0, 6.0), behind_span_m=(1e4, 1e4), yaw_span_deg=(0.0, 0.0),
    )  # fmt: skip
    s = dataclasses.replace(
        small_scenario, distance_span_m=(3.0, 5.0), elevation_span_deg=(-elevation_deg, elevation_deg), echoes=law
    )
    truth = simulate(s, seed=3, split="test", start=0, stop=2, count=3).truth
    faces = dict.fromkeys(("left", "right", "floor", "ceiling", "front"), material)
    spans = {"x_span_m": (-5.5, 5.5), "y_span_m": (-2.5, 2.5), "z_span_m": (-1.0, 6.0)}
    room = dataclasses.replace(empty, faces=faces, thickness_m=50.0, max_depth=2, **spans)
    direct, arriving = truth.steering(s.surface.array), truth.arriving(s.surface.array)
    for row in range(2):
        traced = trace_waves(room, s.surface.array, truth.location[row]).numpy()
        echoes, expected = (arriving - direct)[row].numpy(), traced[2] - traced[0]
        assert np.abs(traced[0] - direct[row].numpy()).max() < 1e-3
        assert np.linalg.norm(echoes - expected, axis=0).max() < error * np.linalg.norm(expected, axis=0).max()
        assert np.abs(expected).max() > 0.2


def test_a_traced_file_is_read_and_its_sources_are_found_at_the_bound(tmp_path, scenario):
    file, found = tmp_path / "room.h5", tmp_path / "found.json"
    assert run(["trace", str(file), "--depth", "0", "--scenes", "8", "--snr", "20", "--sources", "2"]) == 0
    assert run(["locate", str(file), "--sources", "2", "--json", str(found)]) == 0
    with MeasurementReader(file) as reader:
        part = reader.read(slice(0, 8))
    truth = part.truth
    seen = Observation(y=part.y, codebook=part.codebook, H=part.H, noise_var=part.noise_var)
    bound = stochastic_bound(scenario.surface, seen, truth.location, truth.power)
    near = 0
    for row, scene in enumerate(json.loads(found.read_text(encoding="utf-8"))["scenes"]):
        places = torch.tensor([[source[f"{axis}_m"] for axis in "xyz"] for source in scene["sources"]])
        error = torch.cdist(position_of(truth.location[row, :2]), places.float()).amin(1)
        near += int((error < 3 * bound.position[row, :2]).sum())
    assert near >= 15  # of 16: more than 3 deviations off has a probability below .01 each


def test_reflections_change_the_snapshots_and_nothing_that_is_known(small_scenario, empty):
    walls = dict.fromkeys(("floor", "left"), "concrete")
    room = dataclasses.replace(empty, faces=walls, max_depth=1)
    H = trace_channel(room, small_scenario.surface.array)
    one, other = (
        simulate_in(each, H[1], small_scenario, seed=1, split="test", start=0, stop=3, count=2)
        for each in (room, dataclasses.replace(room, max_depth=0))
    )
    assert (one.observation.H == other.observation.H).all()
    assert (one.truth.location == other.truth.location).all()
    assert not torch.allclose(one.observation.y, other.observation.y, rtol=0.01)


def test_what_cannot_be_traced_is_said_in_one_line(empty, small_scenario, scenario, tmp_path, monkeypatch, capsys):
    H = torch.ones(4, 16, dtype=torch.complex64)
    with pytest.raises(RayTracerError, match=r"ray tracer failed with exit code 1: .*cheese"):
        trace_channel(dataclasses.replace(empty, faces={"left": "cheese"}), small_scenario.surface.array)
    with pytest.raises(ParamError, match="expected the scenario's 16 antennas, got 4"):
        simulate_in(empty, H, scenario, seed=1, split="test", start=0, stop=1)
    narrow = dataclasses.replace(empty, z_span_m=(-0.1, 1.6), x_span_m=(-0.2, 0.6))
    with pytest.raises(ValueError, match=r"scene \d+: a source at .* is outside the room"):
        simulate_in(narrow, H, small_scenario, seed=1, split="test", start=0, stop=20)
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", str(tmp_path / "nothing"))
    assert run(["trace", str(tmp_path / "room.h5")]) == 3
    said = capsys.readouterr().err
    assert "install Debian's package libllvm19" in said
    assert len(said.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
