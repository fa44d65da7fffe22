"""The true sources of measurements, if they are known.

Axes: batch B (scene), src K, path (echoes of a source).
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from risloc.io.measurement_shapes import Numbers, check_fit, converted, floating, set_fields
from risloc.scenes.batch import Echoes

__all__ = ["Sources"]


@dataclass(frozen=True, kw_only=True, init=False)
class Sources:
    """The true sources, if they are known: `count` sources in the first slots. Numpy arrays become tensors.

    Parameters
    ----------
    location : [batch, src, 3]
        Azimuth and elevation in radians, distance in metres.
    power : [batch, src]
        Linear powers.
    count : [batch]
        The number of sources.
    echoes
        Their echoes; None if there are none, or if they are unknown.

    Raises
    ------
    MeasurementError
        A value is of another type, or the shapes do not fit together.
    """

    location: Float[Tensor, "batch src 3"]
    power: Float[Tensor, "batch src"]
    count: Int[Tensor, " batch"]
    echoes: Echoes | None

    def __init__(self, *, location: Numbers, power: Numbers, count: Numbers, echoes: Echoes | None = None) -> None:
        place = floating(converted("truth.location", location, "real", "[scene, src, 3]"))
        check_fit("truth.location", place, ((None, None, 3),))
        linear = floating(converted("truth.power", power, "real", "[scene, src]"))
        check_fit("truth.power", linear, (tuple(place.shape[:2]),))
        number = converted("truth.count", count, "integer", "[scene]").long()
        check_fit("truth.count", number, ((len(place),),))
        set_fields(self, {"location": place, "power": linear, "count": number, "echoes": _echoes(echoes, linear)})


def _echoes(echoes: Echoes | None, power: Tensor) -> Echoes | None:
    if echoes is None:
        return None
    place = floating(converted("truth.echoes.location", echoes.location, "real", "[scene, src, path, 3]"))
    check_fit("truth.echoes.location", place, ((*power.shape, None, 3),))
    gain = converted("truth.echoes.gain", echoes.gain, "complex", "[scene, src, path]")
    check_fit("truth.echoes.gain", gain, (tuple(place.shape[:3]),))
    return Echoes(location=place, gain=gain)
