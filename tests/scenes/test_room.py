"""A room's geometry, and scenes received through any H and waves; the tracer itself is tested in tests/channels."""

import dataclasses
from xml.etree import ElementTree

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from risloc.cli.main import run
from risloc.config import ParamError, as_mapping
from risloc.physics.geometry import polar_of, position_of
from risloc.physics.steering import steering_matrix
from risloc.scenes import raytracer
from risloc.scenes.raytraced_simulation import received
from risloc.scenes.raytracer import RayTracerError, find_llvm
from risloc.scenes.room import FACES, Room, read_room, room_names, shoebox
from risloc.scenes.simulation import simulate


@pytest.fixture(scope="module")
def hall():
    return read_room("hall")


def test_the_hall_holds_every_source_of_the_default_scenario(hall, scenario):
    scenes = simulate(scenario, seed=3, split="test", start=0, stop=500)
    assert hall.contains(position_of(scenes.truth.location[scenes.truth.present])).all()
    assert hall.antennas == scenario.antennas
    assert room_names() == ["hall"]


@given(yaw=st.floats(-180, 180), faces=st.sets(st.sampled_from(sorted(FACES))))
def test_walls_enclose_what_the_room_contains(yaw, faces):
    room = dataclasses.replace(
        read_room("hall"), bs_position_m=(0.0, 0.0, 0.0), yaw_deg=yaw, faces=dict.fromkeys(faces, "wood")
    )
    walls = shoebox(room)
    assert len(walls) == len(faces)
    for material, corners in walls:
        assert material == "wood"
        assert not room.contains(1.001 * corners).any()
        assert room.contains(0.999 * corners).all()
        edges = corners.roll(-1, 0) - corners
        assert torch.allclose((edges * edges.roll(1, 0)).sum(-1), torch.zeros(4).double(), atol=1e-9)


def test_antennas_stand_around_their_place(hall):
    turned = dataclasses.replace(hall, bs_yaw_deg=90.0, bs_columns=3, bs_rows=2, bs_spacing=0.5)
    at = turned.antenna_positions(0.4) - torch.tensor(turned.bs_position_m, dtype=torch.float64)
    expected = [[0, y, z] for y in (-0.1, 0.1) for z in (0.2, 0.0, -0.2)]
    assert torch.allclose(at, torch.tensor(expected, dtype=torch.float64), atol=1e-12)


BAD = {
    "x_span_m": ((1.0, 5.0), "expected [low, high] with low < 0 < high"),
    "faces": ({"roof": "wood"}, "expected some of left, right, floor, ceiling, behind, front, got 'roof'"),
    "bs_position_m": ((0.0, 0.0, 9.0), "expected a position in the room"),
    "bs_rows": (
        512,
        "bs_columns, bs_rows: expected at most 1024 antennas, got 4 x 512; reduce the number of rows or columns",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_an_invalid_room_is_rejected(hall, name):
    value, words = BAD[name]
    with pytest.raises(ParamError) as error:
        dataclasses.replace(hall, **{name: value})
    assert words in str(error.value)


@pytest.mark.parametrize(
    "material", ['a"/><include filename="/tmp/x"/><bsdf id="', "", "wood\n", "wood panel", "é", "x" * 65, "&lt;"]
)
def test_a_material_is_a_plain_name(hall, material):
    with pytest.raises(
        ParamError, match=r"faces\.left: expected the name of a material, at most 64 letters, digits, - and _"
    ):
        dataclasses.replace(hall, faces={"left": material})


def test_what_the_tracer_reads_is_escaped():
    """Also from those who call it with faces of their own: the scene has no element but ours."""
    corners = torch.tensor([[0, 0, 0], [0, 3, 0], [0, 3, 2], [0, 0, 2]]).numpy()
    name = 'a"/><include filename="/tmp/x"/><bsdf id="'
    scene = ElementTree.fromstring(raytracer._xml([(name, corners)], 0.1))
    assert {each.tag for each in scene.iter()} == {
        "scene",
        "bsdf",
        "string",
        "float",
        "shape",
        "transform",
        "matrix",
        "ref",
    }
    assert scene.find("bsdf").get("id") == scene.find("shape/ref").get("id") == name


BOUNDS = {
    "x_span_m": [-1e5, 5.0], "y_span_m": [-1.0, 1e5], "z_span_m": [-1.0, 1e300], "yaw_deg": 1e9, "thickness_m": 1e3,
    "max_depth": 11, "bs_position_m": [0.0, 0.0, 1e9], "bs_yaw_deg": -1e9, "bs_columns": 10**9, "bs_rows": 10**9,
    "bs_spacing": 1e9,
}  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Room) if field.name != "faces"])
def test_every_value_of_a_room_file_has_bounds(hall, tmp_path, name):
    path = tmp_path / "room.yaml"
    path.write_text(yaml.safe_dump(as_mapping(hall) | {name: BOUNDS[name]}), encoding="utf-8")
    with pytest.raises(ParamError, match=rf"room\.yaml\.{name}: expected a value >=? .* and <= "):
        read_room(str(path))


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"bs_columns": 10**9, "bs_rows": 10**9}, [], "bs_columns: expected a value >= 1 and <= 1024, got 1000000000"),
        ({"bs_rows": 3}, [], "bs_columns, bs_rows: expected the scenario's 16 antennas, got 12; change the room"),
        (
            {},
            ["--preset", "robust"],
            "mismatch: expected a scenario without mismatch, because the room has its own paths",
        ),
        ({}, ["--preset", "hall"], "echoes.law: expected 'none', because the room has its own paths, got 'room'"),
        (
            {"faces": {"left": 'a"/><include filename="/etc/passwd"/>'}},
            [],
            "faces.left: expected the name of a material",
        ),
    ],
)
def test_a_room_that_does_not_fit_is_refused_before_the_tracer_is_asked(
    hall, tmp_path, capsys, changes, options, words
):
    path = tmp_path / "room.yaml"
    path.write_text(yaml.safe_dump(as_mapping(hall) | changes), encoding="utf-8")
    assert run(["trace", str(tmp_path / "m.h5"), "--room", str(path), *options]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["room.yaml"]


def test_received_is_the_scene_s_own_formula(scenario):
    """Through the H and the steering vectors that the simulation had, only the noise is another draw."""
    scenes = simulate(scenario, seed=1, split="test", start=5, stop=9, snr_db=200.0)
    truth = scenes.truth
    W = steering_matrix(scenario.surface.array, polar_of(torch.where(truth.present[..., None], truth.location, 1.0)))
    for row in range(4):
        one = scenes[row : row + 1]
        again = received(one, scenario, one.observation.H[0], W[row : row + 1], seed=1, split="test", start=5 + row)
        assert torch.allclose(
            again.observation.y, one.observation.y, rtol=0, atol=1e-4 * float(one.observation.y.abs().max())
        )
        assert torch.allclose(again.observation.noise_var, one.observation.noise_var, rtol=1e-3)


def test_the_noise_is_a_scene_s_own_and_has_its_variance(scenario):
    scenes = simulate(scenario, seed=1, split="test", start=0, stop=40, snr_db=0.0)
    H, W = scenes.observation.H[0], torch.zeros(40, scenario.size, scenario.K_MAX, dtype=torch.complex64)
    silent = dataclasses.replace(scenes.truth, count=torch.zeros(40, dtype=torch.int64))
    scenes = dataclasses.replace(scenes, truth=silent)
    o = received(scenes, scenario, H, W, seed=1, split="test", start=0).observation
    later = received(scenes[30:], scenario, H, W[30:], seed=1, split="test", start=30).observation
    assert (o.y[30:] == later.y).all()
    assert torch.allclose(o.noise_var, H.abs().square().sum() / scenario.antennas)
    ratio = float((o.y.abs().square() / o.noise_var[:, None, None]).mean())
    assert ratio == pytest.approx(1.0, abs=4 / o.y.numel() ** 0.5)


def test_without_llvm_19_one_line_says_what_to_install(monkeypatch, tmp_path):
    for path in (tmp_path / "libLLVM.so.19.1", tmp_path / "libLLVM.so.15"):
        monkeypatch.setenv("DRJIT_LIBLLVM_PATH", str(path))
        if "15" in path.name:
            path.touch()
        with pytest.raises(
            RayTracerError, match=r"LLVM 19: expected libLLVM\.so\.19\.1 .* install Debian's package libllvm19"
        ):
            find_llvm()
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", str(tmp_path / "libLLVM-19.so"))
    (tmp_path / "libLLVM-19.so").touch()
    assert find_llvm() == tmp_path / "libLLVM-19.so"


def test_without_the_tracer_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(raytracer.importlib.util, "find_spec", lambda name: None)
    point = torch.zeros(1, 3).numpy()
    with pytest.raises(RayTracerError, match=r"sionna-rt: .* pip install 'risloc\[channels\]'"):
        raytracer.trace([], point, point, carrier_hz=1e9, max_depth=0, thickness_m=0.1)
