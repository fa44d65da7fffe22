"""simulate at toy size, by `--set`: a block takes hundredths of a second."""

__all__ = ["small_simulation"]


def small_simulation(blocks: int) -> dict[str, object]:
    """What differs from params.yaml, by dotted path: 4 x 4 elements, `blocks` blocks of 64 training scenes."""
    return {
        "scenario.n_h": 4,
        "scenario.n_v": 4,
        "scenario.antennas": 4,
        "scenario.snapshots": 6,
        "scenario.K_MAX": 3,
        "scenario.K_span": [1, 3],
        "scenario.distance_span_m": [0.3, 1.5],
        "data.block": 64,
        "data.val": 64,
        "data.test_per_cell": 1,
        "data.train": 64 * blocks,
    }
