import pytest
import torch
from same_scenes import same

from risloc.learning.fresh_batches import fresh_batches
from risloc.scenes.batch import Scenes
from risloc.scenes.simulation import simulate

STREAM = {"seed": 4, "split": "train"}


@pytest.mark.parametrize("batch_size", [1, 7, 32, 100])
def test_they_are_the_scenes_of_the_stream_bit_for_bit(small_scenario, batch_size):
    parts = list(fresh_batches(small_scenario, batch_size, **STREAM, start=40, stop=97))
    assert same(Scenes.cat(parts), simulate(small_scenario, **STREAM, start=40, stop=97))
    assert [len(part) for part in parts[:-1]] == [batch_size] * (len(parts) - 1)


def test_no_scene_comes_twice(small_scenario):
    epochs = [fresh_batches(small_scenario, 16, **STREAM, start=e * 48, stop=(e + 1) * 48) for e in range(3)]
    noise = torch.cat([part.observation.noise_var for epoch in epochs for part in epoch])
    assert len(noise.unique()) == len(noise) == 144


def test_an_order_moves_the_batches_alone(small_scenario):
    def drawn(start=0, **options):
        return list(fresh_batches(small_scenario, 8, **STREAM, start=start, stop=start + 60, **options))

    def order(parts, of):
        return [next(i for i, other in enumerate(of) if same(part, other)) for part in parts]

    plain = drawn()
    moved = order(drawn(order=1), plain)
    assert sorted(moved) == list(range(8))
    assert moved != list(range(8))
    assert order(drawn(order=1), plain) == moved
    assert order(drawn(order=2), plain) != moved
    assert order(drawn(60, order=1), drawn(60)) != moved, "every epoch has an order of its own"


@pytest.mark.parametrize(("batch_size", "stop"), [(0, 10), (4, 5)])
def test_no_scenes_at_all_is_an_error(small_scenario, batch_size, stop):
    with pytest.raises(ValueError, match=r"expected at least 1 and 6, got"):
        next(fresh_batches(small_scenario, batch_size, **STREAM, start=5, stop=stop))


def test_an_unknown_split_is_an_error(small_scenario):
    with pytest.raises(ValueError, match="split: expected one of train, val, test"):
        next(fresh_batches(small_scenario, 8, seed=1, split="tran", start=0, stop=8))
