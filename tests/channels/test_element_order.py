"""Sionna's own array has the order of elements that docs/formats.md calls columns-down."""

import numpy as np
import pytest

from risloc.io.reading_options import element_order

pytestmark = pytest.mark.channels


def test_sionna_counts_down_the_first_column() -> None:
    from sionna.rt.antenna_array import PlanarArray

    array = PlanarArray(num_rows=3, num_cols=4, pattern="iso", polarization="V")
    places = np.stack([array.normalized_positions.y.numpy(), array.normalized_positions.z.numpy()], axis=-1)
    iy, ix = np.divmod(np.arange(12), 4)
    expected = np.stack([(ix - 1.5) / 2, (iy - 1) / 2], axis=-1)  # x along the rows, y up, in wavelengths
    order = element_order("columns-down", 4, 3)
    assert order is not None
    np.testing.assert_allclose(places[order], expected, atol=1e-6)
