"""Random factors of covariances, and the matrices that they stand for."""

import numpy as np
import torch

from risloc.covariance.factored import FactoredCovariance


def gaussian(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex128, generator=generator)


def dense(R: FactoredCovariance) -> np.ndarray:
    F = R.factor.detach().numpy()
    return F @ F.conj().swapaxes(-1, -2)
