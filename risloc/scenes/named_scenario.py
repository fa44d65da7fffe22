"""A scenario by the name of its preset, with some of its values changed."""

from risloc.config import build
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario

__all__ = ["scenario"]


def scenario(name: str = "default", **changes: object) -> Scenario:
    """The preset of that name, with some of its values changed.

    >>> scenario("default", snapshots=64).snapshots
    64

    Raises
    ------
    risloc.config.ParamError
        No such preset, no such parameter, or a value outside its domain.
    """
    return build(Scenario, preset(name) | changes, "scenario")
