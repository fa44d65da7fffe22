import dataclasses

import numpy as np
import pytest
import torch
from likelihoods import conditional_cost
from worlds import world

from risloc.estimation.conditional import Sensing, fit_conditional
from risloc.estimation.projection import project
from risloc.physics.box_coordinates import box_clamp, from_box, to_box
from risloc.physics.geometry import location_of, position_of
from risloc.physics.steering import steering_matrix


def sensing(w):
    return Sensing.of(w.observation, w.scenario.surface)


def dense_cost(w, A):
    """sum_l |y_l - B B^+ y_l|^2, scene by scene, snapshot by snapshot."""
    o, total = w.observation, np.zeros(len(w.location))
    for b in range(len(total)):
        for line, code in zip(o.y[b].numpy(), o.codebook[b].numpy(), strict=True):
            B = o.H[b].numpy() @ np.diag(code) @ A[b].numpy()[:, w.present[b].numpy()]
            total[b] += np.linalg.norm(line - B @ (np.linalg.pinv(B) @ line)) ** 2
    return total


def nearby(w, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    step = torch.randn(w.polar.shape, dtype=torch.float64, generator=generator) * size
    return w.scenario.surface.domain.clamp(w.polar + step * torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64))


def test_cost_equals_the_dense_projector(small_scenario):
    w = world(small_scenario, [0, 1, 2, 3], snr_db=5)
    polar = nearby(w, 0.1)
    A = steering_matrix(small_scenario.surface.array, polar)
    s = sensing(w)
    fit = project(s.responses(A), s.y, w.present)
    np.testing.assert_allclose(fit.cost.numpy(), dense_cost(w, A), rtol=1e-9)


def test_gradient_is_autograds(small_scenario):
    from risloc.estimation.conditional import _Conditional

    w = world(small_scenario, [1, 2, 3], snr_db=5)
    point = to_box(nearby(w, 0.05)).flatten(1).requires_grad_()
    problem = _Conditional(sensing(w), w.present)
    cost = conditional_cost(sensing(w), from_box(point.view(3, -1, 3)), w.present)
    (gradient,) = torch.autograd.grad(cost.sum(), point)
    model = problem.model(point.detach())
    torch.testing.assert_close(model.value, cost.detach())
    torch.testing.assert_close(2 * model.gradient, gradient, rtol=1e-8, atol=1e-8)


def test_curvature_is_the_hessian_where_nothing_is_left_over(small_scenario):
    from risloc.estimation.conditional import _Conditional

    w = world(small_scenario, [2], noise=False)
    s, problem = sensing(w), _Conditional(sensing(w), w.present)
    point = to_box(w.polar).flatten(1)
    hessian = torch.autograd.functional.hessian(
        lambda x: conditional_cost(s, from_box(x.view(1, -1, 3)), w.present).sum(), point
    )[0, :, 0]
    torch.testing.assert_close(2 * problem.model(point).curvature[0], hessian, rtol=1e-6, atol=1e-6 * hessian.max())


@pytest.mark.parametrize("seed", range(3))
def test_without_noise_the_truth_is_found(small_scenario, seed):
    w = world(small_scenario, [1, 2, 3, 3], noise=False, seed=seed)
    fit = fit_conditional(sensing(w), nearby(w, 0.02, seed), w.present, tolerance=1e-12, iterations=60)
    error = (position_of(location_of(fit.polar)) - position_of(w.location)).norm(dim=-1)[w.present]
    assert error.max() < 1e-6
    assert fit.converged.all()


def test_the_cost_never_rises_and_the_domain_is_never_left(small_scenario):
    w = world(small_scenario, [1, 2, 3] * 10, snr_db=0)
    s, domain = sensing(w), small_scenario.surface.domain
    start = nearby(w, 0.6, 3)
    last = conditional_cost(s, start, w.present)
    for _ in range(4):
        fit = fit_conditional(s, start, w.present, tolerance=0.0, iterations=3)
        assert (fit.value <= last * (1 + 1e-12)).all()
        torch.testing.assert_close(fit.value, conditional_cost(s, fit.polar, w.present))
        assert domain.contains(fit.polar, margin=1e-9).all()
        start, last = fit.polar, fit.value


def test_one_step_is_not_called_convergence(small_scenario):
    w = world(small_scenario, [3] * 4, snr_db=30)
    fit = fit_conditional(sensing(w), nearby(w, 0.1), w.present, tolerance=1e-3, iterations=1)
    assert not fit.converged.any()


def test_absent_sources_stay_where_they_are_and_change_nothing(small_scenario):
    w = world(small_scenario, [0, 1, 2])
    start = nearby(w, 0.05)
    moved = torch.where(w.present[..., None], start, nearby(w, 0.3, 9))
    one, two = (fit_conditional(sensing(w), x, w.present, tolerance=1e-6, iterations=20) for x in (start, moved))
    torch.testing.assert_close(one.polar[w.present], two.polar[w.present])
    torch.testing.assert_close(two.polar[~w.present], moved[~w.present])
    assert one.converged.all()


@pytest.mark.parametrize("scale", ["snapshots", "channel"])
def test_scaling_the_data_or_the_channel_leaves_the_fit(small_scenario, scale):
    w = world(small_scenario, [2, 3], snr_db=10)
    o, c = w.observation, 3.0 - 4.0j
    if scale == "snapshots":
        scaled = dataclasses.replace(o, y=c * o.y, noise_var=abs(c) ** 2 * o.noise_var)
    else:
        scaled = dataclasses.replace(o, H=c * o.H)
    fits = [
        fit_conditional(
            Sensing.of(x, small_scenario.surface),
            nearby(w, 0.05),
            w.present,
            tolerance=1e-9,
            iterations=40,
        )
        for x in (o, scaled)
    ]
    torch.testing.assert_close(fits[0].polar[w.present], fits[1].polar[w.present], rtol=1e-5, atol=1e-6)


def test_two_sources_in_one_place_are_no_fit_but_no_crash(small_scenario):
    w = world(small_scenario, [2])
    same = w.polar[:, :1].expand(-1, 3, -1).clone()
    fit = fit_conditional(sensing(w), same, w.present, tolerance=1e-3, iterations=5)
    assert fit.polar.isfinite().all()
    assert not (fit.converged & ~fit.value.isfinite()).any()


def test_scenes_do_not_feel_their_neighbours(small_scenario):
    w = world(small_scenario, [1, 2, 3, 2], snr_db=10)
    start, s = nearby(w, 0.05), sensing(w)
    together = fit_conditional(s, start, w.present, tolerance=1e-9, iterations=40)
    for b in range(4):
        rows = slice(b, b + 1)
        alone = fit_conditional(s[rows], start[rows], w.present[rows], tolerance=1e-9, iterations=40)
        torch.testing.assert_close(alone.polar, together.polar[rows], rtol=1e-6, atol=1e-7)


def test_the_box_is_the_domain(small_scenario, generator):
    domain = small_scenario.surface.domain
    polar = torch.rand(200, 3, dtype=torch.float64, generator=generator) * 1.6 - 0.8
    polar[:, 2] = polar[:, 2].abs() * 4 + 0.1
    polar = polar[polar[:, :2].norm(dim=1) < 0.95]
    torch.testing.assert_close(from_box(to_box(polar)), polar)
    clamped = from_box(box_clamp(to_box(polar), domain))
    assert domain.contains(clamped, margin=1e-9).all()
    inside = domain.contains(polar, margin=0.0)
    assert inside.any()
    torch.testing.assert_close(clamped[inside], polar[inside])
