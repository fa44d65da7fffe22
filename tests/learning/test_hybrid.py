"""The hybrid in one call answers as its steps do; the registry of K rules makes each rule by its name."""

import dataclasses

import pytest
import torch
from learning_problem import network, scenes
from small_evaluation import SEARCH

from risloc.estimation.localiser import Localiser
from risloc.estimation.order_rules import BIC, bic_noise_order
from risloc.learning.hybrid import hybrid
from risloc.learning.k_rules import K_RULES, RULES, alternatives, needs_network, order_rule, order_rules
from risloc.learning.order_rule import fit_order_head, learnt_order
from risloc.scenes.scenario import Scenario


def fitted_network(scenario: Scenario):
    """A network whose order head answers 2."""
    net = network(scenario).eval()
    cost = torch.ones(16, 4)
    cost[:, 2] = 0
    fit_order_head(net.order, torch.randn(16, 27, generator=torch.Generator().manual_seed(0)), cost, seed=0)
    return net


@torch.no_grad()
def test_the_hybrid_is_prediction_candidates_and_selection(small_scenario: Scenario) -> None:
    net, localiser = fitted_network(small_scenario), Localiser(small_scenario, SEARCH)
    batch = scenes(small_scenario)
    o, count = batch.observation, batch.truth.count
    prediction, _, R_blend = net.blend(o)
    candidates = localiser.hybrid_candidates(o, prediction.R_pred, R_blend, prediction.polar)
    rules = [count, BIC, bic_noise_order, learnt_order(net, prediction)]
    by_hand = localiser.select(localiser.sensing(o), candidates, rules)
    answers = hybrid(net, localiser, o, [count, "bic", "bic_noise", "learnt"])
    for answer, expected in zip(answers, by_hand, strict=True):
        for field in dataclasses.fields(expected):
            a, b = getattr(answer, field.name), getattr(expected, field.name)
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    assert len({tuple(answer.present.sum(1).tolist()) for answer in answers}) > 1  # the rules differ here


def test_each_name_makes_its_rule() -> None:
    assert tuple(name for name in K_RULES if name != "known") == RULES
    assert [name for name in K_RULES if needs_network(name)] == ["learnt"]
    assert (order_rule("bic"), order_rule("bic_noise")) == (BIC, bic_noise_order)
    count = torch.tensor([1, 2])
    assert order_rules([count, "bic"]) == [count, BIC]
    assert (
        len({rule.words for rule in K_RULES.values()})
        == len({rule.phrase for rule in K_RULES.values()})
        == len(K_RULES)
    )


@pytest.mark.parametrize("name", ["known", "BIC", ""])
def test_a_name_of_no_rule_that_finds_k_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected one of bic, bic_noise, learnt, got"):
        order_rule(name)


def test_the_networks_own_rule_is_refused_without_one() -> None:
    with pytest.raises(ValueError, match="expected a network and its prediction"):
        order_rule("learnt")


def test_a_number_is_no_name_of_a_rule() -> None:
    assert not any(needs_network(given) for given in (2, None, ["learnt"], "known", "other"))


def test_phrases_are_joined_into_a_sentence() -> None:
    assert alternatives(RULES) == "BIC, BIC with the noise level unknown, or the network's own rule"
    assert alternatives(["bic"]) == "BIC"
