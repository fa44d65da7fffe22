"""The parameters of params.yaml, and values that nobody would write there."""

from pathlib import Path
from typing import Any

from risloc.utils.yaml_reader import read_yaml

PARAMS = read_yaml(Path(__file__).parents[2] / "params.yaml")
EXTREMES: dict[str, list[Any]] = {
    "n_h": [1, 2, 1024, 10**9], "n_v": [1, 3, 1024], "antennas": [1, 2, 10**9], "snapshots": [1, 2, 10**9],
    "K_MAX": [1, 2, 64, 10**9], "K_span": [[0, 0], [1, 1], [64, 64]], "carrier_hz": [1e6, 1e12, 1e-300, 1e300],
    "distance_span_m": [[1e-3, 1e6], [1.0, 1.0], [1e-300, 1e300]], "azimuth_span_deg": [[0, 0], [-89.9, 89.9]],
    "snr_db_span": [[-200, 200], [0, 1e308]], "power_span_db": [[-200, 200], [-1e308, 1e308]],
    "min_separation_uv": [0.0, 3.0, 1e308], "min_separation_deg": [0.0, 360.0], "code_bits": [1, 8, 64],
    "rician_span": [[0, 0], [1e6, 1e6], [0, 1e308]], "codebook": ["dft", "ones"], "waveform": ["coherent", "constant"],
    "power_law": ["inverse_square"], "observation": ["direct"], "coherent_fraction": [1.0],
}  # fmt: skip
