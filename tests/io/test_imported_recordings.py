"""Recordings that hold no more than samples, and those of the OpenRIS panel, become measurements."""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from risloc.cli.main import run
from risloc.io.measurement_checks import MeasurementError
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.measurement_writer import write_measurements
from risloc.io.measurements import measurements_of
from risloc.io.openris import openris_measurements, read_openris
from risloc.io.reading_options import Reading
from risloc.io.reception import Reception
from risloc.locating.found import Found
from risloc.locating.locate import locate
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate

Capture = pytest.CaptureFixture[str]
SCENES = 3
BESIDE = next(Path(__file__).parents[3].glob("*/data/openris_small.npz"), None)
RECORDED = Path(os.environ["RISLOC_OPENRIS"]) if "RISLOC_OPENRIS" in os.environ else BESIDE
real_panel = pytest.mark.skipif(
    RECORDED is None,
    reason="RISLOC_OPENRIS does not name the recordings of the panel: no licence lets us ship them",
)


@pytest.fixture(scope="module")
def native(small_scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("native") / "native.h5"
    drawn = simulate(small_scenario, seed=3, split="test", start=0, stop=SCENES, snr_db=25.0)
    part = measurements_of(small_scenario, drawn)
    same = {"codebook": part.codebook[:1].expand_as(part.codebook), "H": part.H[:1].expand_as(part.H)}
    write_measurements(
        path,
        SCENES,
        [
            part.__class__(
                setup=part.setup, y=part.y, noise_var=part.noise_var.mean().expand(SCENES), truth=None, **same
            )
        ],
    )
    return path


def recorded(native: Path, folder: Path, datatype: str, **changes: Any) -> Path:
    """The snapshots of the native file as a recording, and a few samples of a scene that is not complete."""
    with MeasurementReader(native) as reader:
        part = reader.read(slice(0, SCENES))
    y = part.y.numpy().reshape(-1, part.y.shape[2])
    kinds = {"cf32_le": "<f4", "ci16_le": "<i2", "cf64_be": ">f8"}
    peak = 1.0 if datatype[1] == "f" else max(np.abs(y.real).max(), np.abs(y.imag).max()) / 32767
    samples = np.stack([y.real / peak, y.imag / peak], axis=-1)
    samples = np.concatenate([np.rint(samples) if datatype[1] == "i" else samples, samples[:2]])
    (folder / "room.sigmf-data").write_bytes(samples.astype(kinds[datatype]).tobytes())
    described = {"core:datatype": datatype, "core:num_channels": y.shape[1], "core:version": "1.2.5", **changes}
    captures = [{"core:sample_start": 0, "core:frequency": part.setup.carrier_hz}]
    path = folder / "room.sigmf-meta"
    path.write_text(json.dumps({"global": described, "captures": captures, "annotations": []}), encoding="utf-8")
    s = part.setup
    np.savez(folder / "surface.npz", noise_var=part.noise_var[0], H=part.H[0].numpy(), codes=part.codebook[0].numpy(), n_h=s.n_h, n_v=s.n_v, spacing_m=s.spacing_m,
             azimuth_span_deg=s.azimuth_span_deg, elevation_span_deg=s.elevation_span_deg, distance_span_m=s.distance_span_m)  # fmt: skip
    return path


@pytest.mark.parametrize("datatype", ["cf32_le", "ci16_le", "cf64_be"])
def test_a_recording_of_several_channels_has_the_positions_of_the_native_file(
    datatype: str, native: Path, tmp_path: Path, capsys: Capture
) -> None:
    path = recorded(native, tmp_path, datatype)
    options = ["--with", str(tmp_path / "surface.npz"), "--from", "sigmf"]
    assert run(["convert", str(path), str(tmp_path / "own.h5"), *options]) == 0
    assert "3 scenes of" in capsys.readouterr().out
    with MeasurementReader(native) as reader, MeasurementReader(tmp_path / "own.h5") as own:
        assert own.setup == reader.setup
        given, expected = own.read(slice(0, SCENES)), reader.read(slice(0, SCENES))
    found, wanted = (locate(each, most=2).position for each in (given, expected))
    torch.testing.assert_close(found, wanted, rtol=0, atol=5e-3, equal_nan=True, check_dtype=False)


def test_what_a_recording_lacks_is_said(native: Path, tmp_path: Path) -> None:
    for changes, said in (
        (
            {"core:datatype": "rf32_le"},
            "expected core:datatype to be complex, such as cf32_le or ci16_le, got 'rf32_le'",
        ),
        ({"core:num_channels": 0}, r"expected core:num_channels in 1\.\.1024"),
        ({"core:num_channels": 64}, "expected at least 6 samples, one for each code, got 1"),
    ):
        path = recorded(native, tmp_path, "cf32_le", **changes)
        with pytest.raises(MeasurementError, match=f"room.sigmf-meta: {said}"):
            MeasurementReader(path, Reading(beside=tmp_path / "surface.npz"))
    with pytest.raises(
        MeasurementError,
        match="expected codes, n_h and n_v from another file, got none; use `risloc convert --with FILE`",
    ):
        MeasurementReader(recorded(native, tmp_path, "cf32_le"))
    (tmp_path / "room.sigmf-data").unlink()
    with pytest.raises(MeasurementError, match=r"expected the samples in room\.sigmf-data beside it, got none"):
        MeasurementReader(path, Reading(beside=tmp_path / "surface.npz"))
    path.write_text("{", encoding="utf-8")
    with pytest.raises(MeasurementError, match="expected JSON that describes the recording"):
        MeasurementReader(path, Reading(beside=tmp_path / "surface.npz"))


def test_a_file_may_lend_another_what_it_lacks(native: Path, tmp_path: Path) -> None:
    recorded(native, tmp_path, "cf32_le")
    with MeasurementReader(native) as reader:
        expected = reader.read(slice(0, SCENES))
    np.savez(tmp_path / "y.npz", y=expected.y.numpy(), carrier_hz=expected.setup.carrier_hz)
    with MeasurementReader(tmp_path / "y.npz", Reading(beside=tmp_path / "surface.npz")) as reader:
        assert torch.equal(reader.read(slice(0, SCENES)).H, expected.H)
    with MeasurementReader(tmp_path / "y.npz", Reading(beside=native)) as reader:
        assert torch.equal(reader.read(slice(0, SCENES)).codebook, expected.codebook)


@pytest.fixture
def panel(tmp_path: Path) -> tuple[Path, Path]:
    """A panel as the authors lay it out, a folder, and the same numbers as a .npz file: 5 receivers, of which one has no files."""
    rng = np.random.default_rng(5)
    receivers, frequency, columns = (
        np.array([30, 60, 120, 150]),
        np.array([3.575e9, 3.58e9, 3.585e9]),
        rng.integers(1, 3, (11, 16)),
    )
    values = rng.normal(size=(4, 11, 3)) + 1j * rng.normal(size=(4, 11, 3))
    np.savez(
        tmp_path / "panel.npz", freq_hz=frequency, tx_90_VV=values, tx_90_VV_rx_deg=receivers, tx_90_VV_columns=columns
    )
    folder = tmp_path / "ff_singletile"
    for receiver, rows in zip(receivers, values, strict=True):
        (folder / "tx_90_VV" / f"rx_{receiver}").mkdir(parents=True)
        for number, row in enumerate(rows, start=1):
            lines = [
                "!CSV A.01.01",
                "",
                "BEGIN CH1_DATA",
                "Freq(Hz),S33(DB),S33(DEG),S34(DB),S34(DEG),S43(DB),S43(DEG)",
            ]
            for hertz, value in zip(frequency, row, strict=True):
                lines.append(
                    f"{hertz:.0f},-10,5,{20 * np.log10(abs(value)):.9g},{np.degrees(np.angle(value)):.9g},-60,7"
                )
            file = folder / "tx_90_VV" / f"rx_{receiver}" / f"{number}.csv"
            file.write_text("\n".join([*lines, "END", ""]), encoding="utf-8")
    (folder / "tx_90_VV" / "rx_90").mkdir()
    np.savetxt(tmp_path / "columns.csv", columns, fmt="%d", delimiter=",")
    return folder, tmp_path / "panel.npz"


def test_the_folder_and_the_arrays_of_a_panel_are_the_same_measurements(
    panel: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, arrays = panel
    options = ["--from", "openris", "--transmitter", "90"]
    assert run(["convert", str(folder), str(tmp_path / "a.h5"), *options, "--with", str(tmp_path / "columns.csv")]) == 0
    assert run(["convert", str(arrays), str(tmp_path / "b.h5"), *options]) == 0
    assert run(["convert", str(folder / "tx_90_VV"), str(tmp_path / "c.h5"), *options, "--with", str(arrays)]) == 0
    parts = []
    for name in ("a.h5", "b.h5", "c.h5"):
        with MeasurementReader(tmp_path / name) as reader:
            parts.append(reader.read(slice(0, 1)))
    for part in parts[1:]:
        assert part.setup == parts[0].setup
        for array in ("y", "H", "codebook"):
            torch.testing.assert_close(getattr(part, array), getattr(parts[0], array), rtol=1e-6, atol=1e-6)
    with np.load(arrays) as file:
        np.testing.assert_allclose(parts[1].y[0].numpy(), file["tx_90_VV"][:, :, 1].T)
        columns = file["tx_90_VV_columns"]
    np.testing.assert_allclose(
        parts[1].codebook[0].numpy(), np.tile(np.where(columns == 1, 1j, -1j), (1, 16)), atol=1e-6
    )
    assert parts[1].setup.carrier_hz == 3.58e9


def test_the_channel_of_a_panel_is_the_spherical_wave_of_each_receiver(panel: tuple[Path, Path]) -> None:
    part = openris_measurements(read_openris(panel[1], 90, None), 3.58e9)
    k, x, y = 2 * np.pi * 3.58e9 / 299_792_458.0, (3 - 7.5) * 0.03, (12 - 7.5) * 0.03
    angle = np.deg2rad(60)
    distance = np.linalg.norm([8.3 * np.cos(angle) - x, -y, 8.3 * np.sin(angle)])
    np.testing.assert_allclose(
        part.H[0, 1, 3 + 16 * 12].numpy(), 8.3 / distance * np.exp(-1j * k * distance), rtol=1e-6
    )
    np.testing.assert_allclose(part.truth.location[0, 0].numpy(), [0.0, 0.0, 8.3])


WRONG = {
    "another angle": (["--transmitter", "100"], "expected tx_100_VV_rx_deg, tx_100_VV_columns, tx_100_VV, got the transmitters 90; choose"),
    "no angle": ([], "expected the angle of the transmitter; give it with --transmitter"),
    "without effect": (["--transmitter", "90", "--conjugate"], "they have no effect with --from openris"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_a_panel_is_said(
    what: str, panel: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    options, said = WRONG[what]
    assert run(["convert", str(panel[1]), str(tmp_path / "a.h5"), "--from", "openris", *options]) in (1, 2)
    assert said in capsys.readouterr().err


def test_a_folder_says_what_it_lacks(panel: tuple[Path, Path], tmp_path: Path) -> None:
    folder, arrays = panel
    with pytest.raises(
        MeasurementError,
        match="expected the states of the columns, which the folder does not hold; give them with --with FILE",
    ):
        read_openris(folder, 90, None)
    with pytest.raises(MeasurementError, match=r"tx_75_VV: expected folders rx_0, rx_3"):
        read_openris(folder, 75, tmp_path / "columns.csv")
    (folder / "tx_90_VV" / "rx_60" / "4.csv").write_text("Freq(Hz),S11(DB)\n1,2\n", encoding="utf-8")
    with pytest.raises(MeasurementError, match=r"4\.csv: expected columns Freq\(Hz\), S34\(DB\), S34\(DEG\)"):
        read_openris(folder, 90, arrays)


@real_panel
@pytest.mark.parametrize(("angle", "receivers"), [(90, 60), (105, 61), (120, 60), (135, 60)])
def test_the_real_panel_is_read(angle: int, receivers: int) -> None:
    recording = read_openris(RECORDED, angle, None)
    assert recording.values.shape == (receivers, 11, 71)
    part = openris_measurements(recording, 3.58e9)
    assert part.y.shape == (1, 11, receivers)
    assert part.setup.carrier_hz == 3.58e9


@pytest.mark.parametrize("frequency", [1e9, 0.0, float("nan")])
def test_a_frequency_that_was_not_recorded_is_rejected(panel: tuple[Path, Path], frequency: float) -> None:
    with pytest.raises(MeasurementError, match=r"frequency: expected one in 3\.575e\+09\.\.3\.585e\+09 Hz"):
        openris_measurements(read_openris(panel[1], 90, None), frequency)


def test_states_that_are_not_whole_are_rejected(panel: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "states.csv").write_text("\n".join(["1.7 " * 16] * 11), encoding="utf-8")
    with pytest.raises(MeasurementError, match="states 1 or 2 of 16 columns"):
        read_openris(panel[0], 90, tmp_path / "states.csv")


def test_a_panel_has_a_constant_pilot_unknown_gains_and_a_static_path(panel: tuple[Path, Path]) -> None:
    part = openris_measurements(read_openris(panel[1], 90, None), 3.58e9)
    assert part.reception == Reception(pilots=True, unknown_gains="antenna", static_path=True)


def strongest_deg(found: Found) -> float:
    """Return the angle of the strongest source as the panel counts it, 90 degrees for its normal."""
    slot = torch.where(found.present[0], found.power[0], -1.0).argmax()
    return 90 - math.degrees(found.location[0, slot, 0])


@real_panel
@pytest.mark.parametrize(("angle", "within"), [(90, 3.5), (105, 3.5), (120, 0.5), (135, 0.5)])
def test_the_transmitter_of_the_real_panel_is_located(angle: int, within: float, tmp_path: Path) -> None:
    options = ["--from", "openris", "--transmitter", str(angle)]
    assert run(["convert", str(RECORDED), str(tmp_path / "a.h5"), *options]) == 0
    with MeasurementReader(tmp_path / "a.h5") as reader:
        part = reader.read(slice(0, 1))
    for how in ({}, {"sources": 1}):
        assert strongest_deg(locate(part, **how)) == pytest.approx(angle, abs=within)
    assert run(["locate", str(tmp_path / "a.h5"), "--json", str(tmp_path / "a.json")]) == 0
    sources = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["scenes"][0]["sources"]
    loudest = max(sources, key=lambda source: source["power"])
    assert 90 - loudest["azimuth_deg"] == pytest.approx(angle, abs=within)


@real_panel
@pytest.mark.parametrize("angle", [120, 135])
def test_eight_receivers_of_the_real_panel_are_enough(angle: int) -> None:
    part = openris_measurements(read_openris(RECORDED, angle, None), 3.58e9)
    random, good = np.random.default_rng(1), 0
    for _ in range(20):
        chosen = np.sort(random.choice(part.y.shape[2], 8, replace=False))
        few = dataclasses.replace(part, y=part.y[:, :, chosen], H=part.H[:, chosen])
        good += abs(strongest_deg(locate(few, sources=1)) - angle) < 1
    assert good >= 18
