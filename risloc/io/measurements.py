"""Measurements and the layout of the HDF5 file that stores them; `risloc.io.measurement_reader` reads it.

Attributes of the file:

    format            "risloc measurements"
    version           1, or 2 with any of pilots, unknown_gains and static_path
    n_h, n_v          elements along x and y; the surface lies in the x-y plane, element n = ix + n_h iy
    spacing_m         distance between neighbouring elements [m]
    carrier_hz        carrier frequency [Hz]
    reference         the origin of all positions, where the phase of the steering vectors is 0: "centre" (the default)
                      or "first" element
    code_bits         bits of an integer code
    azimuth_span_deg, elevation_span_deg, distance_span_m   where sources may lie, [lowest, highest] each; optional
    unknown_gains     "antenna": each antenna has an unknown complex gain, constant over the snapshots; optional, needs pilots
    static_path       1: a part of the signal does not pass the surface and is the same for all codes; optional, needs pilots

Datasets:

    y                 complex [scene, snap, ant]       y_l = H diag(c_l) A s_l + n_l
    H                 complex [scene, ant, elem], or [ant, elem] for all scenes
    codes             integer [scene, snap, elem], or [snap, elem] for all scenes: c = exp(+j 2 pi code / 2^code_bits);
                      or complex of the same shape: c itself, of modulus 1
    pilots            complex [scene, snap], or [snap] for all scenes: the symbols of every source up to one complex amplitude of
                      each source and scene; optional
    noise_var         real [scene], or one number: sigma^2 = E|n|^2 of one antenna; estimated if it is missing
    truth/location    real [scene, src, 3]: azimuth [rad], elevation [rad], distance [m]; the group is optional
    truth/power       real [scene, src], linear
    truth/count       integer [scene]: the first `count` of the slots hold a source
    truth/echoes/location, truth/echoes/gain   real [scene, src, path, 3] and complex [scene, src, path]: the images, and the gains
                      relative to the direct wave of the source, 0 where there is no echo; the group is optional

Conventions:

    sign       time runs as exp(+j w t), phase falls with distance: a_n = exp(-j k (|p - x_n| - |p - ref|)), and an entry of H
               over the distance d has the phase -k d; if your data use exp(-j w t), conjugate y, H and the codes
    complex    a compound of two floats of equal size named r and i, as h5py writes it, or the complex type of HDF5 2.0
    axes       in the order of h5py and C, the last one fastest
    others     files of MATLAB, Octave, Julia, R, netCDF and numpy are read as well: risloc.io.measurement_contents, docs/formats.md
    names      other names are ignored

Axes: batch B (scene), snap L, ant M, elem N, src K, path (echoes of a source).
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.config import ParamError, build, checked, param
from risloc.io.measurement_checks import MeasurementError
from risloc.io.measurement_shapes import Numbers, allowed_shapes, check_fit, converted, floating, set_fields, size_fault
from risloc.io.reception import Reception
from risloc.io.true_sources import Sources
from risloc.physics.geometry import SPEED_OF_LIGHT, Domain, Surface, planar_array
from risloc.scenes.batch import Scenes
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario

__all__ = ["FORMAT", "MOST_ELEMENTS", "VERSIONS", "Measurements", "Setup", "measurements_of", "setup_of"]

FORMAT, VERSIONS = "risloc measurements", (1, 2)
MOST_ELEMENTS = 1024
MOST_SPACING = 0.6  # wavelengths: with a larger spacing, many directions are ambiguous

_SPANS = ("azimuth_span_deg", "elevation_span_deg", "distance_span_m")
Span = tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all scenes of a file share: the surface, the carrier, and where sources may lie (None if unspecified)."""

    n_h: int = param("number of elements along x", ge=1, le=MOST_ELEMENTS)
    n_v: int = param("number of elements along y", ge=1, le=MOST_ELEMENTS)
    spacing_m: float = param("distance between neighbouring elements", unit="m", gt=0.0)
    carrier_hz: float = param("carrier frequency", unit="Hz", ge=1e6, le=1e12)
    reference: str = param("phase reference: the centre of the array or its first element", choices=("centre", "first"))
    azimuth_span_deg: Span = param("range of the azimuth of the sources", unit="deg", gt=-90.0, lt=90.0)
    elevation_span_deg: Span = param("range of the elevation of the sources", unit="deg", gt=-90.0, lt=90.0)
    distance_span_m: Span = param("range of the distance of the sources", unit="m", ge=1e-3, le=1e6)

    def __post_init__(self) -> None:
        set_fields(self, checked(self, "setup"))
        if self.size > MOST_ELEMENTS:
            raise ParamError(
                f"n_h, n_v: expected at most {MOST_ELEMENTS} elements, got {self.n_h} x {self.n_v}; reduce n_h or n_v"
            )
        if self.spacing_m > MOST_SPACING * self.wavelength:
            raise ParamError(
                f"spacing_m: expected at most {MOST_SPACING} wavelengths ({MOST_SPACING * self.wavelength:.4g} m at "
                f"{self.carrier_hz:.4g} Hz), got {self.spacing_m:.4g}; with a larger spacing, directions are ambiguous"
            )
        for name in _SPANS:
            span = getattr(self, name)
            if span is not None and span[0] > span[1]:
                raise ParamError(f"{name}: expected [lowest, highest], got {list(span)}; swap the two values")

    @property
    def size(self) -> int:
        """The number of elements N."""
        return self.n_h * self.n_v

    @property
    def wavelength(self) -> float:
        """The wavelength in metres."""
        return SPEED_OF_LIGHT / self.carrier_hz

    @property
    def surface(self) -> Surface:
        """The surface; unspecified spans are those of `default`."""
        s = self.with_spans_of(build(Scenario, preset("default"), "default"))
        spans: list[Any] = [s.azimuth_span_deg, s.elevation_span_deg, s.distance_span_m]
        array = planar_array(self.n_h, self.n_v, self.wavelength, self.reference, self.spacing_m)
        return Surface(array=array, domain=Domain.of_degrees(*spans))

    def with_spans_of(self, scenario: Scenario) -> "Setup":
        """Return the setup with the spans of a scenario in place of unspecified ones.

        Parameters
        ----------
        scenario
            The scenario.

        Returns
        -------
        Setup
        """
        missing: dict[str, Any] = {name: getattr(scenario, name) for name in _SPANS if getattr(self, name) is None}
        return dataclasses.replace(self, **missing)


@dataclass(frozen=True, kw_only=True, init=False)
class Measurements:
    """B measured scenes, y_l = H diag(c_l) A s_l + n_l, in any consistent units of y, H and noise_var.

    Numpy arrays are copied to tensors. Values are checked when they are used.

    Parameters
    ----------
    setup
        The surface and the carrier.
    y : [batch, snap, ant]
        The snapshots.
    codebook : [batch, snap, elem]
        The codes c_l, of modulus 1; [snap, elem] applies to all scenes.
    H : [batch, ant, elem]
        The channel; [ant, elem] applies to all scenes.
    noise_var : [batch]
        sigma^2; one number applies to all scenes, None means unknown.
    truth
        The true sources; None means unknown.
    pilots : [batch, snap]
        The symbols of every source, up to one complex amplitude of each source and scene; [snap] applies to all scenes, one number
        says that they are constant, None means unknown symbols.
    unknown_gains
        One of `risloc.io.reception.GAINS`: "antenna" if each antenna has an unknown complex gain that is constant over the snapshots
        of a scene. Powers include them.
    static_path
        Whether a part of the signal does not pass the surface and is the same for all codes, apart from the pilots.

    Raises
    ------
    MeasurementError
        An array is of another type or kind of numbers, the shapes do not fit together, or pilots are missing where they are needed.
    """

    setup: Setup
    y: Complex[Tensor, "batch snap ant"]
    codebook: Complex[Tensor, "batch snap elem"]
    H: Complex[Tensor, "batch ant elem"]
    noise_var: Float[Tensor, " batch"] | None
    truth: Sources | None
    pilots: Complex[Tensor, "batch snap"] | None = None
    unknown_gains: str = "none"
    static_path: bool = False

    def __init__(
        self,
        *,
        setup: Setup,
        y: Numbers,
        codebook: Numbers,
        H: Numbers,
        noise_var: Numbers | None,
        truth: Sources | None,
        pilots: Numbers | None = None,
        unknown_gains: str = "none",
        static_path: bool = False,
    ) -> None:
        if not isinstance(setup, Setup):
            came = type(setup).__name__
            raise MeasurementError(f"setup: expected a Setup, got {came}; setup_of(scenario) makes one from a scenario")
        arrays = {
            "y": converted("y", y, "complex", "[scene, snap, ant]"),
            "codebook": converted("codebook", codebook, "complex", "[scene, snap, elem]"),
            "H": converted("H", H, "complex", "[scene, ant, elem]"),
        }
        if noise_var is not None:
            arrays["noise_var"] = floating(converted("noise_var", noise_var, "real", "[scene], or one number"))
        if pilots is not None:
            arrays["pilots"] = converted("pilots", _complex(pilots), "complex", "[scene, snap], or one number")
        check_fit("y", arrays["y"], ((None, None, None),))
        sizes = (*arrays["y"].shape, setup.size)
        if fault := size_fault(*sizes):
            raise MeasurementError(fault)
        _check_truth(truth, len(arrays["y"]))
        fitted = {name: _of_all(name, array, allowed_shapes(*sizes)[name]) for name, array in arrays.items()}
        set_fields(self, {"setup": setup, "noise_var": None, "truth": truth, "pilots": None, **fitted})
        set_fields(self, {"unknown_gains": unknown_gains, "static_path": bool(static_path)})
        self.reception.sizes(*sizes[1:3])

    def __len__(self) -> int:
        return len(self.y)

    @property
    def reception(self) -> Reception:
        """What is known of the receiver."""
        return Reception(pilots=self.pilots is not None, unknown_gains=self.unknown_gains, static_path=self.static_path)


def _complex(x: Numbers) -> Numbers:
    """Convert real pilots to complex ones; what is no array of numbers is rejected later."""
    if isinstance(x, Tensor):
        return x if x.dtype.is_complex or x.dtype == torch.bool else x.to(torch.complex128)
    real = isinstance(x, int | float) or (isinstance(x, np.ndarray | np.number) and x.dtype.kind in "iuf")
    return np.asarray(x, np.complex128) if real else x


def _check_truth(truth: object, scenes: int) -> None:
    if not isinstance(truth, Sources | None):
        raise MeasurementError(
            f"truth: expected Sources or None, got {type(truth).__name__}; Sources(location, power, count) makes one"
        )
    if truth is not None:
        check_fit("truth.location", truth.location, ((scenes, None, 3),))


def _of_all(name: str, x: Tensor, allowed: tuple[tuple[int, ...], ...]) -> Tensor:
    """Expand an array that applies to all scenes to the first of the allowed shapes."""
    check_fit(name, x, allowed)
    return x if x.shape == allowed[0] else x.reshape(-1 if x.numel() == 1 else x.shape).expand(allowed[0])


def setup_of(scenario: Scenario) -> Setup:
    """Make the setup of the scenes of a scenario.

    Parameters
    ----------
    scenario
        The scenario.

    Returns
    -------
    Setup
    """
    names = ("n_h", "n_v", "carrier_hz", "reference", *_SPANS)
    return Setup(spacing_m=scenario.wavelength / 2, **{name: getattr(scenario, name) for name in names})


def measurements_of(scenario: Scenario, scenes: Scenes) -> Measurements:
    """Convert simulated scenes to measurements, with their noise variance and their truth.

    Parameters
    ----------
    scenario
        The scenario.
    scenes
        Its scenes.

    Returns
    -------
    Measurements
    """
    o, truth = scenes.observation, scenes.truth
    sources = Sources(location=truth.location, power=truth.power, count=truth.count, echoes=truth.echoes)
    return Measurements(
        setup=setup_of(scenario), y=o.y, codebook=o.codebook, H=o.H, noise_var=o.noise_var, truth=sources
    )
