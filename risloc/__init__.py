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
| `Measurements`, `Setup`, `MeasurementReader`, `measurements_of`, `write_measurements` | measurements and their file |

These names and all submodules are imported when they are first named, so that importing one drags in no other, and
`import risloc` costs nothing. Type checkers and editors read them from the imports below, which are never run.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_SUBMODULES = frozenset(
    [
        "ahead",
        "arguments",
        "channel",
        "checkpoint",
        "classical",
        "codebook",
        "command",
        "coordinates",
        "covariance",
        "crb",
        "device",
        "doubt",
        "exact",
        "exchange",
        "files",
        "found",
        "fresh",
        "gain",
        "geometry",
        "grid",
        "learnt_order",
        "likelihood",
        "localise",
        "locating",
        "loss",
        "measurement_checks",
        "measurement_reader",
        "measurements",
        "metrics",
        "misfit",
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
        "reasons",
        "records",
        "refine",
        "results",
        "room",
        "scene",
        "scene_figures",
        "scene_rows",
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
        "truth_errors",
        "unknown_names",
        "validation",
        "whiteness",
    ]
)

_HOME = {
    "FactoredCovariance": "covariance",
    "Found": "found",
    "HybridNetwork": "network",
    "Localiser": "localise",
    "LocateError": "locating",
    "Locator": "locating",
    "MeasurementReader": "measurement_reader",
    "Measurements": "measurements",
    "Observation": "scene",
    "Scenario": "scene",
    "Scenes": "scene",
    "Setup": "measurements",
    "Truth": "scene",
    "bound": "shortcuts",
    "covariances": "shortcuts",
    "default_search": "localise",
    "gospa": "metrics",
    "hybrid_covariance": "covariance",
    "load_model": "locating",
    "locate": "locating",
    "location_of": "geometry",
    "match": "metrics",
    "measurements_of": "measurements",
    "nmse": "loss",
    "polar_of": "geometry",
    "position_of": "geometry",
    "sample_covariance": "covariance",
    "scenario": "shortcuts",
    "simulate": "simulation",
    "steering_matrix": "steering",
    "true_covariance": "covariance",
    "write_measurements": "measurements",
}
"""The public names that are no submodules, and where each lives."""

if TYPE_CHECKING:  # what `_HOME` and `_SUBMODULES` say; a test compares them
    from risloc import ahead as ahead
    from risloc import arguments as arguments
    from risloc import channel as channel
    from risloc import checkpoint as checkpoint
    from risloc import classical as classical
    from risloc import codebook as codebook
    from risloc import command as command
    from risloc import coordinates as coordinates
    from risloc import covariance as covariance
    from risloc import crb as crb
    from risloc import device as device
    from risloc import doubt as doubt
    from risloc import exact as exact
    from risloc import exchange as exchange
    from risloc import files as files
    from risloc import found as found
    from risloc import fresh as fresh
    from risloc import gain as gain
    from risloc import geometry as geometry
    from risloc import grid as grid
    from risloc import learnt_order as learnt_order
    from risloc import likelihood as likelihood
    from risloc import localise as localise
    from risloc import locating as locating
    from risloc import loss as loss
    from risloc import measurement_checks as measurement_checks
    from risloc import measurement_reader as measurement_reader
    from risloc import measurements as measurements
    from risloc import metrics as metrics
    from risloc import misfit as misfit
    from risloc import music as music
    from risloc import network as network
    from risloc import newton as newton
    from risloc import noise_level as noise_level
    from risloc import order as order
    from risloc import parallel as parallel
    from risloc import params as params
    from risloc import physical_score as physical_score
    from risloc import plots as plots
    from risloc import preset_files as preset_files
    from risloc import progress as progress
    from risloc import raytraced as raytraced
    from risloc import raytracer as raytracer
    from risloc import reasons as reasons
    from risloc import records as records
    from risloc import refine as refine
    from risloc import results as results
    from risloc import room as room
    from risloc import scene as scene
    from risloc import scene_figures as scene_figures
    from risloc import scene_rows as scene_rows
    from risloc import scene_view as scene_view
    from risloc import selection as selection
    from risloc import shard_writer as shard_writer
    from risloc import shards as shards
    from risloc import shortcuts as shortcuts
    from risloc import simulation as simulation
    from risloc import sparse as sparse
    from risloc import spectrum as spectrum
    from risloc import steering as steering
    from risloc import stochastic as stochastic
    from risloc import stored as stored
    from risloc import training as training
    from risloc import truth_errors as truth_errors
    from risloc import unknown_names as unknown_names
    from risloc import validation as validation
    from risloc import whiteness as whiteness
    from risloc.covariance import FactoredCovariance as FactoredCovariance
    from risloc.covariance import hybrid_covariance as hybrid_covariance
    from risloc.covariance import sample_covariance as sample_covariance
    from risloc.covariance import true_covariance as true_covariance
    from risloc.found import Found as Found
    from risloc.geometry import location_of as location_of
    from risloc.geometry import polar_of as polar_of
    from risloc.geometry import position_of as position_of
    from risloc.localise import Localiser as Localiser
    from risloc.localise import default_search as default_search
    from risloc.locating import LocateError as LocateError
    from risloc.locating import Locator as Locator
    from risloc.locating import load_model as load_model
    from risloc.locating import locate as locate
    from risloc.loss import nmse as nmse
    from risloc.measurement_reader import MeasurementReader as MeasurementReader
    from risloc.measurements import Measurements as Measurements
    from risloc.measurements import Setup as Setup
    from risloc.measurements import measurements_of as measurements_of
    from risloc.measurements import write_measurements as write_measurements
    from risloc.metrics import gospa as gospa
    from risloc.metrics import match as match
    from risloc.network import HybridNetwork as HybridNetwork
    from risloc.scene import Observation as Observation
    from risloc.scene import Scenario as Scenario
    from risloc.scene import Scenes as Scenes
    from risloc.scene import Truth as Truth
    from risloc.shortcuts import bound as bound
    from risloc.shortcuts import covariances as covariances
    from risloc.shortcuts import scenario as scenario
    from risloc.simulation import simulate as simulate
    from risloc.steering import steering_matrix as steering_matrix

else:  # unseen by type checkers, for which a name that is not above is a mistake
    __all__ = ["__version__", *sorted(_HOME), *sorted(_SUBMODULES)]

    def __getattr__(name: str) -> Any:
        if name in _SUBMODULES:
            return importlib.import_module(f"risloc.{name}")
        if name in _HOME:
            return getattr(importlib.import_module(f"risloc.{_HOME[name]}"), name)
        raise AttributeError(
            f"module 'risloc' has no attribute {name!r}; {_nearest(name)}dir(risloc) lists what it has"
        )

    def __dir__() -> list[str]:
        return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def _nearest(name: str) -> str:
    """The names that are most like it, in words; nothing where none is."""
    import difflib

    names = (*_HOME, *_SUBMODULES)
    close = difflib.get_close_matches(name.lower(), {each.lower() for each in names}, cutoff=0.7)
    near = [each for like in close for each in sorted(names) if each.lower() == like]
    return f"the nearest are {', '.join(near)}; " if near else ""
