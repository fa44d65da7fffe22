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
| `music`, `refine`, `crb` | modules: `music.music`, `refine.energy_peaks`, `crb.stochastic_bound` |
| `load_model`, `HybridNetwork` | a shipped network or one of one's own |
| `Localiser`, `default_search` | every method's search for sources |
| `locate`, `Locator`, `Found` | from measurements to positions |
| `Measurements`, `Setup`, `MeasurementReader`, `measurements_of`, `write_measurements` | measurements and their file |

These names and all submodules are imported when they are first named, so that importing one drags in no other, and
`import risloc` costs nothing.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_SUBMODULES = frozenset(
    [
        "ahead",
        "channel",
        "checkpoint",
        "codebook",
        "command",
        "coordinates",
        "covariance",
        "crb",
        "device",
        "files",
        "fresh",
        "geometry",
        "grid",
        "learnt_order",
        "likelihood",
        "localise",
        "locating",
        "loss",
        "measurement_reader",
        "measurements",
        "metrics",
        "music",
        "network",
        "newton",
        "noise_level",
        "order",
        "parallel",
        "params",
        "physical_score",
        "plots",
        "preset_files",
        "progress",
        "raytraced",
        "raytracer",
        "records",
        "refine",
        "room",
        "scene",
        "scene_figures",
        "scene_view",
        "selection",
        "shard_writer",
        "shards",
        "shortcuts",
        "simulation",
        "sparse",
        "spectrum",
        "steering",
        "stochastic",
        "stored",
        "training",
        "validation",
    ]
)

_HOME = {
    "FactoredCovariance": "covariance",
    "Found": "locating",
    "HybridNetwork": "network",
    "Localiser": "localise",
    "Locator": "locating",
    "MeasurementReader": "measurement_reader",
    "Measurements": "measurements",
    "Observation": "scene",
    "Scenario": "scene",
    "Scenes": "scene",
    "Setup": "measurements",
    "Truth": "scene",
    "covariances": "shortcuts",
    "default_search": "locating",
    "hybrid_covariance": "covariance",
    "load_model": "locating",
    "locate": "locating",
    "measurements_of": "measurements",
    "sample_covariance": "covariance",
    "scenario": "shortcuts",
    "simulate": "simulation",
    "true_covariance": "covariance",
    "write_measurements": "measurements",
}
"""The public names that are no submodules, and where each lives."""

__all__ = ["__version__", *sorted(_HOME), *sorted(_SUBMODULES)]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"risloc.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"risloc.{_HOME[name]}"), name)
    raise AttributeError(f"module 'risloc' has no attribute {name!r}; it has {', '.join(sorted(_SUBMODULES))}")
