"""Locate sources in measurements: with a trained network (the hybrid) or without (NOMP), sigma^2 given or estimated.

Whatever units y and H come in, each scene is brought to unit mean squares first, which leaves every position unchanged, and
powers are brought back.

Axes: batch B, snap L, ant M, elem N, src K.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from risloc.config import ParamError, as_mapping, build, integer, param, shown
from risloc.estimation.conditional import Sensing
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.localiser import Localiser
from risloc.estimation.music_positions import displaced, music_places
from risloc.estimation.noise_level import NoiseLevelError, checked_order, noise_level
from risloc.estimation.order_rules import EarlyRule, Rule
from risloc.estimation.selection import Estimates, fit_and_assess
from risloc.estimation.whiteness import Whiteness, whiteness
from risloc.io.measurement_checks import array_faults, root_mean_square
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.measurements import Measurements, Setup, setup_of
from risloc.learning.checkpoint import SHIPPED, load_checkpoint, shipped_checkpoint
from risloc.learning.hybrid import NetworkView
from risloc.learning.k_rules import BY_BIC, RULES, needs_network, order_rules
from risloc.learning.network import HybridNetwork
from risloc.locating.found import Found, found_of
from risloc.physics.geometry import Array
from risloc.scenes.batch import Observation
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario
from risloc.utils.argument_checks import whole

__all__ = [
    "FITS",
    "METHODS",
    "NOISE",
    "LocateError",
    "Locator",
    "MeasuredScenario",
    "factorised",
    "load_model",
    "locate",
    "network_fault",
    "not_measurements",
    "of_unit_size",
]

METHODS = ("hybrid", "nomp", "music")
"""How sources are located: with a network, by Newtonised orthogonal matching pursuit, by classical MUSIC on R_samp."""

NOISE = ("auto", "given", "estimated")
"""Where sigma^2 is from."""

FITS = ("conditional", "stochastic")
"""By which likelihood sources are fitted last."""

_BYTES_AT_ONCE = 2**25  # of a batch's G
_BATCH = 64


class LocateError(ValueError):
    """These measurements cannot be located in the way that was asked for; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class MeasuredScenario(Scenario):
    """A scenario whose elements stand at any spacing, not only half a wavelength."""

    spacing_m: float = param("distance of neighbouring elements", unit="m", gt=0.0)

    def array(self) -> Array:
        """The surface's elements."""
        names = [field.name for field in dataclasses.fields(Setup)]
        return Setup(**{name: getattr(self, name) for name in names}).array()


@contextlib.contextmanager
def factorised() -> Iterator[None]:
    """What cannot be factorised in the block, or in the function that this decorates, as a `LocateError`."""
    try:
        yield
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # public, and documented
        words = " ".join(str(error).split())
        raise LocateError(
            f"y, H, codes: expected scenes whose matrices single precision can factorise, got others ({words}); locate them "
            "one by one and leave out those that are degenerate"
        ) from error


def load_model(name: "str | os.PathLike[str]") -> HybridNetwork:
    """A network that comes with the package (`default`, `robust`), or one in a folder of one's own.

    Raises
    ------
    risloc.learning.checkpoint.CheckpointError
        No such network, or one that is damaged.
    """
    text = os.fspath(name)
    return load_checkpoint(shipped_checkpoint(text) if text in SHIPPED else text)[0]


def locate(
    measurements: Measurements,
    model: "HybridNetwork | str | os.PathLike[str] | None" = "auto",
    sources: "SupportsIndex | str" = BY_BIC,
    most: "SupportsIndex | None" = None,
    noise: str = "auto",
    fit: str = "conditional",
) -> Found:
    """The sources of all scenes at once; see `Locator`, which takes them part by part.

    model : a network, the name of one that comes with the package, its folder, None: NOMP, or "music": classical MUSIC; "auto": the network `default`
    where it is made for the setup, else NOMP (`Found.method` says which).  sources, most, noise, fit : as `Locator` has them.

    Raises
    ------
    LocateError
        As `Locator` has it.
    TypeError
        No measurements: the message says what makes them of simulated scenes, and of a file; or no model.
    """
    if not isinstance(measurements, Measurements):
        raise TypeError(not_measurements(measurements))
    method = "music" if isinstance(model, str) and model == "music" else None
    network = _network(model, measurements.setup, sources) if method is None else None
    _, snapshots, antennas = measurements.y.shape
    locator = Locator(measurements.setup, snapshots, antennas, network, sources, most, noise, fit, method=method)
    return locator.locate(measurements)


def of_unit_size(measurements: Measurements) -> tuple[Observation, Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """The scenes in single precision with y and H of unit mean squares and noise_var NaN, and what y and H were divided by."""
    size_y, size_H = root_mean_square(measurements.y), root_mean_square(measurements.H)
    y = (measurements.y.to(torch.complex128) / size_y[:, None, None]).to(torch.complex64)
    H = (measurements.H.to(torch.complex128) / size_H[:, None, None]).to(torch.complex64)
    noise_var = torch.full((len(y),), torch.nan, dtype=torch.float32)
    codebook = measurements.codebook.to(torch.complex64)
    return Observation(y=y, codebook=codebook, H=H, noise_var=noise_var), size_y, size_H


class Locator:
    """Locates the scenes of one setup, L and M.

    network : the hybrid with it; None: NOMP (Newtonised orthogonal matching pursuit), which needs no training.
    sources : K where it is known; else the rule that finds it, one of `risloc.learning.k_rules.RULES`.
    most : the most sources to look for: a network's own K_MAX; with NOMP K where it is known, else 5 unless it is said.
    noise : one of `NOISE`.  "auto": the noise variance that the measurements give, but where the data contradict it (the
    misfit to it is too high) the level and, where BIC finds it, K are from the data; without one it is estimated.  "given":
    nothing else.  "estimated": whatever is given is not looked at.
    fit : one of `FITS`.  "stochastic" fits once more with the knowledge that symbols are Gaussian and independent from
    source to source: better below threshold, wrong where sources share a waveform.
    method : one of `METHODS`; None: the hybrid with a network, else NOMP.  "music" takes the strongest peaks of MUSIC on R_samp
    as they are; a K that is not known is that of the fit from its peaks. Powers, misfit and reasons are those of a fit that
    starts there; deviations are the fit's and how far it has moved.
    batch : scenes that are good to locate together.  notes : what was decided about the setup, in words.

    At most K = floor(2 M L / (2 L + 4)) sources can be told apart: each takes, of the 2 M L real samples, those of its symbols
    and of its place and power.

    Where the setup says no span, the network's holds, or with NOMP that of the preset `default`. A line of elements sees one
    angle and the distance: the other angle is fixed, at 0 or in the middle of its span where 0 is outside.

    Raises
    ------
    LocateError
        A network made for another array, carrier or region; a rule without the network it needs; more sources than K_MAX.
    """

    def __init__(
        self,
        setup: Setup,
        snapshots: int,
        antennas: int,
        network: HybridNetwork | None = None,
        sources: "SupportsIndex | str" = BY_BIC,
        most: "SupportsIndex | None" = None,
        noise: str = "auto",
        fit: str = "conditional",
        *,
        method: str | None = None,
    ) -> None:
        self.method = _method(method, network)
        if not isinstance(setup, Setup):
            raise TypeError(
                f"setup: expected a Setup, got {type(setup).__name__}: that of measurements is in their setup"
            )
        known, rule = _known(sources), str(sources)
        most = None if most is None else _count("most", most, 1)
        snapshots, antennas = _count("snapshots", snapshots, 1), _count("antennas", antennas, 1)
        self.noise, self.fit = _choice("noise", noise, NOISE), _choice("fit", fit, FITS)
        if needs_network(sources) and network is None:
            raise LocateError(f"sources: the rule '{rule}' is a network's own: take a network with it, or {BY_BIC!r}")
        if network is not None:
            _check_usable(network)
            if fault := network_fault(network, setup):
                raise LocateError(
                    f"the network {fault}; use NOMP (--method nomp; model=None), or train a network for this setup"
                )
        base = network.scenario if network is not None else build(Scenario, preset("default"), "default")
        slots = _slots(base.K_MAX, network is not None, known, most)
        if slots > _told_apart(antennas, snapshots):
            raise LocateError(_too_many(antennas, snapshots, slots, known, network is not None))
        self.network, self.slots = network, slots
        self.sources: int | str = rule if known is None else known
        self.setup, self.snapshots, self.antennas = setup, snapshots, antennas
        seen, self.notes = _visible(setup, base)
        self.scenario = _scenario(base, seen, snapshots, antennas, slots)
        self.localiser = Localiser(self.scenario)
        self.batch = max(1, min(_BATCH, _BYTES_AT_ONCE // (8 * snapshots * antennas * setup.size)))

    @torch.no_grad()
    @factorised()
    def locate(self, measurements: Measurements) -> Found:
        """The sources of a batch of scenes.

        Raises
        ------
        LocateError
            Measured with another setup, L or M; values that `risloc.io.measurement_checks.array_faults` finds wrong: not finite,
            no signal, codes of a modulus other than 1, a noise variance outside `risloc.io.measurement_checks.NOISE_SPAN`; none,
            and too few antennas to estimate it; matrices that single precision cannot factorise.
        TypeError
            No measurements.
        """
        return self.locate_and_view(measurements)[0]

    @torch.no_grad()
    @factorised()
    def locate_and_view(self, measurements: Measurements) -> tuple[Found, NetworkView | None]:
        """Return what `locate` returns, and what the network made of the scenes; None without a network."""
        self._check(measurements)
        with torch.autocast("cpu", enabled=False):
            return self._located(measurements)

    @torch.no_grad()
    @factorised()
    def observed(self, measurements: Measurements) -> Observation:
        """The scenes with y and H of unit mean squares, sigma^2 as given or as estimated; errors as `locate` has them."""
        self._check(measurements)
        with torch.autocast("cpu", enabled=False):
            return self._with_noise(measurements)[0]

    def _given(self, measurements: Measurements) -> Float[Tensor, " batch"] | None:
        """The noise variance that is looked at."""
        if measurements.noise_var is None and self.noise == "given":
            raise LocateError("noise: expected measurements with noise_var, as 'given' was asked for; take 'auto'")
        return None if self.noise == "estimated" else measurements.noise_var

    def _with_noise(self, measurements: Measurements) -> tuple[Observation, Tensor, Tensor]:
        """The scenes of unit size, and what y and H were divided by."""
        given = self._given(measurements)
        blank, size_y, size_H = of_unit_size(measurements)
        noise = self._estimated_noise(blank) if given is None else (given.double() / size_y / size_y).float()
        return dataclasses.replace(blank, noise_var=noise), size_y, size_H

    def _located(self, measurements: Measurements) -> tuple[Found, NetworkView | None]:
        observation, size_y, size_H = self._with_noise(measurements)
        noise, given = observation.noise_var, self._given(measurements)
        sensing, view = self.localiser.sensing(observation), self._view(observation)
        if self.method == "music":
            [rule] = order_rules([self._rule(len(observation))])
            polar, present = music_places(self.localiser, sensing, observation, rule)
            gains, most = GainMap(sensing, self.localiser.coarse), self.localiser.search.iterations
            found = fit_and_assess(sensing, polar, present, iterations=most, gains=gains)
        else:
            found = self._search(view, sensing)
        if self.fit == "stochastic":
            found = self.localiser.efficient(sensing, found)
        white = None if given is not None else whiteness(sensing, found.polar, found.present)
        if self.method == "music":
            found = displaced(found, polar, sensing.domain)
        return self._result(sensing, found, (size_y / size_H).square(), noise * size_y * size_y, white), view

    def _check(self, m: Measurements) -> None:
        """The spans may differ: where sources are looked for is the locator's."""
        if not isinstance(m, Measurements):
            raise TypeError(not_measurements(m))
        _, L, M = m.y.shape
        for name, own, got in (("snapshots", self.snapshots, L), ("antennas", self.antennas, M)):
            if own != got:
                raise LocateError(
                    f"y: this locator was made for {own} {name}, got {got}: make one for these measurements"
                )
        for field in dataclasses.fields(Setup):
            made, got = (getattr(setup, field.name) for setup in (self.setup, m.setup))
            if "span" not in field.name and made != got:
                raise LocateError(
                    f"setup: this locator was made for {field.name} = {made}, got {got}: make one for these measurements"
                )
        for fault in array_faults(m.y, m.codebook, m.H, self._given(m)):
            raise LocateError(fault.words())

    def _view(self, observation: Observation) -> NetworkView | None:
        return None if self.network is None else NetworkView.of(self.network, observation)

    def _search(self, view: NetworkView | None, sensing: Sensing) -> Estimates:
        rule = self._rule(len(sensing))
        if view is None:
            return self.localiser.pursuit(sensing, *order_rules([rule]))[0]
        return view.locate(self.localiser, [rule], sensing)[0]

    def _rule(self, batch: int) -> Rule | str:
        """K of each scene, or the rule that finds it, by its name or, where a given sigma^2 is to be checked, itself."""
        if isinstance(self.sources, int):
            return torch.full((batch,), self.sources)
        return EarlyRule(checked_order) if (self.sources, self.noise) == (BY_BIC, "auto") else self.sources

    def _estimated_noise(self, blank: Observation) -> Float[Tensor, " batch"]:
        count = self.sources if isinstance(self.sources, int) else None
        try:
            return noise_level(self.localiser, blank, self.slots, count)
        except NoiseLevelError as error:
            raise LocateError(str(error)) from None

    def _result(
        self, sensing: Sensing, found: Estimates, scale: Tensor, noise_var: Tensor, white: Whiteness | None
    ) -> Found:
        return found_of(
            found,
            sensing.domain.free,
            (sensing.y.shape[1], sensing.y.shape[2]),
            scale=scale,
            noise_var=noise_var,
            whiteness=white,
            checked=self.noise == "auto",
            method=self.method,
        )


def _count(name: str, given: object, least: int) -> int:
    try:
        return whole(name, given, least)
    except ValueError as error:
        raise LocateError(str(error)) from None


def _known(sources: object) -> int | None:
    """K where it is given, None where a rule is."""
    if isinstance(sources, str) and sources in RULES:
        return None
    if (number := integer(sources)) is None or number < 0:
        rules = ", ".join(RULES)
        raise LocateError(f"sources: expected an integer of at least 0, or one of {rules}, got {shown(sources)}")
    return number


def _method(method: object, network: object) -> str:
    if method is None:
        return "nomp" if network is None else "hybrid"
    if not isinstance(method, str) or method not in METHODS:
        raise LocateError(f"method: expected one of {', '.join(METHODS)}, or None, got {shown(method)}")
    if (method == "hybrid") != (network is not None):
        raise LocateError(
            f"method: {method!r} takes {'a' if method == 'hybrid' else 'no'} network, mend one of the two"
        )
    return method


def _check_usable(network: object) -> None:
    if not isinstance(network, HybridNetwork):
        raise TypeError(
            f"network: expected a HybridNetwork or None, got {type(network).__name__}: load_model(name) gives one"
        )
    weight = next(network.parameters())
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        raise LocateError(
            f"network: expected one in single precision on the CPU, which locates, got {weight.dtype} on {weight.device}: "
            "network.float().cpu() makes it so"
        )


def not_measurements(given: object) -> str:
    """What to do with something else: a path, a reader, or what a simulation gives."""
    if isinstance(given, str | os.PathLike):
        remedy = "a file is read by MeasurementReader: with MeasurementReader(path) as file: locate(file.read(slice(0, len(file))))"
    elif isinstance(given, MeasurementReader):
        remedy = "read a part of it: locate(file.read(slice(0, len(file))))"
    else:
        remedy = "simulated scenes become measurements by measurements_of(scenario, scenes)"
    return f"measurements: expected Measurements, got {type(given).__name__}: {remedy}"


def _slots(K_MAX: int, fixed: bool, known: int | None, most: int | None) -> int:
    """The most sources to look for: a network's K_MAX is fixed; else the K that is known, or `most`, or K_MAX."""
    slots = K_MAX if fixed else max(1, known if known is not None else K_MAX if most is None else most)
    if not 0 <= (known or 0) <= slots or (fixed and most not in (None, slots)):
        raise LocateError(
            f"sources: this network looks for at most {slots}, {known or most} were asked for: take NOMP (--method nomp; "
            "model=None)"
        )
    return slots


def _told_apart(antennas: int, snapshots: int) -> int:
    """The most sources that 2 M L real samples can tell apart: each has 2 L of symbols, 3 of place, 1 of power."""
    return 2 * antennas * snapshots // (2 * snapshots + 4)


def _too_many(antennas: int, snapshots: int, slots: int, known: int | None, fixed: bool) -> str:
    """Why so many `slots` cannot be told apart, and what to do."""
    able = _told_apart(antennas, snapshots)
    samples = f"{antennas} antenna{'s' * (antennas > 1)} and {snapshots} snapshot{'s' * (snapshots > 1)}"
    if able == 0:
        return f"sources: {samples} cannot locate even one: expected M >= {2 if snapshots > 1 else 3}"
    remedies = ["take NOMP (--method nomp; model=None)"] if fixed else []
    if known is None:
        remedies.append(f"look for at most {able} (--most {able}; most={able})")
    elif known > able:
        remedies.append(f"look for at most {able} (--sources {able}; sources={able})")
    asked = f"up to {slots}" if known is None or fixed else f"{known}"
    return f"sources: {samples} tell at most {able} sources apart, {asked} were asked for: {' and '.join(remedies)}"


def _scenario(base: Scenario, setup: Setup, snapshots: int, antennas: int, slots: int) -> MeasuredScenario:
    """What the localiser needs to know; how scenes would be drawn stays as the base has it, and is not looked at."""
    given = {name: value for name, value in as_mapping(setup).items() if value is not None}
    own = {"preset": "measured", "observation": "ris", "codebook": "random", "waveform": "independent"}
    sizes = {
        "snapshots": snapshots,
        "antennas": antennas,
        "K_MAX": slots,
        "K_span": [0, slots],
        "coherent_fraction": 0.0,
    }
    try:
        return build(MeasuredScenario, as_mapping(base) | own | sizes | given, "measured")
    except ParamError as error:
        raise LocateError(str(error)) from None


def _visible(setup: Setup, base: Scenario) -> tuple[Setup, tuple[str, ...]]:
    """The setup with the angle fixed that its elements cannot see, and a note that says so."""
    if setup.size == 1:
        raise LocateError("n_h, n_v: expected at least 2 elements, got 1 x 1: one element sees no direction")
    if setup.n_h > 1 and setup.n_v > 1:
        return setup, ()
    angle, axis = ("azimuth", "y") if setup.n_h == 1 else ("elevation", "x")
    name = f"{angle}_span_deg"
    low, high = getattr(setup, name) or getattr(base, name)
    if low == high:
        return setup, ()
    value = 0.0 if low <= 0 <= high else (low + high) / 2
    note = f"elements in a line along {axis} cannot see {angle}: it is fixed at {value:g} deg"
    fixed: dict[str, Any] = {name: (value, value)}
    return dataclasses.replace(setup, **fixed), (note,)


def _network(
    model: "HybridNetwork | str | os.PathLike[str] | None", setup: Setup, sources: object
) -> HybridNetwork | None:
    """The network that is meant; "auto": `default` where it is made for the setup, or its own rule is asked for."""
    if model == "auto":
        network = load_model("default")
        return network if needs_network(sources) or network_fault(network, setup) is None else None
    return load_model(model) if isinstance(model, str | os.PathLike) else model


def _choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise LocateError(f"{name}: expected one of {', '.join(choices)}, got {shown(value)}")
    return str(value)


def network_fault(network: HybridNetwork, setup: Setup) -> str | None:
    """Say why a network does not fit a setup: another array or carrier, or a region that it was not trained for.

    Parameters
    ----------
    network
        The network.
    setup
        The setup of the measurements.

    Returns
    -------
    str or None
        The predicate of a sentence about the network; None if it fits.
    """
    trained = setup_of(network.scenario)
    if (trained.n_h, trained.n_v, trained.reference) != (setup.n_h, setup.n_v, setup.reference):
        return (
            f"was made for {trained.n_h} x {trained.n_v} elements with reference {trained.reference}, but the measurements have "
            f"{setup.n_h} x {setup.n_v} with reference {setup.reference}"
        )
    for name, tolerance in (("carrier_hz", 1e-3), ("spacing_m", 1e-2)):
        expected, measured = getattr(trained, name), getattr(setup, name)
        if abs(expected - measured) > tolerance * expected:
            return f"was made for {name} = {expected:.6g}, but the measurements have {measured:.6g}"
    for name in ("azimuth_span_deg", "elevation_span_deg", "distance_span_m"):
        (low, high), region = getattr(trained, name), getattr(setup, name)
        if region is not None and (region[0] < low or region[1] > high):
            return (
                f"was trained for {name} = [{low:g}, {high:g}], but the search region is [{region[0]:g}, {region[1]:g}]"
            )
    return None
