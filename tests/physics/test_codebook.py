import numpy as np
import pytest
import torch
from unhooked import unhooked

from risloc.physics.codebook import codebook, codes_of, dft_codes


@pytest.mark.parametrize("bits", range(1, 9))
def test_a_code_is_its_share_of_a_turn_and_comes_back(bits):
    codes = torch.arange(2**bits, dtype=torch.uint8)
    phasors = codebook(codes, bits)
    assert phasors.dtype == torch.complex64
    np.testing.assert_allclose(phasors.numpy(), np.exp(2j * np.pi * np.arange(2**bits) / 2**bits), atol=1e-7)
    assert torch.equal(codes_of(phasors, bits), codes)


def test_a_code_of_too_many_bits_is_an_error():
    with pytest.raises(ValueError, match=r"0\.\.7 \(3 bits\), got 8"):
        codebook(torch.tensor([8], dtype=torch.uint8), 3)


@pytest.mark.parametrize("bits", range(3, 9))
def test_from_3_bits_on_the_beams_are_the_exact_dft(bits):
    codes = dft_codes(12, 5, 70, bits)
    snapshot, element = np.arange(70) % 64, np.arange(60)
    eighths = np.outer(snapshot // 8, element % 12) + np.outer(snapshot % 8, element // 12)
    np.testing.assert_allclose(codebook(codes, bits).numpy(), np.exp(2j * np.pi * eighths / 8), atol=2e-7)


@pytest.mark.parametrize("bits", range(3, 9))
def test_from_3_bits_on_64_beams_are_orthogonal_on_an_8_by_8_surface(bits):
    C = codebook(dft_codes(8, 8, 64, bits), bits).to(torch.complex128)
    torch.testing.assert_close(C @ C.mH, 64 * torch.eye(64, dtype=torch.complex128), atol=1e-4, rtol=0)


@pytest.mark.parametrize("snapshots", [16, 64])
@pytest.mark.parametrize("bits", range(4, 9))
def test_more_than_3_bits_change_no_beam(bits, snapshots):
    torch.testing.assert_close(
        codebook(dft_codes(12, 12, snapshots, bits), bits),
        codebook(dft_codes(12, 12, snapshots, 3), 3),
        atol=2e-7,
        rtol=0,
    )


@pytest.mark.parametrize("bits", [1, 2])
def test_below_3_bits_each_code_is_the_state_nearest_to_the_dft(bits):
    codes = dft_codes(12, 12, 64, bits)
    snapshot, element = np.arange(64), np.arange(144)
    eighths = np.outer(snapshot // 8, element % 12) + np.outer(snapshot % 8, element // 12)
    wanted = np.exp(2j * np.pi * eighths / 8)
    states = np.exp(2j * np.pi * np.arange(2**bits) / 2**bits)
    distances = np.abs(wanted[..., None] - states)
    taken = np.take_along_axis(distances, codes.numpy()[..., None].astype(int), -1)[..., 0]
    np.testing.assert_allclose(taken, distances.min(-1), atol=1e-12)
    assert np.bincount(codes.flatten().numpy(), minlength=2**bits).min() > 0


@pytest.mark.parametrize(("bits", "expected"), [(1, [0, 0, 1, 1, 1, 1, 0, 0]), (2, [0, 1, 1, 2, 2, 3, 3, 0])])
def test_half_way_between_two_states_the_later_one_is_taken(bits, expected):
    assert dft_codes(8, 1, 9, bits)[8].tolist() == expected


def test_beams_follow_the_formula_and_start_again():
    codes = dft_codes(12, 5, 70, 3)
    for snapshot in range(70):
        p, q = divmod(snapshot % 64, 8)
        for element in range(60):
            assert int(codes[snapshot, element]) == (p * (element % 12) + q * (element // 12)) % 8


def test_codes_may_be_integers_of_any_kind_and_nothing_else():
    expected = codebook(torch.tensor([[0, 3], [7, 1]], dtype=torch.uint8), 3)
    for codes in (np.array([[0, 3], [7, 1]]), np.array([[0, 3], [7, 1]], "u2"), torch.tensor([[0, 3], [7, 1]])):
        assert torch.equal(codebook(codes, np.int64(3)), expected)
    for codes, bits, said in (
        (np.array([-1]), 3, r"codes: expected integers in 0\.\.7 \(3 bits\), got -1"),
        (np.array([0.5]), 3, r"codes: expected integers in .*, got torch\.float64"),
        (expected, 3, r"codes: expected integers in .*, got torch\.complex64"),
        (np.array([1]), 9, r"bits: expected an integer in 1\.\.8, got 9"),
        (np.array([1]), 3.0, r"bits: expected an integer in 1\.\.8, got 3\.0"),
    ):
        with pytest.raises(ValueError, match=said):
            unhooked(codebook, codes, bits)
