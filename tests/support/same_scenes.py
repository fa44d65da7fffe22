"""Whether two batches of scenes are the same, bit for bit."""

import dataclasses

import torch

from risloc.scenes.batch import Scenes


def same(a: Scenes, b: Scenes) -> bool:
    pairs = [(a.observation, b.observation), (a.truth, b.truth)]
    return all(torch.equal(getattr(x, f.name), getattr(y, f.name)) for x, y in pairs for f in dataclasses.fields(x))
