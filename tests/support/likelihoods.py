"""The two likelihoods of the raw snapshots, written out densely, one matrix a snapshot: what the fits must agree with."""

import math

import torch
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.physics.steering import steering_matrix


def conditional_cost(sensing: Sensing, polar: Tensor, present: Tensor) -> Tensor:
    """Compute sum_l |y_l - B_l s_l|^2 of each scene, with s_l from the normal equations."""
    B = _responses(sensing, polar) * present[:, None, None, :]
    y = sensing.y[..., None]
    gram = B.mH @ B + torch.diag_embed(~present).to(B.dtype)[:, None]
    return (y - B @ torch.linalg.solve(gram, B.mH @ y)).abs().square().sum((1, 2, 3))


def log_likelihood(sensing: Sensing, polar: Tensor, power: Tensor) -> Tensor:
    """Compute sum_l ln CN(y_l; 0, C_l) of each scene, C_l = B_l diag(p) B_l^H + sigma^2 I."""
    B, y = _responses(sensing, polar), sensing.y[..., None]
    eye = torch.eye(y.shape[2], dtype=B.dtype)
    C = (B * power[:, None, None, :]) @ B.mH + sensing.noise_var[:, None, None, None] * eye
    fit = (y.mH @ torch.linalg.solve(C, y)).real.sum((1, 2, 3))
    return -torch.linalg.slogdet(C)[1].sum(1) - fit - math.prod(sensing.y.shape[1:]) * math.log(math.pi)


def _responses(sensing: Sensing, polar: Tensor) -> Tensor:
    """Return B_l = H diag(c_l) A as [batch, snap, ant, src]."""
    A = steering_matrix(sensing.array, polar)
    return (sensing.G @ A).view(*sensing.y.shape, A.shape[-1])
