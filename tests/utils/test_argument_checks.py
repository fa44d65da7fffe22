"""Arguments of another type or shape are refused in one line, by the functions that a user calls first."""

import numpy as np
import pytest
import torch
from unhooked import unhooked

import risloc
from risloc import FactoredCovariance, gospa, location_of, match, nmse, polar_of, position_of, steering_matrix
from risloc.covariance.factored import true_covariance
from risloc.covariance.snapshots import sample_covariance

PLACES, THERE = torch.ones(2, 3, 3), torch.ones(2, 3, dtype=torch.bool)
FACTOR = torch.ones(2, 9, 4, dtype=torch.complex64)

WRONG = {
    "numpy location": (lambda: unhooked(polar_of, np.ones((4, 3))), TypeError, "location: expected a torch tensor, got ndarray"),
    "a list": (lambda: unhooked(location_of, [0.0, 0.0, 1.0]), TypeError, "polar: expected a torch tensor, got list"),
    "two coordinates": (lambda: unhooked(position_of, torch.ones(4, 2)), ValueError, "location: expected the shape [..., 3], got (4, 2)"),
    "complex": (lambda: unhooked(polar_of, torch.ones(3) * 1j), ValueError, "location: expected real numbers, got complex64"),
    "no array": (lambda: unhooked(steering_matrix, risloc.scenario(), PLACES), TypeError, "array: expected an Array, got Scenario"),
    "numpy places": (lambda: unhooked(steering_matrix, risloc.scenario().surface.array, np.ones((1, 3))), TypeError, "polar: expected a torch tensor"),
    "one place": (lambda: unhooked(steering_matrix, risloc.scenario().surface.array, torch.ones(3)), ValueError, "polar: expected the shape [..., any, 3], got (3,)"),
    "sets of numpy": (lambda: unhooked(gospa, np.ones((2, 3, 3)), THERE, PLACES, THERE, 1.0), TypeError, "estimated: expected a torch tensor"),
    "one scene": (lambda: unhooked(match, PLACES[0], THERE[0], PLACES[0], THERE[0], 1.0), ValueError, "estimated: expected the shape [any, any, 3], got (3, 3)"),
    "other scenes": (lambda: unhooked(gospa, PLACES, THERE, PLACES[:1], THERE[:1], 1.0), ValueError, "true: expected the shape [2, any, 3], got (1, 3, 3)"),
    "a mask of numbers": (lambda: unhooked(gospa, PLACES, THERE.float(), PLACES, THERE, 1.0), ValueError, "est_present: expected booleans"),
    "a shorter mask": (lambda: unhooked(match, PLACES, THERE, PLACES, THERE[:, :2], 1.0), ValueError, "present: expected the shape [2, 3], got (2, 2)"),
    "a matrix for R": (lambda: unhooked(nmse, torch.eye(9), FactoredCovariance(FACTOR)), TypeError, "R: expected a FactoredCovariance, got Tensor"),
    "unlike R": (lambda: unhooked(nmse, FactoredCovariance(FACTOR), FactoredCovariance(FACTOR[:, :8])), ValueError, "R, R_true: expected factors of the same scenes"),
    "a real factor": (lambda: unhooked(FactoredCovariance, FACTOR.real), ValueError, "factor: expected complex numbers, got float32"),
    "a factor of numpy": (lambda: unhooked(FactoredCovariance, FACTOR.numpy()), TypeError, "factor: expected a torch tensor, got ndarray"),
    "powers": (lambda: unhooked(true_covariance, FACTOR, torch.ones(2, 3)), ValueError, "power: expected the shape [..., 4], got (2, 3)"),
    "snapshots": (lambda: unhooked(sample_covariance, FACTOR[0]), ValueError, "snapshots: expected the shape [any, any, any], got (9, 4)"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_in_one_line(what: str) -> None:
    call, kind, said = WRONG[what]
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
