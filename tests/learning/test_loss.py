"""The loss term by term against dense oracles, its weights by law, and every way to lose one."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from learning_problem import ALL, LOSS, guard, network, scenes

from risloc.config import ParamError, as_mapping, build
from risloc.covariance.factored import FactoredCovariance
from risloc.learning.loss import LossTerms, TermError, loss_terms, negative_log_likelihood
from risloc.learning.loss_weights import EVERY_PASS, WEIGHTS, LossConfig, LossWeights
from risloc.scenes.scenario import Scenario


def terms_of(scenario: Scenario, config: LossConfig = ALL, **changes: object):
    net = network(scenario).train()
    batch = scenes(scenario, **changes)
    prediction, _, R_blend = net.blend(batch.observation)
    return net, batch, prediction, R_blend, loss_terms(prediction, R_blend, batch, net.array, net.grid, config)


def alone(name: str) -> LossWeights:
    """That weight is 1, all others are 0."""
    return LossWeights(**dict.fromkeys(WEIGHTS, 0.0) | {name: 1.0})


def _detached(said: Any) -> Any:
    """A dataclass of tensors, cut off from what made them."""
    tensors = {name: value.detach() for name, value in vars(said).items() if isinstance(value, torch.Tensor)}
    return dataclasses.replace(said, **tensors)


def dense(R: FactoredCovariance) -> np.ndarray:
    F = R.factor.detach().numpy().astype(complex)
    return F @ F.conj().swapaxes(-1, -2)


def true_parts(scenario: Scenario, batch) -> list[tuple[np.ndarray, np.ndarray]]:
    """(A, p) of each scene from the exact geometry, element by element."""
    step = scenario.wavelength / 2
    x = (np.arange(scenario.n_h) - (scenario.n_h - 1) / 2) * step
    y = (np.arange(scenario.n_v) - (scenario.n_v - 1) / 2) * step
    elements = np.array([[xi, yi, 0.0] for yi in y for xi in x])
    parts = []
    for k, location, power in zip(batch.truth.count, batch.truth.location, batch.truth.power, strict=True):
        az, el, r = location[:k].double().numpy().T
        p = r[:, None] * np.stack([np.sin(az) * np.cos(el), np.sin(el), np.cos(az) * np.cos(el)], axis=1)
        distance = np.linalg.norm(p[None] - elements[:, None], axis=-1)
        A = np.exp(-2j * np.pi / scenario.wavelength * (distance - r))
        parts.append((A, power[:k].double().numpy()))
    return parts


def test_covariance_terms_equal_their_dense_definitions(small_scenario: Scenario) -> None:
    _, batch, prediction, R_blend, terms = terms_of(small_scenario)
    n, nmse, cross, gap = small_scenario.size, [], [], []
    for R, (A, p) in zip(dense(R_blend), true_parts(small_scenario, batch), strict=True):
        R_true = A * p @ A.conj().T
        R_true *= n / np.trace(R_true).real
        nmse.append(np.linalg.norm(R - R_true) ** 2 / np.linalg.norm(R_true) ** 2)
        P = A @ np.linalg.pinv(A)
        cross.append(2 * np.linalg.norm(P @ R @ (np.eye(n) - P)) ** 2 / n**2)
        energy = np.trace(P @ R).real / n
        gap.append(max(0.0, ALL.gap_margin - (2 * energy - 1)))
    assert float(terms.values["loss_nmse"].detach()) == pytest.approx(np.mean(nmse), rel=1e-4)
    assert float(terms.values["loss_cross"].detach()) == pytest.approx(np.mean(cross), rel=1e-3)
    assert float(terms.values["loss_gap"].detach()) == pytest.approx(np.mean(gap), rel=1e-4)


def test_nll_equals_its_dense_definition(small_scenario: Scenario) -> None:
    _, batch, prediction, _, _ = terms_of(small_scenario)
    o, values = batch.observation, []
    for b, R in enumerate(dense(prediction.R_pred)):
        H, sigma2 = o.H[b].numpy().astype(complex), float(o.noise_var[b])
        y = o.y[b].numpy().astype(complex)
        energy = np.linalg.norm(H) ** 2 / len(H)
        p_tot = max(np.mean(abs(y) ** 2) - sigma2, 0.01 * np.mean(abs(y) ** 2)) / energy
        total = 0.0
        for c, yl in zip(o.codebook[b].numpy().astype(complex), y, strict=True):
            G = H * c
            C = (p_tot * G @ R @ G.conj().T + sigma2 * np.eye(len(H))) / sigma2
            total += np.linalg.slogdet(C)[1] + (yl.conj() @ np.linalg.solve(C, yl)).real / sigma2
        values.append(total / y.size)
    ours = negative_log_likelihood(prediction.R_pred, o).detach().numpy()
    np.testing.assert_allclose(ours, values, rtol=1e-3)


def test_the_truth_has_no_covariance_loss(small_scenario: Scenario) -> None:
    net, batch, prediction, _, _ = terms_of(small_scenario)
    factor = torch.zeros(16, 16, 3, dtype=torch.complex64)
    for b, (A, p) in enumerate(true_parts(small_scenario, batch)):
        factor[b, :, : len(p)] = torch.from_numpy(A * np.sqrt(p)).to(torch.complex64)
    R_true = FactoredCovariance(factor).normalised()
    terms = loss_terms(prediction, R_true, batch, net.array, net.grid, LOSS)
    for name in ("loss_nmse", "loss_cross", "loss_gap"):
        assert float(terms.values[name].detach()) < 1e-4


def test_the_derivative_of_the_total_by_a_weight_is_its_term(small_scenario: Scenario) -> None:
    _, _, _, _, terms = terms_of(small_scenario)
    weights = ALL.weights_at(0, 1)
    total = float(terms.total(weights).detach())
    step = 1e-3
    for name in WEIGHTS:
        moved = dataclasses.replace(weights, **{name: getattr(weights, name) + step})
        slope = (float(terms.total(moved).detach()) - total) / step
        values = {key: float(v.detach()) for key, v in terms.values.items()}
        covariance = {
            "lam_cov": values["loss_nmse"] + 2.5e-3 * values["loss_cross"] + 0.065 * values["loss_gap"],
            "lam_cov_pred": values["loss_nmse_pred"],
        }
        expected = covariance[name] if name in covariance else values[name.replace("lam_", "loss_")]
        assert slope == pytest.approx(expected, rel=2e-2, abs=2e-3), name


def test_what_is_logged_is_what_was_used(small_scenario: Scenario) -> None:
    _, _, _, _, terms = terms_of(small_scenario)
    weights = ALL.weights_at(0, 9)
    logged = sum(float(value.detach()) for value in weights.weighted(terms.values).values())
    assert logged == pytest.approx(float(terms.total(weights).detach()), rel=1e-6)


def test_scenes_without_sources_have_presence_loss_alone(small_scenario: Scenario) -> None:
    _, _, _, _, terms = terms_of(small_scenario, count=0)
    for name in set(terms.values) - {"loss_K"}:
        assert float(terms.values[name].detach()) == 0, name
    assert float(terms.values["loss_K"].detach()) > 0


def test_an_empty_scene_changes_nothing_in_the_others(small_scenario: Scenario) -> None:
    *_, alone = terms_of(small_scenario, n=4, count=[1, 2, 3, 2])
    *_, mixed = terms_of(small_scenario, n=5, count=[1, 2, 3, 2, 0])
    for name in ("loss_nmse", "loss_cross", "loss_ang", "loss_rng", "loss_nll"):
        ours, theirs = float(mixed.values[name].detach()), float(alone.values[name].detach())
        assert ours == pytest.approx(theirs, rel=1e-3), name


def test_curriculum_rises_from_three_tenths_over_the_first_third_and_is_never_zero() -> None:
    schedule = dataclasses.replace(LOSS, curriculum=True, lam_cov=2.0)
    ramp = [schedule.weights_at(epoch, 30).lam_cov for epoch in range(30)]
    assert ramp[0] == pytest.approx(0.6)
    assert ramp[5] == pytest.approx(2 * (0.3 + 0.7 * 0.5))
    assert ramp[10:] == [2.0] * 20
    assert min(ramp) > 0
    assert dataclasses.replace(schedule, curriculum=False).weights_at(0, 30).lam_cov == 2.0
    others = [name for name in WEIGHTS if name != "lam_cov"]
    assert all(getattr(schedule.weights_at(0, 30), name) == getattr(schedule, name) for name in others)


@pytest.mark.parametrize("name", WEIGHTS)
def test_every_weight_is_required(name: str) -> None:
    values = {key: getattr(LOSS, key) for key in WEIGHTS if key != name}
    with pytest.raises(TypeError, match=name):
        LossWeights(**values)
    section = as_mapping(LOSS)
    del section[name]
    with pytest.raises(ParamError, match=rf"loss\.{name}: missing"):
        build(LossConfig, section, "loss")


@pytest.mark.parametrize("bad", [None, -1.0, math.nan, math.inf, "much", True])
def test_a_weight_is_a_finite_number_not_below_zero(bad: object) -> None:
    with pytest.raises(ParamError, match=r"loss\.lam_cov"):
        build(LossConfig, {**as_mapping(LOSS), "lam_cov": bad}, "loss")


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_weights_made_in_code_are_checked_too(bad: float) -> None:
    with pytest.raises(ParamError, match="lam_cov"):
        dataclasses.replace(LOSS, lam_cov=bad)


def test_factors_scale_every_weight_and_none_may_be_dropped() -> None:
    factors = dict.fromkeys(WEIGHTS, 1.0) | {"lam_cov": 3.0, "lam_K": 0.5}
    scaled = dataclasses.replace(LOSS, lam_ang=0.0).scaled(factors)
    assert (scaled.lam_cov, scaled.lam_K, scaled.lam_ang) == (3.0, 0.5, 0.0)
    with pytest.raises(ParamError, match="lam_cov"):
        LOSS.scaled({name: 1.0 for name in WEIGHTS if name != "lam_cov"})
    with pytest.raises(ParamError, match="lam_rng"):
        LOSS.scaled({**factors, "lam_rng": math.nan})


def test_a_term_without_gradient_is_named(small_scenario: Scenario) -> None:
    net, batch, prediction, R_blend, terms = terms_of(small_scenario)
    weights = ALL.weights_at(0, 1)
    guard(terms, weights, prediction)
    for name in terms.values:
        dead = LossTerms({**terms.values, name: terms.values[name].detach()})
        with pytest.raises(TermError, match=name):
            guard(dead, weights, prediction)
        zero = LossTerms({**terms.values, name: terms.values[name] * 0 + 1})
        with pytest.raises(TermError, match=f"{name}.*is 0"):
            guard(zero, weights, prediction)
        endless = LossTerms({**terms.values, name: terms.values[name] * math.inf})
        with pytest.raises(TermError, match=name):
            guard(endless, weights, prediction)


@pytest.mark.parametrize("name", EVERY_PASS)
def test_a_pass_that_learns_nothing_is_named(small_scenario: Scenario, name: str) -> None:
    """As if what the first pass says had been cut off from its weights."""
    net, batch, prediction, R_blend, whole = terms_of(small_scenario)
    (first,) = prediction.earlier
    mute = dataclasses.replace(_detached(first), output=_detached(first.output))
    cut = dataclasses.replace(prediction, earlier=(mute,))
    own = next(weight for weight in WEIGHTS if alone(weight).effective()[name] > 0)
    guard(whole, alone(own), prediction)
    with pytest.raises(TermError, match=f"{name}.*is 0"):
        guard(loss_terms(cut, R_blend, batch, net.array, net.grid, ALL), alone(own), cut)


def test_a_value_that_stands_there_was_computed(small_scenario: Scenario) -> None:
    """Of the likelihood: with a weight or without, where every term is asked for; else it is left out, not 0."""
    net, batch, prediction, R_blend, with_weight = terms_of(small_scenario)
    without = dataclasses.replace(ALL, lam_nll=0.0)
    given = (prediction, R_blend, batch, net.array, net.grid)
    asked = loss_terms(*given, without)
    assert float(asked.values["loss_nll"].detach()) == float(with_weight.values["loss_nll"].detach()) != 0
    assert loss_terms(*given, without, every=False).values.keys() == asked.values.keys() - {"loss_nll"}
    assert loss_terms(*given, ALL, every=False).values.keys() == asked.values.keys()
    with pytest.raises(KeyError, match="loss_nll"):
        loss_terms(*given, without, every=False).total(ALL.weights_at(0, 1))


def test_a_weight_of_zero_and_a_hinge_at_zero_are_exempt(small_scenario: Scenario) -> None:
    _, _, prediction, _, terms = terms_of(small_scenario)
    dead = LossTerms({**terms.values, "loss_ang": terms.values["loss_ang"].detach()})
    guard(dead, dataclasses.replace(ALL.weights_at(0, 1), lam_ang=0.0), prediction)
    met = LossTerms({**terms.values, "loss_gap": terms.values["loss_gap"] * 0})
    guard(met, ALL.weights_at(0, 1), prediction)


def test_a_first_batch_without_sources_is_no_fault(small_scenario: Scenario) -> None:
    _, _, prediction, _, terms = terms_of(small_scenario, LOSS, count=0)
    guard(terms, LOSS.weights_at(0, 1), prediction, sources=False)
    with pytest.raises(TermError, match="loss_nmse"):
        guard(terms, LOSS.weights_at(0, 1), prediction)
    silent = LossTerms({**terms.values, "loss_K": terms.values["loss_K"].detach()})
    with pytest.raises(TermError, match="loss_K"):
        guard(silent, LOSS.weights_at(0, 1), prediction, sources=False)


def test_weights_of_zero_leave_a_total_that_can_be_differentiated(small_scenario: Scenario) -> None:
    _, _, _, _, terms = terms_of(small_scenario)
    nothing = LossWeights(**dict.fromkeys(WEIGHTS, 0.0))
    total = terms.total(nothing)
    assert float(total.detach()) == 0
    assert total.requires_grad
