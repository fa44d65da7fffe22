"""The copy of a checkpoint that MLflow keeps as a model: it locates wherever it is loaded, and holds no pickle.

It is code (`pipeline/tracking/locating_model.py` and the package risloc as they stood), weights as safetensors, and JSON.
"""

import importlib
import warnings
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType, Object, Property
from torch import Tensor

import risloc
from risloc.io.measurements import Setup
from risloc.learning.checkpoint import load_checkpoint
from risloc.physics.codebook import codes_of
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate

__all__ = ["PACKAGES", "REGISTERED", "PortableModel"]

REGISTERED = "risloc-hybrid"
"""The name in MLflow's registry."""

PACKAGES = ("torch", "numpy", "h5py", "jaxtyping", "safetensors", "scipy", "ruamel.yaml", "click", "tqdm", "packaging")
"""What risloc itself requires; a test compares it with pyproject.toml."""

_INPUTS = ("y", "H", "codes", "code_bits", "noise_var", "sources", "file")


class PortableModel:
    """The network of a checkpoint folder, to be logged or saved."""

    def __init__(self, checkpoint: Path) -> None:
        network, _ = load_checkpoint(checkpoint)
        self._described = {
            "python_model": str(Path(__file__).with_name("locating_model.py")),
            "artifacts": {"checkpoint": str(checkpoint)},
            "code_paths": [str(Path(risloc.__file__).parent)],
            "signature": _signature(),
            "input_example": _example(network.scenario),
            "pip_requirements": _requirements(),
        }

    def log(self, run_id: str, registered: str | None = None) -> None:
        """Log it to the run as its model ``model``; registered : as a new version of that name, too."""
        client = MlflowClient()
        run = client.get_run(run_id)
        model = client.create_logged_model(
            run.info.experiment_id, name="model", source_run_id=run_id, params=run.data.params
        )
        Model.log(
            None,
            _pyfunc(),
            name="model",
            model_id=model.model_id,
            run_id=run_id,
            registered_model_name=registered,
            **self._described,
        )

    def save(self, folder: Path) -> None:
        """Write it to a new folder, in the same format."""
        _pyfunc().save_model(path=str(folder), **self._described)


def _pyfunc() -> ModuleType:
    """mlflow.pyfunc, which takes seconds to import, and warns of type hints of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return importlib.import_module("mlflow.pyfunc")


def _signature() -> ModelSignature:
    """What may be given, and what comes back. MLflow checks names alone: the model itself checks types, shapes and numbers."""
    anything = AnyType()  # type: ignore[no-untyped-call]
    setup = Object([Property(field.name, anything, required=False) for field in fields(Setup)])
    inputs = dict.fromkeys(_INPUTS, anything) | {"setup": setup}
    whole, text, number = DataType.long, DataType.string, DataType.double
    outputs = {"scene": whole, "K": whole, "noise_var": number, "explained": number, "noise": text, "verdict": text}
    untyped = (
        "misfit",
        "misfit_low",
        "misfit_high",
        "whiteness",
        "grouping",
        "sources",
    )  # a number, a mapping or text, or null; a list
    return ModelSignature(
        Schema([ColSpec(type_, name, required=False) for name, type_ in inputs.items()]),
        Schema([ColSpec(type_, name) for name, type_ in (outputs | dict.fromkeys(untyped, anything)).items()]),
    )


def _example(scenario: Scenario) -> dict[str, Any]:
    """One scene with one source, as JSON has it, to six digits."""
    seen = simulate(scenario, seed=0, split="test", start=0, stop=1, snr_db=20.0, count=1).observation
    if scenario.observation == "ris":
        codes = {"codes": codes_of(seen.codebook[0], scenario.code_bits).tolist(), "code_bits": scenario.code_bits}
    else:
        codes = {"codes": _pairs(seen.codebook[0])}
    return {"y": _pairs(seen.y), "H": _pairs(seen.H[0]), **codes, "noise_var": float(seen.noise_var[0])}


def _pairs(values: Tensor) -> Any:
    """Nested lists that end in (real, imaginary)."""
    pairs = torch.view_as_real(values.resolve_conj()).double().numpy()
    return np.vectorize(lambda x: float(f"{x:.6g}"))(pairs).tolist()


def _requirements() -> list[str]:
    """What a model needs, in the versions that are installed."""
    return [f"{name}=={version(name).split('+')[0]}" for name in (*PACKAGES, "mlflow")]
