import dataclasses

import numpy as np
import pytest
import torch
from plain_music import music
from worlds import roomy, world

from risloc.estimation import sparse_bayes
from risloc.estimation.conditional import Sensing
from risloc.estimation.sparse_bayes import sparse_covariance, sparse_powers
from risloc.estimation.spectrum import peaks
from risloc.physics.geometry import location_of, position_of
from risloc.physics.grid import GridConfig, polar_grid
from risloc.physics.steering import steering_matrix

GRID = GridConfig(step_beams=0.6, planes=3)


def setting(w, config=GRID):
    """The sensing, and the grid with its steering vectors in double precision."""
    surface = w.scenario.surface
    grid = polar_grid(surface, config)
    grid = dataclasses.replace(grid, steering=steering_matrix(surface.array, grid.polar.double()))
    return Sensing.of(w.observation, surface), grid


def dense(w, grid):
    """Z [batch, snap, ant, grid] from H, the codes and the grid's steering vectors, in numpy."""
    o = w.observation
    return np.einsum("bmn,bln,ng->blmg", o.H.numpy(), o.codebook.numpy(), grid.steering.numpy())


def covariances(w, Z, p):
    noise = w.observation.noise_var.numpy()[:, None, None, None] * np.eye(Z.shape[2])
    return (Z * p[:, None, None]) @ Z.conj().swapaxes(2, 3) + noise


def cost(w, Z, p):
    """f = sum_l ln det C_l + y_l^H C_l^-1 y_l of each scene."""
    C, y = covariances(w, Z, p), w.observation.y.numpy()
    quadratic = np.einsum("blm,blm->b", y.conj(), np.linalg.solve(C, y[..., None])[..., 0]).real
    return np.linalg.slogdet(C)[1].sum(1) + quadratic


def touches(grid):
    return grid.inside.expand(grid.shape).reshape(-1).numpy()


def test_an_update_is_the_formula(small_scenario):
    """Three updates from equal powers, written out point by point; 0 outside the domain."""
    w = world(small_scenario, [0, 1, 2, 3], snr_db=10)
    s, grid = setting(w)
    grid.inside[0, :2] = False  # this domain touches every cell
    Z, y, inside = dense(w, grid), w.observation.y.numpy(), touches(grid)
    p = np.zeros((4, len(inside)))
    energy = (np.abs(y) ** 2).sum((1, 2)) / (np.abs(Z[..., inside]) ** 2).sum((1, 2, 3))
    p[:, inside] = energy[:, None]
    for updates in (1, 2, 3):
        inverse = np.linalg.inv(covariances(w, Z, p))
        for b in range(4):
            x = [inverse[b, i] @ y[b, i] for i in range(y.shape[1])]
            for g in np.flatnonzero(inside):
                z = Z[b, :, :, g]
                fit = sum(abs(z[i].conj() @ x[i]) ** 2 for i in range(len(z)))
                spread = sum((z[i].conj() @ inverse[b, i] @ z[i]).real for i in range(len(z)))
                p[b, g] *= np.sqrt(fit / spread)
        np.testing.assert_allclose(sparse_powers(s, grid, updates).numpy(), p, rtol=1e-8, atol=0)


def test_the_cost_never_rises(small_scenario):
    w = world(small_scenario, [0, 1, 2, 3], snr_db=15, seed=1)
    s, grid = setting(w)
    Z = dense(w, grid)
    costs = np.array([cost(w, Z, sparse_powers(s, grid, n).numpy()) for n in range(1, 30)])
    assert (np.diff(costs, axis=0) <= 1e-9 * np.abs(costs[:-1])).all()
    assert (costs[0] - costs[-1] > 1).all()


def test_the_end_is_a_stationary_point(small_scenario):
    """Karush-Kuhn-Tucker: df/dp is 0 where there is power and not below 0 where there is none."""
    w = world(small_scenario, [1, 2], snr_db=10, seed=2)
    s, grid = setting(w)
    p = sparse_powers(s, grid, 3000)
    Z = torch.from_numpy(dense(w, grid))
    point = p.clone().requires_grad_()
    noise = w.observation.noise_var[:, None, None, None] * torch.eye(Z.shape[2])
    C = (Z * point[:, None, None]) @ Z.mH + noise
    y = w.observation.y
    f = torch.linalg.slogdet(C)[1].sum() + (y.conj() * torch.linalg.solve(C, y[..., None])[..., 0]).real.sum()
    (slope,) = torch.autograd.grad(f, point)
    slope = (slope * p.sum(1, keepdim=True))[:, touches(grid)]
    share = (p / p.sum(1, keepdim=True))[:, touches(grid)]
    assert (slope[share > 1e-3].abs() < 0.05).all()
    assert (slope > -0.5).all()
    assert ((share > 1e-3).sum(1) < 10).all()


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("snr_db", [20.0, 90.0])
def test_sources_on_the_grid_are_found_with_their_powers(small_scenario, dtype, snr_db):
    """Two sources at points of the grid, 400 snapshots; a power within five of its deviations of 1/sqrt(400)."""
    w = world(dataclasses.replace(roomy(small_scenario), snapshots=400), [1], snr_db=snr_db, seed=3)
    _, grid = setting(w)
    where = np.flatnonzero(touches(grid))[[40, 200]]
    o, rng = w.observation, np.random.default_rng(4)
    s = (rng.standard_normal((400, 2)) + 1j * rng.standard_normal((400, 2))) * np.sqrt([2.0, 0.5])
    clean = np.einsum("blmk,lk->blm", dense(w, grid)[..., where], s)
    noise = o.y.numpy() - np.einsum("bmn,bln,bnk,bkl->blm", o.H, o.codebook, w.A, w.symbols)
    y = torch.from_numpy(clean + noise)
    single = {name: getattr(o, name).to(dtype) for name in ("H", "codebook")}
    noise_var = o.noise_var.to(dtype.to_real())
    observation = dataclasses.replace(o, y=y.to(dtype), noise_var=noise_var, **single)
    p = sparse_powers(Sensing.of(observation, w.scenario.surface), grid, 60)[0]
    assert p.isfinite().all()
    assert set(p.topk(2).indices.tolist()) == set(where.tolist())
    torch.testing.assert_close(p[where].double(), torch.tensor([4.0, 1.0]).double(), rtol=5 / 20, atol=0)
    assert p[where].sum() > 0.95 * p.sum()


def test_scaling_the_snapshots_scales_the_powers(small_scenario):
    w = world(small_scenario, [1, 2], snr_db=10)
    s, grid = setting(w)
    louder = dataclasses.replace(s, y=3j * s.y, noise_var=9 * s.noise_var)
    torch.testing.assert_close(sparse_powers(louder, grid, 10), 9 * sparse_powers(s, grid, 10))


def test_scenes_beside_change_nothing(small_scenario, monkeypatch):
    w = world(small_scenario, [0, 1, 2, 3, 2], snr_db=10)
    s, grid = setting(w)
    alone = sparse_powers(s, grid, 10)
    monkeypatch.setattr(sparse_bayes, "CHUNK", 3)
    torch.testing.assert_close(sparse_powers(s, grid, 10), alone)


def test_the_learnt_covariance_is_that_of_the_strongest_points(small_scenario, generator):
    w = world(small_scenario, [1, 2])
    _, grid = setting(w)
    p = torch.rand(2, len(grid.polar), dtype=torch.float64, generator=generator)
    p[:, sparse_bayes.POINTS :] *= 0  # as many as are kept, so that nothing is left out
    p[1] = 0
    R = sparse_covariance(p, grid)
    A = grid.steering.numpy()
    expected = (A * p[0].numpy()) @ A.conj().T
    np.testing.assert_allclose(
        (R.factor[0] @ R.factor[0].mH).numpy(), expected / p[0].sum().item(), rtol=1e-9, atol=1e-9
    )
    assert (R.factor[1] == 0).all()
    p[0, -1] = 2.0  # the strongest of all, in place of the weakest
    assert (sparse_covariance(p, grid).factor[0].mH @ grid.steering[:, -1]).abs().amax() > 1


def test_refinement_on_the_learnt_covariance_leaves_the_grid(small_scenario):
    """Forty scenes of one source at 20 dB: MUSIC on A diag(p) A^H is at least twice as near as the strongest point."""
    w = world(roomy(small_scenario), [1] * 40, snr_db=20, seed=5)
    s, grid = setting(w, GridConfig(step_beams=0.5, planes=5))
    p = sparse_powers(s, grid, 20)
    on_grid = peaks(p, grid, 1, 0.05).polar
    R = sparse_covariance(p, grid)
    found = music(R, w.count, w.scenario.surface, grid, widest=3, separation=0.05)
    truth = position_of(w.location[:, 0])
    errors = [(position_of(location_of(x[:, 0])) - truth).norm(dim=-1).median() for x in (on_grid, found.polar)]
    assert errors[1] < errors[0] / 2
