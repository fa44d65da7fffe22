"""What a model of MLflow's answers where no repository is: this file, run by itself, loads one from disk and locates.

With -I -S, so that neither the environment nor a path file of an editable install brings the repository into sight.
"""

import importlib.util
import itertools
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["REPOSITORY", "answers", "same"]

REPOSITORY = Path(__file__).resolve().parents[2]


def answers(
    uris: Sequence[str], inputs: Mapping[str, Mapping[str, Any]], folder: Path, **environment: str
) -> list[dict[str, Any]]:
    """What the model of each URI says to each named input, the records or the error, where the repository is not in sight.

    It also checks that the process ran the model's own code, and heard no warning of pickles.
    """
    import numpy as np

    arrays = {f"{which}/{name}": value for which, given in inputs.items() for name, value in given.items()}
    np.savez(folder / "inputs.npz", allow_pickle=False, **arrays)
    known = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MLFLOW"))}
    command = [sys.executable, "-I", "-S", __file__, sysconfig.get_path("purelib"), str(folder / "inputs.npz"), *uris]
    done = subprocess.run(
        command, cwd=folder, env=known | {"DO_NOT_TRACK": "true"} | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "pickle" not in done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    seen = {Path(path) for path in said["files"]} - {Path(__file__)}
    assert [path for path in seen if path.is_relative_to(REPOSITORY) and "site-packages" not in path.parts] == []
    assert Path(said["risloc"]).parts[-3:] == ("code", "risloc", "__init__.py")
    return said["answers"]


def same(records: object, expected: list[dict[str, Any]]) -> None:
    """Records of a model equal those of `risloc.locating.result_rows` to rounding."""
    import pytest

    assert isinstance(records, list), records
    assert [record["K"] for record in records] == [len(record["sources"]) for record in expected]
    flat, wanted = (
        [[{"scene": each["scene"], "noise_var": each["noise_var"]}, *map(dict, each["sources"])] for each in given]
        for given in (records, expected)
    )
    for got, want in zip(itertools.chain(*flat), itertools.chain(*wanted), strict=True):
        covariances = [list(itertools.chain(*each.pop("position_covariance_m2", []))) for each in (got, want)]
        assert covariances[0] == pytest.approx(covariances[1], rel=1e-6)
        for name in ("reason", "echoes"):  # a network finds no echoes: None
            assert got.pop(name, "") == want.pop(name, "")
        assert got == pytest.approx(want, rel=1e-6)


def _main(site_packages: str, path: str, *uris: str) -> None:
    sys.path.append(site_packages)
    assert importlib.util.find_spec("risloc") is None, "the repository is in sight"
    import mlflow
    import numpy as np

    inputs: dict[str, dict[str, Any]] = {}
    for key, value in np.load(path).items():
        which, name = key.split("/", 1)
        inputs.setdefault(which, {})[name] = value if value.ndim else value.item()
    said: list[dict[str, Any]] = []
    for uri in uris:
        model = mlflow.pyfunc.load_model(uri)
        said.append({which: _said(model, given) for which, given in inputs.items()})
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    answer = {"risloc": sys.modules["risloc"].__file__, "files": [file for file in files if file], "answers": said}
    print(json.dumps(answer))


def _said(model: Any, given: dict[str, Any]) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return model.predict(given)
    except MlflowException as error:
        return error.message


if __name__ == "__main__":
    _main(*sys.argv[1:])
