import dataclasses

import pytest
import torch
from worlds import roomy
from worlds import world as drawn_world

from risloc.config import as_mapping
from risloc.estimation.localiser import Localiser
from risloc.estimation.noise_level import NoiseLevelError, noise_level
from risloc.estimation.search_config import default_search
from risloc.io.measurements import Measurements, measurements_of, setup_of
from risloc.locating.found import Found
from risloc.locating.locate import locate
from risloc.physics.geometry import position_of
from risloc.scenes.batch import Truth
from risloc.scenes.named_scenario import scenario
from risloc.scenes.simulation import simulate


def test_a_model_that_is_wrong_does_not_lead_to_sources_that_are_not_there() -> None:
    """Elements 10 deg off and 5 % dead, two sources at 20 dB: BIC alone fills all five slots, whatever the noise variance."""
    hardware = {"element_phase_std_deg": 10.0, "dead_fraction": 0.05}
    world = scenario("default", mismatch=as_mapping(scenario("default").mismatch) | hardware)
    drawn = simulate(world, seed=3, split="test", start=0, stop=40, snr_db=20.0, count=2)
    m = measurements_of(world, drawn)
    plain, checked = locate(m, "default", noise="given"), locate(m, "default")
    assert (plain.present.sum(1) == 2).float().mean() < 0.1
    assert (checked.present.sum(1) == 2).float().mean() > 0.8
    assert checked.verdict.count("too high") == 40
    assert not checked.resolved.any()
    assert _covered(checked, drawn.truth) > 0.8
    assert _covered(checked, drawn.truth) > _covered(plain, drawn.truth)
    echoing = locate(m)
    assert (echoing.present.sum(1) == 2).float().mean() > 0.8
    assert not echoing.resolved.any()
    assert _covered(echoing, drawn.truth) > 0.7


def test_scenes_of_a_true_model_keep_the_order_of_bic() -> None:
    world = scenario("default")
    for snr_db in (0.0, 10.0):
        m = measurements_of(world, simulate(world, seed=6, split="test", start=0, stop=50, snr_db=snr_db))
        plain, checked = locate(m, "default", noise="given"), locate(m, "default")
        assert (checked.present.sum(1) == plain.present.sum(1)).all()
        assert checked.verdict == ("fits",) * 50
        echoing = locate(m)
        assert (echoing.present.sum(1) == plain.present.sum(1)).double().mean() > 0.9
        assert echoing.verdict.count("fits") >= 49


def _covered(found: Found, truth: Truth) -> float:
    """The share of true sources within 1 m of an estimate whose error of distance lies within two deviations."""
    hits = []
    for i in range(len(found)):
        places = position_of(truth.location[i, : int(truth.count[i])].double())
        gap = torch.cdist(places, found.position[i, found.present[i]])
        for k in range(len(places)):
            if len(gap[k]) and gap[k].min() < 1.0:
                slot = gap[k].argmin()
                error = found.location[i, slot, 2] - truth.location[i, k, 2]
                hits.append(bool(error.abs() < 2 * found.location_std[i, slot, 2]))
    return sum(hits) / len(hits)


def _ratio(count: int, snr_db: float, most: int = 5, known: bool = False, **changes: object) -> torch.Tensor:
    """Of 32 scenes, estimated over true."""
    world = scenario("default", K_span=[0, 5], **changes)
    o = simulate(world, seed=5, split="test", start=0, stop=32, snr_db=snr_db, count=count).observation
    size = o.y.abs().square().mean((1, 2)).sqrt()
    blank = dataclasses.replace(o, y=o.y / size[:, None, None], noise_var=torch.full((32,), torch.nan))
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


SMALLER = {"n_h": 8, "n_v": 8}  # the noise level depends on antennas and snapshots, the seconds of a search on elements


@pytest.mark.parametrize(("antennas", "snapshots"), [(8, 32), (8, 64), (12, 32), (16, 16)])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_it_has_no_bias_whatever_the_antennas_snapshots_and_sources(antennas: int, snapshots: int, count: int) -> None:
    """Within 5 % in the mean of 32 scenes, whose standard error is 1.4 %; the spread is that of the samples that are left."""
    ratio = _ratio(count, 10.0, antennas=antennas, snapshots=snapshots, **SMALLER)
    assert 0.95 < ratio.mean() < 1.05
    assert ratio.std() < 1.5 / (snapshots * (antennas - count)) ** 0.5


def test_longer_blocks_have_the_same_law() -> None:
    assert 0.97 < _ratio(1, 10.0, snapshots=48, **SMALLER).median() < 1.04


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(
        NoiseLevelError, match="4 antennas with 16 snapshots are too few to estimate it with up to 5 sources"
    ):
        _ratio(1, 10.0, antennas=4)


def test_a_channel_of_rank_one_and_no_noise_have_an_answer(small_scenario):
    """Where more sources than there are look alike at every antenna, or nothing is left of the data, a level is still found."""
    wide = roomy(small_scenario)
    w = drawn_world(wide, [1, 1], snr_db=30, noise=False)
    o = w.observation
    H = o.H.clone()
    H[0] = H[0, :1] * torch.arange(1, 9, dtype=torch.float64)[:, None]
    y = torch.einsum("bmn,bln,bnk,bkl->blm", H, o.codebook, w.A, w.symbols)
    setup = setup_of(wide)
    m = Measurements(setup=setup, y=y, codebook=o.codebook, H=H, noise_var=None, truth=None)
    found = locate(m, model=None, most=3)
    assert (found.noise_var >= 0).all()
    assert found.present.sum(1).min() >= 0
    assert found.noise_var.isfinite().all()
