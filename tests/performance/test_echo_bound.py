"""The bound with echoes: a dense numerical oracle, its limits, and what may not change it."""

import dataclasses

import numpy as np
import pytest
import torch
from echo_worlds import echo_world
from oracle import elements, steering
from worlds import roomy, world

import risloc.performance.crb as crb
from risloc.performance.crb import deterministic_bound, stochastic_bound
from risloc.physics.echo_domain import echo_domain
from risloc.scenes.batch import Echoes


@pytest.fixture(scope="module")
def roomy_scenario(scenario):
    return dataclasses.replace(roomy(scenario), K_MAX=3, K_span=(0, 3))


def stochastic(w, echoes=None):
    return stochastic_bound(w.scenario.surface, w.observation, w.location, w.power * w.present, echoes)


def deterministic(w, echoes=None):
    return deterministic_bound(w.scenario.surface, w.observation, w.location, w.symbols * w.present[..., None], echoes)


BOUNDS = (stochastic, deterministic)


def parameters(e, b):
    """One scene: (azimuth, elevation, 1/r) of every wave and (Re g, Im g) of every echo, source by source; [src, 3 + 5 path]."""
    rows = []
    for k in range(int(e.world.count[b])):
        places = [e.world.location[b, k], *e.place[b, k]]
        row = [x for a, el, r in (place.tolist() for place in places) for x in (a, el, 1 / r)]
        rows.append(row + [x for g in e.gain[b, k].tolist() for x in (g.real, g.imag)])
    return np.array(rows)


def arriving(scenario, theta):
    """at_k = a(p_k) + sum_j g_kj a(q_kj), one column a source."""
    xy, paths = elements(scenario.n_h, scenario.n_v, scenario.wavelength), (theta.shape[1] - 3) // 5
    columns = []
    for row in theta:
        places, gains = row[: 3 + 3 * paths].reshape(-1, 3), row[3 + 3 * paths :].reshape(-1, 2)
        waves = [steering(xy, scenario.wavelength, a, el, 1 / w) for a, el, w in places]
        columns.append(waves[0] + sum(complex(*g) * wave for g, wave in zip(gains, waves[1:], strict=True)))
    return np.array(columns).T


def responses(w, b, theta):
    o = w.observation
    return np.array([o.H[b].numpy() * code @ arriving(w.scenario, theta) for code in o.codebook[b].numpy()])


def slopes(function, theta, size=1e-5):
    """Central differences."""
    steps = np.eye(len(theta)) * size * np.maximum(np.abs(theta), 0.1)
    return [(function(theta + h) - function(theta - h)) / (2 * h.sum()) for h in steps]


def slow_stochastic(e, b):
    """Slepian-Bangs of all parameters: dense C_l(theta), one trace for each pair; the covariance."""
    shape = parameters(e, b).shape
    split = np.prod(shape)

    def covariance(theta):
        B, power = responses(e.world, b, theta[:split].reshape(shape)), theta[split:-1]
        return (B * power) @ B.conj().transpose(0, 2, 1) + theta[-1] * np.eye(B.shape[1])

    power, noise = e.world.power[b, : shape[0]].tolist(), float(e.world.observation.noise_var[b])
    theta = np.array([*parameters(e, b).ravel(), *power, noise])
    W = [np.linalg.solve(covariance(theta), d) for d in slopes(covariance, theta)]
    F = np.array([[np.einsum("lij,lji->", one, other).real for one in W] for other in W])
    return np.linalg.inv(F)


def slow_deterministic(e, b):
    """The information of y ~ CN(B s, sigma^2 I) about all parameters and every symbol, inverted whole."""
    theta = parameters(e, b)
    s = e.world.symbols[b, : len(theta)].numpy().T  # [snap, src]
    columns = slopes(lambda x: (responses(e.world, b, x.reshape(theta.shape)) @ s[..., None]).ravel(), theta.ravel())
    B = responses(e.world, b, theta)
    for line, k in np.ndindex(s.shape):
        d = np.zeros(B.shape[:2], complex)
        d[line] = B[line, :, k]
        columns += [d.ravel(), 1j * d.ravel()]
    J = np.array(columns)
    return np.linalg.inv(2 / float(e.world.observation.noise_var[b]) * (J.conj() @ J.T).real)


@pytest.mark.parametrize(("bound", "slow"), [(stochastic, slow_stochastic), (deterministic, slow_deterministic)])
def test_the_bound_is_the_inverse_of_the_dense_numerical_information(roomy_scenario, bound, slow):
    e = echo_world(roomy_scenario, [1, 2], snr_db=10, seed=1)
    result = bound(e.world, e.echoes)
    for b, count in enumerate((1, 2)):
        V, size = slow(e, b), 13
        for k in range(count):
            block = V[size * k : size * (k + 1), size * k : size * (k + 1)]
            np.testing.assert_allclose(result.covariance[b, k].numpy(), block[:3, :3], rtol=1e-4)
            for j in range(2):
                place, gain = slice(3 + 3 * j, 6 + 3 * j), slice(9 + 2 * j, 11 + 2 * j)
                np.testing.assert_allclose(result.echoes.covariance[b, k, j].numpy(), block[place, place], rtol=1e-4)
                np.testing.assert_allclose(result.echoes.gain[b, k, j].numpy(), block[gain, gain], rtol=1e-4)


@pytest.mark.parametrize("bound", BOUNDS)
def test_without_echoes_it_is_todays_bound(roomy_scenario, bound):
    """Bit for bit without slots for echoes, and up to rounding with empty ones."""
    w = world(roomy_scenario, [0, 1, 2, 3], snr_db=10, seed=2)
    plain = bound(w)
    none, empty = (
        Echoes(location=torch.zeros(4, 3, n, 3).double(), gain=torch.zeros(4, 3, n).cdouble()) for n in (0, 2)
    )
    assert plain.echoes is None
    assert torch.equal(bound(w, none).covariance[w.present], plain.covariance[w.present])
    assert bound(w, none).echoes is None
    torch.testing.assert_close(bound(w, empty).covariance, plain.covariance, rtol=1e-9, atol=0, equal_nan=True)
    assert bound(w, empty).echoes.covariance.isnan().all()
    assert bound(w, empty).echoes.gain.isnan().all()


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_scene_without_echoes_beside_others_has_todays_bound(roomy_scenario, bound):
    e = echo_world(roomy_scenario, [2, 2], seed=3)
    echoes = e.echoes
    echoes.gain[1] = 0
    mixed, plain = bound(e.world, echoes), bound(e.world)
    torch.testing.assert_close(mixed.position[1], plain.position[1], rtol=1e-9, atol=0, equal_nan=True)
    assert (mixed.position[0, :2] > plain.position[0, :2]).all()
    assert mixed.echoes.covariance[0, :2].isfinite().all()
    assert mixed.echoes.covariance[:, 2].isnan().all()


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_bound_of_a_source_does_not_depend_on_how_weak_its_echo_is(roomy_scenario, bound):
    """Because the columns g da keep their span as g falls; what is known about the place of the image falls with |g|^2."""
    e = echo_world(roomy_scenario, [1, 2, 3], paths=1, seed=4, noise=False)
    weak, weaker = (dataclasses.replace(e, gain=e.gain * share) for share in (1e-4, 1e-6))
    one, other = (bound(each.world, each.echoes) for each in (weak, weaker))
    torch.testing.assert_close(one.position, other.position, rtol=1e-2, atol=0, equal_nan=True)
    on = e.world.present
    ratio = other.echoes.covariance[on][:, 0, 0, 0] / one.echoes.covariance[on][:, 0, 0, 0]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 1e4), rtol=1e-2, atol=0)


@pytest.mark.parametrize("bound", BOUNDS)
def test_unknown_echoes_never_lower_the_bound(roomy_scenario, bound):
    """In the order of the matrices, against the same world where one echo of every source is known."""
    e = echo_world(roomy_scenario, [1, 2, 3] * 3, seed=5)
    w, echoes = e.world, e.echoes
    full = bound(w, echoes)
    for j in range(2):
        fewer = with_known(w, echoes, j, bound)
        gap = full.covariance - fewer.covariance
        low = torch.linalg.eigvalsh(gap[w.present]).amin(-1)
        assert (low >= -1e-9 * full.covariance[w.present].diagonal(dim1=-2, dim2=-1).amax(-1)).all()
        assert (full.position >= fewer.position)[w.present].all()
        assert (full.position > 1.0001 * fewer.position)[w.present].double().mean() > 0.5


def with_known(w, echoes, j, bound):
    """The bound when echo j of every source is known."""
    used = crb.echo_parameters

    def fewer(these, present, domain):
        keep = torch.arange(these.gain.shape[-1]) != j
        return used(dataclasses.replace(these, gain=these.gain * keep), present, domain)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crb, "echo_parameters", fewer)
        return bound(w, echoes)


def test_the_two_bounds_meet_at_high_snr_in_many_snapshots(roomy_scenario):
    e = echo_world(dataclasses.replace(roomy_scenario, snapshots=400), [1, 2, 3], snr_db=40, seed=6, noise=False)
    high, full = deterministic(e.world, e.echoes), stochastic(e.world, e.echoes)
    on = e.world.present
    torch.testing.assert_close(high.position[on], full.position[on], rtol=0.1, atol=0)
    torch.testing.assert_close(
        high.echoes.gain[on], full.echoes.gain[on], rtol=0.2, atol=1e-2 * float(full.echoes.gain[on].amax())
    )


@pytest.mark.parametrize("bound", BOUNDS)
def test_what_stands_in_an_absent_slot_does_not_matter(roomy_scenario, bound):
    e = echo_world(roomy_scenario, [1, 2], seed=7)
    w, echoes = e.world, e.echoes
    echoes.gain[1, 0, 1] = 0
    other = echoes.location.clone()
    other[echoes.gain == 0] = 0.0
    stray = Echoes(location=other, gain=torch.where(w.present[..., None], echoes.gain, 1.0))
    one, two = bound(w, echoes), bound(w, stray)
    torch.testing.assert_close(one.position, two.position, equal_nan=True)
    torch.testing.assert_close(one.echoes.covariance, two.echoes.covariance, equal_nan=True)
    assert one.echoes.gain[1, 0, 1].isnan().all()
    assert one.echoes.gain[1, 0, 0].isfinite().all()


@pytest.mark.parametrize("bound", BOUNDS)
def test_coordinates_that_the_domain_fixes_are_no_parameters(roomy_scenario, bound):
    """A fixed distance of the sources does not fix that of the images; a fixed elevation does."""
    flat = dataclasses.replace(roomy_scenario, elevation_span_deg=(0.0, 0.0), distance_span_m=(1.0, 1.0))
    assert echo_domain(flat.surface.domain).free == (True, False, True)
    e = echo_world(roomy_scenario, [2], seed=8)
    result = bound(dataclasses.replace(e.world, scenario=flat), e.echoes)
    every = bound(e.world, e.echoes)
    V, U = result.covariance[0, :2], result.echoes.covariance[0, :2]
    assert (V[:, 1:] == 0).all()
    assert (U[..., 1, :] == 0).all()
    assert (U[..., (0, 2), (0, 2)] > 0).all()
    assert (result.angle[0, :2] <= every.angle[0, :2]).all()
    assert (result.echoes.gain[0, :2].diagonal(dim1=-2, dim2=-1) > 0).all()


def test_echoes_from_elsewhere_cost_little(scenario):
    """In the default scenario, with 256 samples a scene, two weak echoes a source: the median source pays less than 10 %."""
    e = echo_world(scenario, [1, 2, 3] * 10, level_db=-20, snr_db=20, seed=10, noise=False)
    on = e.world.present
    for bound in BOUNDS:
        ratio = bound(e.world, e.echoes).position[on] / bound(e.world).position[on]
        assert 1.0 < ratio.median() < 1.1


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_batch_is_its_scenes(roomy_scenario, bound):
    """More scenes than are computed at a time, and none."""
    e = echo_world(roomy_scenario, [1, 2, 3] * 3, seed=11)
    together = bound(e.world, e.echoes)
    for b in (0, 3, 4, 8):
        w, rows = e.world, slice(b, b + 1)
        alone = dataclasses.replace(
            w,
            observation=w.observation[rows],
            **{n: getattr(w, n)[rows] for n in ("location", "power", "symbols", "present")},
        )
        one = bound(alone, e.echoes[rows])
        torch.testing.assert_close(one.covariance[0], together.covariance[b], rtol=1e-9, atol=0, equal_nan=True)
        torch.testing.assert_close(one.echoes.gain[0], together.echoes.gain[b], rtol=1e-9, atol=0, equal_nan=True)
    nothing = dataclasses.replace(
        w, observation=w.observation[:0], **{n: getattr(w, n)[:0] for n in ("location", "power", "symbols", "present")}
    )
    assert bound(nothing, e.echoes[:0]).echoes.gain.shape == (0, 3, 2, 2, 2)


def test_an_image_at_the_place_of_its_source_has_no_finite_bound(roomy_scenario):
    e = echo_world(roomy_scenario, [1], paths=1, seed=9)
    echoes = dataclasses.replace(e.echoes, location=e.world.location[:, :, None].clone())
    result = stochastic(e.world, echoes)
    assert (result.position[0, 0] > 1e3) | result.position[0, 0].isinf()
