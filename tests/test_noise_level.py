import dataclasses

import pytest
import torch

from risloc.localise import Localiser, default_search
from risloc.noise_level import NoiseLevelError, noise_level
from risloc.shortcuts import scenario
from risloc.simulation import simulate


def _ratio(count: int, snr_db: float, most: int = 5, known: bool = False, **changes: object) -> torch.Tensor:
    """Of 64 scenes, estimated over true."""
    world = scenario("default", K_span=[0, 5], **changes)
    o = simulate(world, seed=5, split="test", start=0, stop=64, snr_db=snr_db, count=count).observation
    size = o.y.abs().square().mean((1, 2)).sqrt()
    blank = dataclasses.replace(o, y=o.y / size[:, None, None], noise_var=torch.full((64,), torch.nan))
    with torch.no_grad():
        return (
            noise_level(Localiser(world, default_search()), blank, most, count if known else None)
            * size**2
            / o.noise_var
        )


@pytest.mark.parametrize(("count", "snr_db"), [(0, 10.0), (1, 0.0), (1, 20.0), (3, 10.0), (5, 10.0), (5, 20.0)])
def test_the_median_is_the_truth_and_few_are_far_from_it(count: int, snr_db: float) -> None:
    ratio = _ratio(count, snr_db)
    assert 0.95 < ratio.median() < 1.07  # the spread of one estimate is some 7 %
    assert ((ratio - 1).abs() > 0.2).float().mean() < 0.07


def test_with_the_number_known_it_is_the_mean_square_of_what_is_left() -> None:
    ratio = _ratio(2, 10.0, known=True)
    assert 0.97 < ratio.mean() < 1.03
    assert ratio.std() < 0.1


def test_longer_blocks_have_the_same_law() -> None:
    assert 0.97 < _ratio(1, 10.0, snapshots=48).median() < 1.04


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(
        NoiseLevelError, match="4 antennas with 16 snapshots are too few to estimate it beside 5 sources"
    ):
        _ratio(1, 10.0, antennas=4)
