"""Scenes have the same bits on every processor: the laws that this rests on, and processes that compute with other kernels."""

import hashlib
import json
import os
import subprocess
import sys
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch

from risloc.config import build
from risloc.io.scene_arrays import arrays_of
from risloc.physics.codebook import codebook, dft_codes
from risloc.physics.geometry import planar_array, polar_of
from risloc.physics.portable_arithmetic import (
    CHANNEL_STEP,
    coded_product,
    exact_matmul,
    exact_polar_of,
    exact_steering_matrix,
    exact_sum,
    on_grid,
    phasor,
    power_of_ten,
    times,
)
from risloc.physics.steering import steering_matrix
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate

KERNELS = {
    "as they are": {},
    "two threads": {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL"},
    "no AVX": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL",
        "OPENBLAS_CORETYPE": "Prescott",
    },
}
"""Variables by which torch, MKL, numpy and OpenBLAS take the kernels of other processors."""

DIGESTS = """
import dataclasses, json
from risloc.config import build
from risloc.scenes.preset_files import preset, preset_names
from risloc.io.scene_arrays import arrays_of, digest
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
found = {}
for name in preset_names():
    s = build(Scenario, preset(name), name)
    worlds = {name: s, f"{name}, mismatched": dataclasses.replace(s, mismatch=dataclasses.replace(
        s.mismatch, element_phase_std_deg=5.0, element_gain_std_db=0.5, dead_fraction=0.05, channel_error=0.01,
        multipath_paths=2)),
        f"{name}, farther images": dataclasses.replace(s, echoes=dataclasses.replace(s.echoes, law="farther"))}
    for title, world in worlds.items():
        scenes = simulate(world, seed=20261123, split="train", start=0, stop=8)
        arrays = arrays_of(scenes, world.code_bits)
        found[title] = {part: digest({part: array}).hexdigest() for part, array in arrays.items()}
print(json.dumps(found))
"""


def digests(variables):
    done = subprocess.run(
        [sys.executable, "-c", DIGESTS], env=os.environ | variables, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def here():
    return digests({})


@pytest.mark.parametrize("kernels", list(KERNELS)[1:])
def test_scenes_have_the_same_bits_whatever_the_kernels(here, kernels):
    assert digests(KERNELS[kernels]) == here


def test_phasors_are_those_of_an_independent_library():
    turns = np.concatenate([np.linspace(-3, 3, 97), np.random.default_rng(1).uniform(-40, 40, 300)])
    found = phasor(torch.from_numpy(turns)).numpy()
    with mpmath.workdps(40):
        for turn, z in zip(turns, found, strict=True):
            truth = mpmath.expjpi(2 * mpmath.mpf(float(turn)))
            assert abs(complex(truth) - z) < 4e-16
    assert phasor(torch.arange(-8, 9, dtype=torch.float64) / 4).tolist() == [1, 1j, -1, -1j] * 4 + [1]


def test_powers_of_ten_are_those_of_an_independent_library():
    exponents = np.concatenate([np.linspace(-30, 30, 121), np.random.default_rng(2).uniform(-3, 3, 200)])
    with mpmath.workdps(40):
        truth = [float(mpmath.power(10, mpmath.mpf(float(x)))) for x in exponents]
    np.testing.assert_allclose(power_of_ten(torch.from_numpy(exponents)).numpy(), truth, rtol=1e-14)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 85])
def test_a_sum_is_the_sum(size):
    x = torch.from_numpy(np.random.default_rng(size).standard_normal((3, size)))
    torch.testing.assert_close(exact_sum(x), x.sum(1))


def gaussian(rng, *shape):
    return torch.from_numpy(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))


def test_times_is_the_product_of_complex_numbers():
    a, b = (gaussian(np.random.default_rng(seed), 50) for seed in (3, 4))
    torch.testing.assert_close(times(a, b.to(torch.complex64)), a * b.to(torch.complex64))


def rational(x):
    return [[(Fraction(z.real), Fraction(z.imag)) for z in row] for row in x.tolist()]


@pytest.mark.parametrize("scale", [1.0, 1e-9, 3e7])
def test_a_matrix_product_rounds_nothing(scale):
    """Each entry is the rational number that the factors give, rounded to 22 = (53 - 2 - log2(64)) / 2 bits."""
    rng = np.random.default_rng(5)
    a, b = scale * gaussian(rng, 1, 3, 64), gaussian(rng, 1, 64, 2)
    found = exact_matmul(a, b)
    torch.testing.assert_close(found, a @ b, rtol=1e-4, atol=scale * 1e-4)
    left, right = (
        rational(on_grid(x, 2.0 ** (np.frexp(float(torch.view_as_real(x).abs().max()))[1] - 22))[0]) for x in (a, b)
    )
    for i, row in enumerate(rational(found[0])):
        for j, (real, imag) in enumerate(row):
            pairs = [(left[i][n], right[n][j]) for n in range(64)]
            assert real == sum(x[0] * y[0] - x[1] * y[1] for x, y in pairs)
            assert imag == sum(x[0] * y[1] + x[1] * y[0] for x, y in pairs)


@pytest.mark.parametrize(("n", "bits"), [(4, 8), (12, 3), (40, 1)])
def test_what_arrives_is_the_same_in_any_order_of_the_elements(n, bits):
    rng = np.random.default_rng(6)
    book = codebook(dft_codes(n, n, 9, bits), bits)[None]
    waves = phasor(torch.from_numpy(rng.uniform(size=(1, n * n, 3)))) * 2
    H = on_grid(gaussian(rng, 1, 8, n * n) / 2**0.5, CHANNEL_STEP)
    assert torch.equal(H.to(torch.complex64).to(torch.complex128), H)
    found = coded_product(book, waves, H)
    expected = torch.einsum("mn,ln,nk->lkm", H[0], book[0].to(H.dtype), waves[0])
    torch.testing.assert_close(found[0], expected, rtol=0, atol=2e-5 * n)
    for seed in range(5):
        order = torch.from_numpy(np.random.default_rng(seed).permutation(n * n))
        assert torch.equal(coded_product(book[:, :, order], waves[:, order], H[:, :, order]), found)


def test_polar_coordinates_and_waves_are_those_of_the_estimators():
    rng = np.random.default_rng(7)
    location = torch.from_numpy(rng.uniform([-1, -0.5, 0.5], [1, 0.5, 6], (4, 5, 3)))
    polar, array = exact_polar_of(location), planar_array(5, 4, 0.3)
    torch.testing.assert_close(polar, polar_of(location), rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(exact_steering_matrix(array, polar), steering_matrix(array, polar), rtol=0, atol=1e-13)


def test_the_bits_of_the_default_scenes():
    """Kept from one machine. Where this fails and the kernels agree, numpy or the C library draws other normals."""
    world = build(Scenario, preset("default"), "default")
    arrays = arrays_of(simulate(world, seed=20261123, split="train", start=0, stop=32), world.code_bits)
    assert hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()[:16] == "54894f6c378c91a7"
