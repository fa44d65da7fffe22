import dataclasses

import pytest
import torch
from same_scenes import same

from risloc.scenes.batch import Scenes
from risloc.scenes.simulation import simulate


@pytest.fixture(scope="module")
def scenes(small_scenario):
    return simulate(small_scenario, seed=3, split="train", start=0, stop=10)


def test_indexing_and_joining_invert(scenes):
    assert same(Scenes.cat([scenes[:3], scenes[3:4], scenes[4:]]), scenes)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    assert same(scenes[order][order.argsort()], scenes)
    assert len(scenes[2:5]) == len(scenes[2:5].truth) == len(scenes[2:5].observation) == 3


def test_moving_to_a_device_keeps_the_values(scenes):
    assert same(scenes.to("cpu"), scenes)
    assert scenes.to("meta").observation.y.device.type == "meta"


def test_present_marks_the_first_count_slots(scenes):
    for count, present in zip(scenes.truth.count.tolist(), scenes.truth.present.tolist(), strict=True):
        assert present == [slot < count for slot in range(3)]


def test_an_observation_knows_nothing_of_the_truth(scenes):
    assert {f.name for f in dataclasses.fields(scenes.observation)} == {"y", "codebook", "H", "noise_var"}


def test_shapes_are_checked_under_test(scenes):
    with pytest.raises(Exception, match="y"):
        dataclasses.replace(scenes.observation, y=scenes.observation.y[0])
