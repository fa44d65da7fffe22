"""The model that MLflow keeps: loaded from disk without the repository, it locates as `risloc.locate` does."""

import json
import re
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from loaded_model import REPOSITORY, answers, same

from pipeline.tracking.portable_model import PACKAGES, PortableModel
from risloc import locate, measurements_of, scenario, simulate, write_measurements
from risloc.io.measurements import Measurements
from risloc.learning.checkpoint import shipped_checkpoint
from risloc.locating.result_rows import records_of
from risloc.physics.codebook import codes_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # within mlflow and what it stands on


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    return shipped_checkpoint("default")


@pytest.fixture(scope="module")
def saved(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    PortableModel(checkpoint).save(folder)
    return folder


@pytest.fixture(scope="module")
def measured() -> Measurements:
    world = scenario("default")
    return measurements_of(world, simulate(world, seed=3, split="test", start=0, stop=5, snr_db=15.0))


def arrays_of(measurements: Measurements) -> dict[str, Any]:
    named = {"y": measurements.y, "H": measurements.H, "codes": measurements.codebook}
    return {name: tensor.resolve_conj().numpy() for name, tensor in named.items()}


def pairs(values: np.ndarray) -> np.ndarray:
    return np.stack([values.real, values.imag], axis=-1).astype(np.float64)


def expected(measurements: Measurements, sources: int | str = "bic") -> list[dict[str, Any]]:
    return records_of(locate(measurements, "default", sources), 0)


def without_noise(measurements: Measurements) -> Measurements:
    return Measurements(**{**vars(measurements), "noise_var": None, "truth": None})


def test_it_locates_without_the_repository_as_locate_does(saved: Path, measured: Measurements, tmp_path: Path) -> None:
    other = scenario("default", antennas=20, snapshots=12)
    small = measurements_of(other, simulate(other, seed=4, split="test", start=0, stop=3, snr_db=20.0, count=1))
    arrays, noise = arrays_of(measured), {"noise_var": measured.noise_var.numpy()}
    codes = codes_of(measured.codebook, 3).numpy()
    first = {name: array[0] for name, array in arrays.items()}
    write_measurements(tmp_path / "scenes.h5", 5, [measured], code_bits=3)
    inputs: dict[str, dict[str, Any]] = {
        "complex numbers": arrays | noise,
        "integer codes": arrays | noise | {"codes": codes, "code_bits": 3},
        "pairs": {name: pairs(array) for name, array in arrays.items()} | noise,
        "no noise": arrays,
        "two sources": arrays | noise | {"sources": 2},
        "a rule": arrays | noise | {"sources": "bic_noise"},
        "other sizes": arrays_of(small) | {"noise_var": small.noise_var.numpy()},
        "one scene": first | {"noise_var": float(measured.noise_var[0])},
        "a file": {"file": str(tmp_path / "scenes.h5")},
    }
    (said,) = answers([str(saved)], inputs, tmp_path)
    located = expected(measured)
    assert sum(len(record["sources"]) for record in located) >= 5, "there is something to compare"
    for name in ("complex numbers", "integer codes", "pairs", "a file"):
        same(said[name], located)
    same(said["no noise"], expected(without_noise(measured)))
    assert [said[name][0]["noise"] for name in ("pairs", "no noise")] == ["given", "estimated"]
    same(said["two sources"], expected(measured, 2))
    same(said["a rule"], expected(measured, "bic_noise"))
    same(said["other sizes"], expected(small))
    same(said["one scene"], located[:1])


def test_it_asks_for_what_risloc_requires() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(PACKAGES) == sorted(re.split(r"[<>=]", line)[0] for line in project["dependencies"])


def test_it_holds_no_pickle(saved: Path) -> None:
    files = [path for path in saved.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} & {
        ".pkl",
        ".pickle",
        ".pt",
        ".pth",
        ".pt2",
        ".ckpt",
        ".joblib",
        ".npy",
    } == set()
    assert [path for path in files if path.read_bytes()[:1] == b"\x80"] == []
    assert sum(path.stat().st_size for path in files) < 2**23


@pytest.fixture(scope="module")
def model(saved: Path) -> Any:
    before = list(sys.path)
    loaded = mlflow.pyfunc.load_model(str(saved))
    sys.path[:] = before
    return loaded


def test_its_example_is_an_input(saved: Path, model: Any) -> None:
    (record,) = model.predict(json.loads((saved / "input_example.json").read_text(encoding="utf-8")))
    assert record["K"] == 1
    assert set(record) == {output.name for output in model.metadata.signature.outputs}


def test_a_table_has_an_input_in_each_row(model: Any, measured: Measurements) -> None:
    arrays = arrays_of(measured) | {"noise_var": measured.noise_var.numpy()}
    rows = [{name: array[i] for name, array in arrays.items()} for i in (0, 1)]
    same(model.predict(rows), expected(measured)[:2])


def test_a_narrower_span_is_searched(model: Any, measured: Measurements) -> None:
    given = arrays_of(measured) | {"noise_var": measured.noise_var.numpy(), "setup": {"distance_span_m": (1, 2)}}
    found = [source["distance_m"] for record in model.predict(given) for source in record["sources"]]
    assert max(found) <= 2.0 + 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": None}, "input: expected y, H and codes, or a file, got no codes; add"),
        ({"y": np.ones((5, 4, 3))}, r"y: expected complex numbers, or real ones with a last axis of 2 .* got float64"),
        ({"y": [[1, 2], [3]]}, "y: expected an array, got rows of different length"),
        ({"H": "H.npy"}, "H: expected an array of numbers, got <U5"),
        ({"noise_var": -1.0}, "noise_var: .*expected positive numbers"),
        ({"codes": np.zeros((16, 144), dtype=int)}, "codes: expected complex numbers, .*or integers with code_bits"),
        ({"sources": "most"}, "sources: expected .*one of bic, bic_noise, learnt"),
        ({"sources": 9}, "sources: this network searches for at most"),
        (
            {"file": "scenes.h5"},
            "file: expected it alone or with sources, but got y, H, codes, noise_var, file as well",
        ),
        ({"setup": {"carrier_hz": 2e9, "spacing_m": 0.07}}, "network was made for carrier_hz = 1e"),
        ({"setup": {"distance": [1, 2]}}, "distance"),
    ],
)
def test_what_is_wrong_is_said(model: Any, measured: Measurements, change: dict[str, Any], message: str) -> None:
    given = arrays_of(measured) | {"noise_var": measured.noise_var.numpy()} | change
    with pytest.raises(mlflow.exceptions.MlflowException, match=message) as error:
        model.predict(given)
    assert "Traceback" not in str(error.value)
    assert tempfile.gettempdir() not in str(error.value)


def test_a_path_alone_is_told_where_it_belongs(model: Any) -> None:
    with pytest.raises(mlflow.exceptions.MlflowException, match="expected y, H and codes, or a file"):
        model.predict("scenes.h5")
    with pytest.raises(mlflow.exceptions.MlflowException, match=r"^scenes.h5: "):
        model.predict({"file": "scenes.h5"})
