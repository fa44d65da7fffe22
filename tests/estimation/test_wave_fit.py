"""The joint fit of sources with echoes: its derivatives, its limit without echoes, and where it may end."""

import dataclasses

import pytest
import torch
from echo_worlds import echo_world
from worlds import roomy, world

from risloc.estimation.conditional import Sensing, fit_conditional
from risloc.estimation.reliability import at_border
from risloc.estimation.wave_fit import _Joint, fit_newest, fit_waves
from risloc.estimation.waves import Waves
from risloc.physics.box_coordinates import from_box, to_box
from risloc.physics.echo_domain import echo_domain
from risloc.physics.steering import steering_matrix


@pytest.fixture(scope="module")
def roomy_scenario(scenario):
    return dataclasses.replace(roomy(scenario), K_MAX=3, K_span=(0, 3))


def sensing(w):
    return Sensing.of(w.observation, w.scenario.surface)


def nudged(waves, domain, size, seed=0):
    """The waves a little beside the truth, gains too."""
    g = torch.Generator().manual_seed(seed)
    step = torch.randn(waves.polar.shape, dtype=torch.float64, generator=g) * size
    gain = waves.gain * (1 + size * torch.randn(waves.gain.shape, dtype=torch.complex128, generator=g))
    gain = torch.where(waves.reference, torch.ones_like(gain), gain)
    return dataclasses.replace(waves, polar=echo_domain(domain).clamp(waves.polar + step), gain=gain)


def dense_cost(s, waves):
    """sum_l |y_l - B_l s_l|^2 with pinv, B_l of the sums of waves."""
    B = (s.G @ (steering_matrix(s.array, waves.polar) @ waves.composition)).view(*s.y.shape, waves.most)
    y = s.y[..., None]
    return (y - B @ (torch.linalg.pinv(B) @ y)).abs().square().sum((1, 2, 3))


def test_without_echoes_it_is_the_conditional_fit(roomy_scenario):
    w = world(roomy_scenario, [1, 2, 3, 0], snr_db=10)
    s, start = sensing(w), roomy_scenario.surface.domain.clamp(w.polar + 0.02)
    plain = fit_conditional(s, start, w.present, tolerance=1e-6, iterations=20)
    fitted = fit_waves(s, Waves.of_sources(start, w.present, 5), tolerance=1e-6, iterations=20)
    assert torch.allclose(fitted.value, plain.value, rtol=1e-10)
    assert torch.allclose(fitted.waves.polar[:, :3][w.present], plain.polar[w.present], atol=1e-8)


def test_the_gradient_is_half_the_derivative_of_the_cost(roomy_scenario):
    """By central differences of a cost that is written out with pinv, in every coordinate and gain."""
    e = echo_world(roomy_scenario, [1, 2, 3], snr_db=15)
    s = sensing(e.world)
    waves = nudged(e.waves, s.domain, 0.03)
    width = waves.present.shape[1]
    point = torch.cat([to_box(waves.polar).flatten(1), waves.gain.real, waves.gain.imag], dim=1)
    gradient = _Joint(s, waves, waves.reference, waves.reference).model(point).gradient
    used = torch.cat([waves.present.repeat_interleave(3, 1), waves.present & ~waves.reference], dim=1)
    used = torch.cat([used, waves.present & ~waves.reference], dim=1)

    def cost(p):
        gain = torch.complex(p[:, 3 * width : 4 * width], p[:, 4 * width :])
        return dense_cost(
            s, dataclasses.replace(waves, polar=from_box(p[:, : 3 * width].view(-1, width, 3)), gain=gain)
        )

    for i in range(point.shape[1]):
        h = torch.zeros_like(point)
        h[:, i] = 1e-5
        slope = (cost(point + h) - cost(point - h)) / 2e-5 / 2
        assert torch.allclose(
            gradient[:, i][used[:, i]], slope[used[:, i]], rtol=1e-4, atol=1e-4 * float(gradient.abs().amax())
        )
    assert (gradient[~used] == 0).all()


@pytest.mark.parametrize("paths", [0, 1])
def test_the_newest_wave_alone_ends_where_its_cost_is_stationary(roomy_scenario, paths):
    """The new wave is a source or an echo; the others keep their places, and none of 12 small steps lowers the cost."""
    e = echo_world(roomy_scenario, [2] * 6, paths=paths or 1, level_db=-6 if paths else -200, snr_db=20, seed=9)
    s = sensing(e.world)
    truth = e.waves if paths else Waves.of_sources(e.world.polar, e.world.present, 3)
    rough = nudged(truth, s.domain, 0.01)
    last = torch.nn.functional.one_hot(rough.total - 1, rough.present.shape[1]).bool()
    fitted = fit_newest(s, rough, tolerance=1e-9, iterations=40)
    inside = ~(at_border(echo_domain(s.domain), fitted.waves.polar[last][:, None]).any(-1)[:, 0])
    inside &= paths > 0 or ~(at_border(s.domain, fitted.waves.polar[last][:, None]).any(-1)[:, 0])
    assert inside.sum() >= 3
    assert torch.equal(fitted.waves.polar[~last], rough.polar[~last])
    assert torch.equal(fitted.waves.gain[~last], rough.gain[~last])
    assert torch.allclose(fitted.value, dense_cost(s, fitted.waves), rtol=1e-9)
    assert (fitted.value < dense_cost(s, rough)).all()
    g = torch.Generator().manual_seed(1)
    for _ in range(12):
        step = torch.randn(6, 3, dtype=torch.float64, generator=g) * 1e-3
        polar = fitted.waves.polar.clone()
        polar[last] += step
        worse = dense_cost(s, dataclasses.replace(fitted.waves, polar=polar)) - fitted.value
        assert (worse > -1e-6 * fitted.value)[inside].all()


def test_without_noise_it_ends_at_the_true_waves(roomy_scenario):
    e = echo_world(roomy_scenario, [1, 2, 3], noise=False)
    s, truth = sensing(e.world), e.waves
    end = fit_waves(s, nudged(truth, s.domain, 0.005), tolerance=0.0, iterations=60)
    on = truth.present
    assert torch.allclose(end.waves.polar[on], truth.polar[on], atol=1e-5)
    assert torch.allclose(end.waves.gain[on], truth.gain[on], atol=1e-4)


def test_it_never_raises_the_cost_and_stays_in_both_regions(roomy_scenario):
    e = echo_world(roomy_scenario, [1, 2, 3] * 4, snr_db=0, level_db=0)
    s = sensing(e.world)
    waves = nudged(e.waves, s.domain, 0.4, seed=2)
    before = dense_cost(s, dataclasses.replace(waves, polar=_inside(s, waves)))
    end = fit_waves(s, waves, tolerance=0.0, iterations=15)
    assert (end.value <= before * (1 + 1e-9)).all()
    assert torch.allclose(end.value, dense_cost(s, end.waves), rtol=1e-8)
    echo = waves.present & ~waves.reference
    assert s.domain.contains(end.waves.polar[waves.reference], margin=1e-9).all()
    assert echo_domain(s.domain).contains(end.waves.polar[echo], margin=1e-9).all()
    assert not s.domain.contains(end.waves.polar[echo]).all()
    assert torch.equal(end.waves.gain[waves.reference], torch.ones_like(end.waves.gain[waves.reference]))


def _inside(s, waves):
    return torch.where(
        waves.reference[..., None], s.domain.clamp(waves.polar), echo_domain(s.domain).clamp(waves.polar)
    )
