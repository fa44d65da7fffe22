"""The portable copy of a network that MLflow keeps: torch.export's pt2, with an example and a signature, no pickle."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import torch
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor

__all__ = ["PortableModel"]


class PortableModel:
    """`network` with the example that it is traced on, on the CPU and in eval mode; the batch axis (the first) stays free.

    network : takes the tensors of `example`; returns a tensor, or a tuple or mapping of tensors.
    example : at least two scenes, since torch.export freezes an axis of one.

    Raises
    ------
    ValueError
        The example holds fewer than two scenes.
    """

    def __init__(self, network: torch.nn.Module, example: tuple[Tensor, ...]) -> None:
        self.network = network
        self.example = tuple(x.detach().cpu() for x in example)
        if min(len(x) for x in self.example) < 2:
            raise ValueError(
                f"example: expected a batch of at least 2, got {min(len(x) for x in self.example)}; add scenes"
            )

    def log(self, run_id: str) -> None:
        """Log it to the run as its model ``model``."""
        client = MlflowClient()
        run = client.get_run(run_id)
        model = client.create_logged_model(
            run.info.experiment_id, name="model", source_run_id=run_id, params=run.data.params
        )
        with self._exportable() as described:
            mlflow.pytorch.log_model(name="model", model_id=model.model_id, run_id=run_id, **described)

    def save(self, folder: Path) -> None:
        """Write it to a new folder, in the same format."""
        with self._exportable() as described:
            mlflow.pytorch.save_model(path=str(folder), **described)

    @contextmanager
    def _exportable(self) -> Iterator[dict[str, Any]]:
        """What describes the model to MLflow, while the network is as it is to be exported."""
        network = self.network
        device = next((p.device for p in network.parameters()), torch.device("cpu"))
        was_training = network.training
        network.to("cpu").eval()
        try:
            with torch.no_grad():
                outputs = network(*self.example)
            names = list(inspect.signature(network.forward).parameters)
            inputs = dict(zip(names, self.example, strict=True))
            yield {
                "pytorch_model": network,
                "input_example": tuple(x.numpy() for x in self.example),
                "signature": ModelSignature(inputs=_schema(inputs), outputs=_schema(_named(outputs))),
                "serialization_format": "pt2",
                "pip_requirements": [f"torch=={version('torch').split('+')[0]}", f"mlflow=={version('mlflow')}"],
            }
        finally:
            network.to(device).train(was_training)


def _named(outputs: object) -> dict[str, Tensor]:
    """The outputs of a network by name, or by position where they have none."""
    if isinstance(outputs, Tensor):
        return {"output": outputs}
    if isinstance(outputs, Mapping):
        return dict(outputs)
    if isinstance(outputs, tuple):
        return {f"output_{index}": value for index, value in enumerate(outputs)}
    raise TypeError(f"network: expected it to return a tensor, or a tuple or mapping of them, got {type(outputs)}")


def _schema(tensors: Mapping[str, Tensor]) -> Schema:
    return Schema([TensorSpec(x.numpy().dtype, (-1, *x.shape[1:]), name) for name, x in tensors.items()])
