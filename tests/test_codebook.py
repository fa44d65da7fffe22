import numpy as np
import pytest
import torch

from risloc.codebook import codebook, codes_of, dft_codes


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


def test_64_beams_of_3_bits_are_the_dft_of_an_8_by_8_surface():
    C = codebook(dft_codes(8, 8, 64, 3), 3).to(torch.complex128)
    torch.testing.assert_close(C @ C.mH, 64 * torch.eye(64, dtype=torch.complex128), atol=1e-4, rtol=0)


def test_beams_follow_the_formula_and_start_again():
    codes = dft_codes(12, 5, 70, 3)
    for snapshot in range(70):
        p, q = divmod(snapshot % 64, 8)
        for element in range(60):
            assert int(codes[snapshot, element]) == (p * (element % 12) + q * (element // 12)) % 8
