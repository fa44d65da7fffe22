"""Near-field localisation with reconfigurable intelligent surfaces.

At a prompt:

    from risloc import Localiser, covariances, crb, load_model, locate, measurements_of, music, scenario, simulate

    world = scenario("default")                                   # a Scenario: 12 x 12 elements at 1 GHz
    scenes = simulate(world, seed=1, split="test", start=0, stop=4, snr_db=10.0, count=2)
    model = load_model("default")                                 # the network that comes with the package
    R = covariances(scenes.observation, model)                    # R_samp, R_pred, R_blend
    found = locate(measurements_of(world, scenes), model)         # positions with standard deviations
    found.position[found.present], found.position_std[found.present]

| name | what it is |
|---|---|
| `scenario`, `Scenario` | a preset by name, with changes; what scenes are drawn from |
| `simulate`, `Scenes`, `Observation`, `Truth` | scenes, seen and unseen |
| `covariances`, `sample_covariance`, `hybrid_covariance`, `true_covariance`, `FactoredCovariance` | R as its factor |
| `polar_of`, `location_of`, `position_of`, `steering_matrix` | (u, v, 1/r), (azimuth, elevation, r), (x, y, z); the waves |
| `nmse`, `match`, `gospa` | errors: of a covariance, of each source, of a scene |
| `bound` | the least deviations that an estimator can have, of measurements with their truth |
| `music`, `refine`, `crb` | modules: `music.music`, `refine.energy_peaks`, `crb.stochastic_bound` |
| `load_model`, `HybridNetwork` | a shipped network or one of one's own |
| `Localiser`, `default_search` | every method's search for sources |
| `locate`, `Locator`, `Found`, `LocateError` | from measurements to positions |
| `plot_scene`, `plot_codebook`, `plot_spectrum`, `plot_curves` | figures (needs matplotlib) |
| `Measurements`, `Setup`, `MeasurementReader`, `Reading`, `measurements_of`, `write_measurements` | measurements and their file |

Each name is imported when it is first used, so that `import risloc` costs nothing. `risloc/__init__.pyi` says where each
lives; all else is imported from its own module, as `from risloc.estimation.selection import forward_selection`.
"""

import ast
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_HOME = {
    alias.name: str(node.module)
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(__import__(_HOME[name], fromlist=[name]), name)
    raise AttributeError(f"module 'risloc' has no attribute {name!r}; {_nearest(name)}dir(risloc) lists what it has")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def _nearest(name: str) -> str:
    """The names that are most like it, in words; nothing where none is."""
    import difflib

    close = difflib.get_close_matches(name.lower(), {each.lower() for each in _HOME}, cutoff=0.7)
    near = [each for like in close for each in sorted(_HOME) if each.lower() == like]
    return f"the nearest are {', '.join(near)}; " if near else ""
