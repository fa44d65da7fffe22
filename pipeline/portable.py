"""The portable copy of a network that MLflow keeps: torch.export's pt2, with an example and a signature, no pickle."""

import contextlib
import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.metadata import version

import mlflow
import torch
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor

__all__ = ["log_portable_model"]


def log_portable_model(run_id: str, network: torch.nn.Module, example: tuple[Tensor, ...]) -> None:
    """Log `network` to the run as ``model``, on the CPU and in eval mode; the batch axis (the first) stays free.

    network : takes the tensors of `example`; returns a tensor, or a tuple or mapping of tensors.
    example : at least two scenes, since torch.export freezes an axis of one.

    Raises
    ------
    ValueError
        The example holds fewer than two scenes.
    """
    example = tuple(x.detach().cpu() for x in example)
    if min(len(x) for x in example) < 2:
        raise ValueError(f"example: expected a batch of at least 2, got {min(len(x) for x in example)}; add scenes")
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    was_training = network.training
    network.to("cpu").eval()
    try:
        with torch.no_grad():
            outputs = network(*example)
        names = list(inspect.signature(network.forward).parameters)
        signature = ModelSignature(
            inputs=_schema(dict(zip(names, example, strict=True))), outputs=_schema(_named(outputs))
        )
        with _active(run_id):
            mlflow.pytorch.log_model(
                network,
                name="model",
                input_example=tuple(x.numpy() for x in example),
                signature=signature,
                serialization_format="pt2",
                pip_requirements=[f"torch=={version('torch').split('+')[0]}", f"mlflow=={version('mlflow')}"],
            )
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


def _active(run_id: str) -> AbstractContextManager[object]:
    """Make the run the one that `log_model` writes to."""
    current = mlflow.active_run()
    if current is not None and current.info.run_id == run_id:
        return contextlib.nullcontext()
    return mlflow.start_run(run_id=run_id, nested=current is not None)
