import math

import numpy as np
import pytest
import torch

from risloc.covariance.factored import FactoredCovariance
from risloc.estimation.information_criteria import aic_order, bic, mdl_order

SENSORS, WIDEST = 8, 5


def snapshots(directions, count, *, snr_db=5.0, trials=1, seed=0):
    """A half-wavelength line of sensors, equal sources at these sines, unit noise: X [trial, sensor, count]."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / math.sqrt(2)

    A = np.exp(1j * np.pi * np.outer(np.arange(SENSORS), directions))
    s = normal(trials, len(directions), count) * 10 ** (snr_db / 20)
    return A @ s + normal(trials, SENSORS, count)


def factored(X):
    return FactoredCovariance(torch.from_numpy(X) / math.sqrt(X.shape[-1])).normalised()


def wax_kailath(X, penalty):
    """The criterion as printed: (product^(1/m) / sum/m)^(m n), one trial, from the dense sample covariance."""
    if X.shape[1] < X.shape[0]:
        X = X.conj().T  # p is the smaller, n the larger
    p, n = X.shape
    value = np.sort(np.linalg.eigvalsh(X @ X.conj().T / n))[::-1]
    results = []
    for k in range(WIDEST + 1):
        m = p - k
        ratio = np.prod(value[k:]) ** (1 / m) / (value[k:].sum() / m)
        results.append(penalty(m * n * math.log(ratio), k * (2 * p - k) + 1, n))
    return int(np.argmin(results))


def printed_aic(log_likelihood, parameters, n):
    return -2 * log_likelihood + 2 * parameters


def printed_mdl(log_likelihood, parameters, n):
    return -log_likelihood + 0.5 * parameters * math.log(n)


@pytest.mark.parametrize("count", [7, 12, 200])
@pytest.mark.parametrize(("order", "penalty"), [(aic_order, printed_aic), (mdl_order, printed_mdl)])
def test_orders_are_those_of_wax_and_kailath(order, penalty, count):
    """Also with fewer snapshots than sensors, where the two change places."""
    X = np.concatenate([snapshots(d, count, trials=20, seed=1) for d in ([], [0.3], [-0.4, 0.1, 0.6])])
    expected = [wax_kailath(x, penalty) for x in X]
    assert len(set(expected)) > 1
    assert order(factored(X), WIDEST).tolist() == expected


@pytest.mark.parametrize("directions", [[], [0.2], [-0.3, 0.4], [-0.6, 0.0, 0.5]])
def test_mdl_is_consistent_and_aic_is_not(directions):
    """300 draws of 1000 snapshots: MDL errs in at most 1 %; AIC never falls short and overestimates in 2 to 30 %."""
    R = factored(snapshots(directions, 1000, trials=300, seed=2))
    mdl, aic = mdl_order(R, WIDEST), aic_order(R, WIDEST)
    assert (mdl == len(directions)).double().mean() >= 0.99
    assert (aic >= len(directions)).all()
    assert 0.02 < (aic > len(directions)).double().mean() < 0.3


@pytest.mark.parametrize("order", [aic_order, mdl_order])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_without_noise_the_order_is_the_rank(order, dtype):
    """What rounding leaves counts as white; no source at all is order 0."""
    rng = np.random.default_rng(5)
    A = np.exp(1j * np.pi * np.outer(np.arange(SENSORS), [-0.4, 0.1, 0.6]))
    X = A @ rng.standard_normal((3, 3, 40)) * np.array([0.0, 1.0, 1e3])[:, None, None]
    X[1] -= A[:, 2:] @ (np.linalg.pinv(A) @ X[1])[2:]
    R = FactoredCovariance(torch.from_numpy(X).to(dtype))
    assert order(R, WIDEST).tolist() == [0, 2, 3]


def test_scale_and_scenes_beside_change_nothing():
    X = snapshots([0.1, 0.5], 30, trials=6, seed=3)
    together = mdl_order(FactoredCovariance(torch.from_numpy(X)), WIDEST)
    for b in range(6):
        assert mdl_order(FactoredCovariance(torch.from_numpy(1e-4 * X[b])), WIDEST) == together[b]


def test_an_order_without_noise_eigenvalues_is_refused():
    R = factored(snapshots([0.1], 5))
    with pytest.raises(ValueError, match=r"widest: expected 0\.\.4, below min\(elements, snapshots\) = 5, got 5"):
        aic_order(R, 5)
    assert aic_order(R, 4).shape == (1,)


@pytest.mark.parametrize(("parameters", "samples", "expected"), [(0, 256, 20.0), (12, 256, 20 + 12 * math.log(256))])
def test_bic_is_twice_f_and_a_log_for_each_parameter(parameters, samples, expected):
    assert float(bic(torch.tensor(10.0), parameters, samples)) == pytest.approx(expected)
