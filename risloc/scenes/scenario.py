"""The scenario: the parameters of the distribution that scenes are drawn from.

Axes: batch B, src K_MAX, elem N, ant M, snap L.
"""

import dataclasses
from dataclasses import dataclass

from risloc.config import ParamError, param
from risloc.physics.geometry import SPEED_OF_LIGHT, Domain, Surface, planar_array
from risloc.scenes.echo_law import EchoLaw

__all__ = ["MOST_ELEMENTS", "MOST_IN_A_SCENE", "MOST_SOURCES", "Scenario"]

MOST_ELEMENTS = 2**14
"""The largest number of elements of a surface."""

MOST_IN_A_SCENE = 2**23
"""The largest number of entries in an array of a scene; 32 scenes, which are drawn together, then take 2 GiB."""

MOST_SOURCES = 64
"""The largest K_MAX."""


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """Departures of the scenes from the model that every estimator assumes; if `on` is false, the model is exact."""

    element_phase_std_deg: float = param("standard deviation of each element's phase error", unit="deg", ge=0.0, le=1e3)
    element_gain_std_db: float = param("standard deviation of each element's gain error", unit="dB", ge=0.0, le=100.0)
    dead_fraction: float = param("probability that an element reflects nothing", ge=0.0, lt=1.0)
    channel_error: float = param(
        "NMSE of the channel estimate that the estimators are given as H, linear", ge=0.0, le=1e6
    )
    multipath_paths: int = param("number of extra paths from each source to the array; 0 disables them", ge=0, le=64)
    multipath_db: float = param(
        "mean total power of the extra paths of a source, relative to its direct path", unit="dB", ge=-200.0, le=200.0
    )

    @property
    def errs(self) -> bool:
        """Whether the elements or the channel estimate have errors."""
        return max(self.element_phase_std_deg, self.element_gain_std_db, self.dead_fraction, self.channel_error) > 0

    @property
    def on(self) -> bool:
        """Whether the scenes depart from the model in any way."""
        return self.errs or self.multipath_paths > 0


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """The parameters of the distribution of scenes, which is the section `scenario` of params.yaml."""

    preset: str = param("name of the preset that these values come from; it is only a label")
    observation: str = param(
        "'ris': the base station observes the surface through H; 'direct': the array is observed directly, H = I",
        choices=("ris", "direct"),
    )
    n_h: int = param("number of elements along x", ge=1, le=MOST_ELEMENTS)
    n_v: int = param("number of elements along y", ge=1, le=MOST_ELEMENTS)
    carrier_hz: float = param("carrier frequency", unit="Hz", ge=1e6, le=1e12)
    reference: str = param("phase reference: the centre of the array or its first element", choices=("centre", "first"))
    antennas: int = param("number of base-station antennas M", ge=1)
    snapshots: int = param("number of snapshots L", ge=1, le=MOST_IN_A_SCENE)
    K_MAX: int = param(
        "maximum number of sources in a scene, which is the number of slots of the network", ge=1, le=MOST_SOURCES
    )
    K_span: tuple[int, int] = param("minimum and maximum number of sources, which is drawn uniformly", ge=0)
    azimuth_span_deg: tuple[float, float] = param(
        "range of the azimuth, which is drawn uniformly", unit="deg", gt=-90.0, lt=90.0
    )
    elevation_span_deg: tuple[float, float] = param(
        "range of the elevation, which is drawn uniformly", unit="deg", gt=-90.0, lt=90.0
    )
    distance_span_m: tuple[float, float] = param(
        "range of the distance, which is drawn uniformly", unit="m", ge=1e-3, le=1e6
    )
    snr_db_span: tuple[float, float] = param(
        "range of the signal-to-noise power ratio, which is drawn uniformly in dB", unit="dB", ge=-200.0, le=200.0
    )
    power_law: str = param(
        "distribution of the source powers: uniform in dB, or proportional to 1 / r^2",
        choices=("uniform_db", "inverse_square"),
    )
    power_span_db: tuple[float, float] = param(
        "range of the source powers if power_law is uniform_db", unit="dB", ge=-200.0, le=200.0
    )
    waveform: str = param(
        "symbols: independent Gaussian, one Gaussian waveform shared by all sources, or constant over the block",
        choices=("independent", "coherent", "constant"),
    )
    coherent_fraction: float = param(
        "probability that all sources of a scene share one waveform if waveform is independent", ge=0.0, le=1.0
    )
    min_separation_uv: float = param("minimum distance between two sources in (u, v)", ge=0.0, le=4.0)
    min_separation_deg: float = param("minimum angle between two sources", unit="deg", ge=0.0, le=180.0)
    codebook: str = param("surface codes: random, 2-D DFT beams, or all ones", choices=("random", "dft", "ones"))
    code_bits: int = param("number of bits of a phase code", ge=1, le=8)
    rician_span: tuple[float, float] = param(
        "range of the linear Rician factor k of H, which is drawn uniformly", ge=0.0, le=1e6
    )
    mismatch: Mismatch = param("departures of the scenes from the model")
    echoes: EchoLaw = param("echoes of the sources")

    def __post_init__(self) -> None:
        for prefix, section in (("", self), ("echoes.", self.echoes)):
            _check_spans(prefix, section)
        if self.size > MOST_ELEMENTS:
            raise ParamError(
                f"n_h, n_v: expected at most {MOST_ELEMENTS} elements, got {self.n_h} x {self.n_v}; reduce n_h or n_v"
            )
        rows = max(
            self.antennas, self.K_MAX * max(self.snapshots, 1 + self.mismatch.multipath_paths + self.echoes.most)
        )
        if rows * self.size > MOST_IN_A_SCENE:
            raise ParamError(
                f"antennas, snapshots, K_MAX: expected at most {MOST_IN_A_SCENE} entries in an array of a scene (elements x antennas, "
                f"elements x K_MAX x snapshots or paths), got {self.size} x {rows}; reduce one of these numbers"
            )
        if self.K_span[1] > self.K_MAX:
            raise ParamError(
                f"K_span: expected at most K_MAX = {self.K_MAX} sources, got {self.K_span[1]}; reduce K_span or increase K_MAX"
            )
        if self.coherent_fraction > 0 and self.waveform != "independent":
            raise ParamError(
                f"coherent_fraction: expected 0 with waveform {self.waveform!r}, got {self.coherent_fraction}; only scenes with "
                "'independent' waveforms can be made coherent"
            )
        if self.coherent_fraction > 0 and self.snapshots < 2:
            raise ParamError(
                f"coherent_fraction: expected 0 with one snapshot, got {self.coherent_fraction}; "
                "coherent and independent sources differ only if there are two or more snapshots"
            )
        if self.observation == "direct" and self.antennas != self.size:
            raise ParamError(
                f"antennas: expected {self.size}, one for each element with direct observation, got {self.antennas}; change antennas"
            )
        if self.observation == "direct" and self.codebook != "ones":
            raise ParamError(
                f"codebook: expected 'ones', because direct observation has no codes, got {self.codebook!r}"
            )
        if self.observation == "ris" and self.antennas > self.size:
            raise ParamError(
                f"antennas: expected at most one for each element ({self.size}), got {self.antennas}; reduce antennas"
            )
        self.echoes.check_room(self._domain, self.carrier_hz)

    @property
    def size(self) -> int:
        """Number of elements N."""
        return self.n_h * self.n_v

    @property
    def wavelength(self) -> float:
        """Wavelength in metres."""
        return SPEED_OF_LIGHT / self.carrier_hz

    @property
    def surface(self) -> Surface:
        """Surface or, with direct observation, receiving array, with the region of the sources."""
        return Surface(array=planar_array(self.n_h, self.n_v, self.wavelength, self.reference), domain=self._domain)

    @property
    def _domain(self) -> Domain:
        return Domain.of_degrees(self.azimuth_span_deg, self.elevation_span_deg, self.distance_span_m)


def _check_spans(prefix: str, section: Scenario | EchoLaw) -> None:
    for field in dataclasses.fields(section):
        if field.name.endswith(("_span", "_span_deg", "_span_m", "_span_db")):
            low, high = getattr(section, field.name)
            if low > high:
                raise ParamError(
                    f"{prefix}{field.name}: expected [lowest, highest], got [{low}, {high}]; swap the two values"
                )
