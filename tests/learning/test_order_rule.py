"""The learnt K rule: what it looks at does not depend on units, and it minimises the expected cost."""

import dataclasses

import pytest
import torch
from learning_problem import network, scenes

from risloc.estimation.candidates import PeakCandidates
from risloc.estimation.conditional import Sensing
from risloc.estimation.order_rules import SelectionPath
from risloc.estimation.selection import forward_selection, select_and_fit
from risloc.estimation.spectrum import Peaks
from risloc.learning.network_layers import OrderHead
from risloc.learning.order_rule import fit_order_head, learnt_order, order_features
from risloc.scenes.scenario import Scenario


def followed(net, observation):
    """The prediction of a network, the sensing, and the path of its slots from no source to K_MAX."""
    with torch.inference_mode():
        prediction = net(observation)
        sensing = Sensing.of(observation, net.surface)
        source = PeakCandidates(sensing, Peaks.of(prediction.polar))
        most = torch.full((len(observation),), net.scenario.K_MAX)
        return (
            prediction,
            sensing,
            forward_selection(sensing, source, net.scenario.K_MAX, least=most, seek=True, steps_between=4),
        )


def features_of(net, observation):
    with torch.inference_mode():
        return order_features(net, *followed(net, observation))


def test_features_do_not_depend_on_the_scale_of_y_or_h(small_scenario: Scenario) -> None:
    net = network(small_scenario).eval()
    o = scenes(small_scenario).observation
    reference = features_of(net, o)
    louder = dataclasses.replace(o, y=8.0j * o.y, noise_var=64 * o.noise_var)
    stronger = dataclasses.replace(o, H=8.0j * o.H)
    for other in (louder, stronger):
        difference = (features_of(net, other) - reference).abs()
        assert difference.quantile(0.95) < 2e-2  # the fits stop at a tolerance
    assert reference.isfinite().all()
    assert reference.shape == (16, 6 * 4 + 3)


def test_features_of_a_path_that_ran_out_of_candidates_stay_those_of_its_last_order(small_scenario: Scenario) -> None:
    net = network(small_scenario).eval()
    o = scenes(small_scenario).observation
    prediction, sensing, path = followed(net, o)
    ended = SelectionPath(
        path.polar,
        torch.cat([path.cost[:, :2], torch.full((16, 2), torch.inf)], 1),
        torch.cat([path.value[:, :2], torch.full((16, 2), torch.inf, dtype=torch.float64)], 1),
        path.power,
        torch.ones_like(path.reached),
    )
    with torch.inference_mode():
        whole = order_features(net, prediction, sensing, path)[:, :-3].view(16, 6, 4)
        short = order_features(net, prediction, sensing, ended)[:, :-3].view(16, 6, 4)
    torch.testing.assert_close(short[..., :2], whole[..., :2])
    torch.testing.assert_close(short[:, [0, 3, 4, 5], 2], whole[:, [0, 3, 4, 5], 1])
    torch.testing.assert_close(short[:, 1, 2:], torch.zeros(16, 2))  # nothing was won


def test_presence_at_a_cell_is_the_sum_around_it(small_scenario: Scenario) -> None:
    net = network(small_scenario).eval()
    with torch.inference_mode():
        prediction = net(scenes(small_scenario).observation)
        heat = prediction.output.heat.sigmoid()
        rows, columns = heat.shape[1:]
        cells = [(v, u) for v in range(rows) for u in range(columns)]
        polar = torch.tensor([[float(net.grid.u[u]), float(net.grid.v[v]), 1.0] for v, u in cells]).expand(16, -1, -1)
        found = net.presence_at(prediction, polar)
    padded = torch.nn.functional.pad(heat, (1, 1, 1, 1))
    for index, (v, u) in enumerate(cells):
        expected = padded[:, v : v + 3, u : u + 3].sum((1, 2)).clamp(0, 1)
        torch.testing.assert_close(found[:, index], expected, atol=1e-5, rtol=1e-4)


def test_features_that_say_nothing_lead_to_the_order_of_least_mean_cost() -> None:
    head = OrderHead(3)
    cost = torch.rand(500, 4, generator=torch.Generator().manual_seed(0))
    cost[:, 2] -= 0.2
    fit_order_head(head, torch.zeros(500, 27), cost, seed=1)
    assert (head(torch.zeros(5, 27)).argmax(1) == 2).all()


def test_costs_that_features_decide_are_avoided() -> None:
    """Orders 1 and 2 cost 1 or 0 as one feature says; held-out scenes cost less than a tenth of any constant answer."""
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(2000, 27, generator=draw)
    sign = features[:, 5] > 0
    cost = torch.ones(2000, 4)
    cost[sign, 1], cost[~sign, 2] = 0.0, 0.0
    head = OrderHead(3)
    fit_order_head(head, features[:1500], cost[:1500], seed=1)
    chosen = head(features[1500:]).argmax(1)
    assert cost[1500:].gather(1, chosen[:, None]).mean() < 0.05


def test_an_order_that_is_seldom_best_is_chosen_where_it_is() -> None:
    """One scene in fifty: the mean cost's own gradient would have forgotten it."""
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(3000, 27, generator=draw)
    rare = torch.arange(3000) % 50 == 0
    features[rare, 7] = 6.0
    cost = torch.ones(3000, 4)
    cost[:, 0] = 0
    cost[rare, 0], cost[rare, 3] = 1.0, 0.0
    head = OrderHead(3)
    fit_order_head(head, features, cost, seed=1)
    assert (head(features[rare]).argmax(1) == 3).float().mean() > 0.95


def test_the_fit_depends_on_its_seed_alone() -> None:
    draw = torch.Generator().manual_seed(0)
    features, cost = torch.randn(300, 27, generator=draw), torch.rand(300, 4, generator=draw)
    heads = [OrderHead(3) for _ in range(3)]
    for head, seed in zip(heads, (1, 1, 2), strict=True):
        torch.manual_seed(int(torch.randint(1000, ())))  # whatever the global generator is at
        fit_order_head(head, features, cost, seed=seed)
    first, same, other = (head(features) for head in heads)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("spoilt", ["empty", "features", "cost"])
def test_a_fit_on_nothing_or_on_what_is_not_finite_is_refused(spoilt: str) -> None:
    features, cost = torch.zeros(3, 27), torch.zeros(3, 4)
    if spoilt == "empty":
        features, cost = features[:0], cost[:0]
    else:
        (features if spoilt == "features" else cost)[1, 2] = torch.nan
    with pytest.raises(ValueError, match="expected finite features and costs of at least one scene"):
        fit_order_head(OrderHead(3), features, cost, seed=0)


def test_an_unfitted_head_is_refused_and_a_fitted_one_decides(small_scenario: Scenario) -> None:
    net = network(small_scenario).eval()
    o = scenes(small_scenario).observation
    prediction, sensing, _ = followed(net, o)
    with pytest.raises(
        ValueError, match=r"got one without; choose another K rule .*in the repository: `dvc repro order`"
    ):
        learnt_order(net, prediction)
    for wanted in (0, 2):
        cost = torch.ones(16, 4)
        cost[:, wanted] = 0
        fit_order_head(net.order, features_of(net, o), cost, seed=0)
        with torch.inference_mode():
            source = PeakCandidates(sensing, Peaks.of(prediction.polar))
            [found] = select_and_fit(sensing, source, [learnt_order(net, prediction)], 3, steps_between=4, iterations=5)
        assert (found.present.sum(1) == wanted).all()
