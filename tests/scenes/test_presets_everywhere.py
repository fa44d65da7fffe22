"""Every preset through everything: scenes, both heads and their loss, every search, with K = 0 and at extreme SNRs."""

import dataclasses
import math

import pytest
import torch
from learning_problem import ALL, guard, network

from risloc.config import build
from risloc.estimation.localiser import Localiser
from risloc.estimation.order_rules import BIC
from risloc.estimation.search_config import default_search
from risloc.learning.loss import loss_terms
from risloc.performance.metrics import match
from risloc.physics.geometry import polar_of
from risloc.physics.grid import GridConfig
from risloc.scenes.batch import Scenes
from risloc.scenes.preset_files import preset, preset_names
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate

SEARCH = dataclasses.replace(
    default_search(),
    grid=GridConfig(step_beams=0.4, planes=5),
    rank=8,
    peaks=10,
    separation=0.05,
    score_peaks=2,
    exchange_rounds=2,
    exchange_tries=2,
    steps_between=4,
    iterations=20,
    coarse=GridConfig(step_beams=0.6, planes=3),
    sparse_iterations=5,
)


@pytest.fixture(scope="module", params=preset_names())
def preset_scenario(request: pytest.FixtureRequest) -> Scenario:
    """The preset with as few snapshots as the DFT codes bear."""
    scenario = build(Scenario, preset(request.param), request.param)
    return dataclasses.replace(scenario, snapshots=min(scenario.snapshots, 32))


def few(scenario: Scenario, snr_db: float) -> Scenes:
    most = scenario.K_MAX
    return simulate(scenario, seed=7, split="test", start=0, stop=5, snr_db=snr_db, count=[0, 1, 2, most, most])


@pytest.mark.parametrize("head", ["manifold", "free"])
@pytest.mark.parametrize("snr_db", [-10.0, 10.0, 40.0])
def test_every_term_of_the_loss_is_finite_and_teaches(preset_scenario: Scenario, head: str, snr_db: float) -> None:
    net = network(preset_scenario, head=head).train()
    scenes = few(preset_scenario, snr_db)
    prediction, _, R_blend = net.blend(scenes.observation)
    terms = loss_terms(prediction, R_blend, scenes, net.array, net.grid, ALL)
    weights = ALL.weights_at(0, 1)
    guard(terms, weights, prediction)
    terms.total(weights).backward()
    assert all(math.isfinite(float(value.detach())) for value in terms.values.values())
    for name, parameter in net.named_parameters():
        if name.startswith("order."):  # the K rule is fitted after the network, by a loss of its own
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert net.domain.contains(prediction.polar).all()
    torch.testing.assert_close(R_blend.trace, torch.full((5,), float(preset_scenario.size)))


@pytest.mark.parametrize("snr_db", [-10.0, 40.0])
def test_every_search_answers_inside_the_domain(preset_scenario: Scenario, snr_db: float) -> None:
    net, localiser = network(preset_scenario).eval(), Localiser(preset_scenario, SEARCH)
    observation, count = (scenes := few(preset_scenario, snr_db)).observation, scenes.truth.count
    with torch.inference_mode():
        prediction, R_samp, R_blend = net.blend(observation)
        sensing = localiser.sensing(observation)
        offered = localiser.hybrid_candidates(observation, prediction.R_pred, R_blend, prediction.polar)
        answers = [
            *localiser.select(sensing, offered, [count, BIC]),
            *localiser.back_projection(sensing, R_samp, count, BIC),
            *localiser.pursuit(sensing, count, BIC),
            *localiser.refined(sensing, localiser.sparse(sensing), count, BIC),
        ]
        spectra = (localiser.music, localiser.mvdr, localiser.beamforming)
        plain = [spectrum(R, count) for R in (R_blend, R_samp) for spectrum in spectra]
    for found in [*answers, *plain]:
        assert found.polar.isfinite().all()
        assert localiser.domain.contains(found.polar[found.present]).all()
        assert (found.present.sum(1) <= preset_scenario.K_MAX).all()
    for found in [*answers[::2], *plain]:
        assert (found.present.sum(1) <= count).all()
    for found in answers:
        assert found.log_likelihood.isfinite().all()
        assert not (found.resolved & ~found.present).any()
        assert (found.distance_std[found.resolved] > 0).all()
    if snr_db == 40.0 and preset_scenario.preset != "robust":  # of the robust one the model is wrong
        pursuit = answers[4]
        truth = polar_of(scenes.truth.location.masked_fill(~scenes.truth.present[..., None], 1.0))
        error = match(pursuit.polar, pursuit.present, truth, scenes.truth.present, 2.0).position
        assert error[1, 0] < 0.5  # metres, one source alone
