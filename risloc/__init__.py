"""Near-field localisation with reconfigurable intelligent surfaces.

Submodules are imported when they are first named, so that importing one drags in no other.
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"

_SUBMODULES = (
    frozenset({"ahead", "channel", "checkpoint", "codebook", "coordinates", "covariance", "crb", "device"})
    | frozenset(
        {
            "files",
            "fresh",
            "geometry",
            "grid",
            "learnt_order",
            "likelihood",
            "localise",
            "loss",
            "metrics",
            "music",
            "network",
            "newton",
            "order",
            "parallel",
            "params",
            "plots",
        }
    )
    | frozenset({"preset_files", "records", "refine", "scene", "selection", "shard_writer", "shards", "simulation"})
    | frozenset({"sparse", "spectrum", "steering", "stochastic", "training", "validation"})
)

__all__ = ["__version__", *sorted(_SUBMODULES)]


def __getattr__(name: str) -> ModuleType:
    if name in _SUBMODULES:
        return importlib.import_module(f"risloc.{name}")
    raise AttributeError(f"module 'risloc' has no attribute {name!r}; it has {', '.join(sorted(_SUBMODULES))}")
