"""The model written out from its formulas in plain numpy: loops, float64, one scene at a time."""

import numpy as np


def elements(n_h, n_v, wavelength, reference="centre"):
    """Positions [elem 3] with half-wavelength spacing, x fastest."""
    half = wavelength / 2
    rows = []
    for j in range(n_v):
        for i in range(n_h):
            if reference == "centre":
                rows.append([(i - (n_h - 1) / 2) * half, (j - (n_v - 1) / 2) * half, 0.0])
            else:
                rows.append([i * half, j * half, 0.0])
    return np.array(rows)


def position(azimuth, elevation, distance):
    """The point in space, boresight +z."""
    return distance * np.array(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    )


def steering(places, wavelength, azimuth, elevation, distance):
    """exp(-j 2 pi (|p - x_n| - r) / wavelength), element by element."""
    p = position(azimuth, elevation, distance)
    return np.array([np.exp(-2j * np.pi * (np.sqrt(((p - x) ** 2).sum()) - distance) / wavelength) for x in places])


def received(H, codes, bits, A, P):
    """tr(G_l A P A^H G_l^H) / M, averaged over l, with G_l = H diag(c_l)."""
    total = 0.0
    for row in codes:
        G = H @ np.diag(np.exp(2j * np.pi * row / 2**bits))
        total += np.trace(G @ A @ P @ A.conj().T @ G.conj().T).real / len(H)
    return total / len(codes)
