"""Whether two batches of scenes are the same, bit for bit."""

import dataclasses

import torch

from risloc.scenes.batch import Scenes


def same(a: Scenes, b: Scenes) -> bool:
    return alike(a.observation, b.observation) and alike(a.truth, b.truth)


def alike(x, y) -> bool:
    """Tensors are equal, what is absent is absent in both, and dataclasses are compared field by field."""
    if dataclasses.is_dataclass(x) and type(x) is type(y):
        return all(alike(getattr(x, f.name), getattr(y, f.name)) for f in dataclasses.fields(x))
    return x is y is None or (x is not None and y is not None and torch.equal(x, y))
