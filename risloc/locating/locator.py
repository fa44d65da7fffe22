"""Locates sources in measurements: with a trained network (the hybrid) or without (NOMP), sigma^2 given or estimated.

y and H may have any units: each scene is scaled to unit mean squares first, which leaves every position unchanged, and the
powers are scaled back.

Axes: batch B, snap L, ant M, elem N, src K.
"""

import dataclasses
from typing import SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from risloc.config import build
from risloc.estimation.assessment import Estimates
from risloc.estimation.conditional import Sensing
from risloc.estimation.echo_localiser import EchoLocaliser
from risloc.estimation.estimates import fit_and_assess
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.localiser import Localiser
from risloc.estimation.music_positions import displaced, music_places
from risloc.estimation.noise_level import checked_order
from risloc.estimation.order_rules import EarlyRule, Rule
from risloc.estimation.whiteness import Whiteness, whiteness
from risloc.io.measurement_checks import array_faults
from risloc.io.measurements import Measurements, Setup
from risloc.io.reception import Reception
from risloc.learning.hybrid import NetworkView
from risloc.learning.k_rules import BY_BIC, NOISE_UNKNOWN, order_rules
from risloc.learning.network import HybridNetwork
from risloc.locating.arranged import arranged_echoes, arranged_estimates, arranged_faults, arranged_sizes
from risloc.locating.found import Found, found_of
from risloc.locating.locate_arguments import (
    FITS,
    NOISE,
    LocateError,
    check_usable,
    checked_choice,
    checked_count,
    checked_echoes,
    checked_method,
    checked_sources,
)
from risloc.locating.locate_sizes import check_size, largest_order, scenes_at_once
from risloc.locating.located_echoes import located_echoes
from risloc.locating.measured_noise import check_noise_samples, estimated_noise
from risloc.locating.measurement_match import check_match
from risloc.locating.networks import network_fault
from risloc.locating.single_precision import factorised, of_unit_size
from risloc.locating.visible_angles import with_visible_angles
from risloc.physics.steering import steering_matrix
from risloc.scenes.batch import Observation
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario

__all__ = ["Locator"]


class Locator:
    """Locates the scenes of one setup with L snapshots and M antennas.

    At most K = floor(2 M L / (2 L + 4)) sources can be separated: each has 2 L + 4 real unknowns (L complex
    symbols, three coordinates and a power), and there are 2 M L real samples.

    If the setup has no span, that of the network or of the preset `default` holds. A line of elements sees one angle: the other is
    fixed at 0, or in the middle of its span. `notes` says what was decided about the setup, and `batch` how many scenes to take.

    Parameters
    ----------
    setup
        The surface, the carrier and the search region.
    snapshots
        The number of snapshots L.
    antennas
        The number of antennas M.
    network
        The network of the hybrid; None for NOMP (Newtonised orthogonal matching pursuit) and MUSIC, which need none.
    sources
        The number of sources K if it is known, otherwise one of `risloc.learning.k_rules.RULES`, which estimates it.
    most
        The largest number of sources to search for without a network (a network has a limit of its own, K_MAX); None: K if it
        is known, otherwise 5.
    noise
        "auto": the noise variance of the measurements, or that of the data if it is missing or contradicts them. "given": that
        of the measurements in any case. "estimated": always that of the data.
    fit
        "conditional"; or "stochastic", which fits once more with Gaussian symbols that are independent between sources: better
        below threshold, wrong if sources share a waveform.
    method
        One of `risloc.locating.locate_arguments.METHODS`; None: the hybrid with a network, NOMP without. "music" returns the
        strongest peaks of MUSIC on R_samp; all else is that of the fit that starts at its peaks, and standard deviations are
        increased by the distance between peak and fit.
    echoes
        "auto": waves of the same symbols are a source and its echoes; where symbols do not vary, every wave is a source.
        "always": there too. "never": there are none, as for networks, MUSIC and the stochastic fit, and by default unknown gains.
    reception
        The attribute of the measurements that says whether pilots are known and gains unknown; None: symbols are unknown.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        The network was made for another array, carrier or region, a rule lacks its network, or K_MAX is exceeded.
    TypeError
        The setup is not a `Setup`.
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
        echoes: str = "auto",
        reception: Reception | None = None,
    ) -> None:
        self.method = checked_method(method, network)
        if not isinstance(setup, Setup):
            came = type(setup).__name__
            raise TypeError(f"setup: expected a Setup, got {came}: use the attribute setup of measurements")
        self.snapshots, self.antennas = checked_count("snapshots", snapshots, 1), checked_count("antennas", antennas, 1)
        self.noise, self.fit = checked_choice("noise", noise, NOISE), checked_choice("fit", fit, FITS)
        order = checked_sources(sources, network)
        if network is not None:
            check_usable(network)
            if fault := network_fault(network, setup):
                raise LocateError(
                    f"the network {fault}; use NOMP (--method nomp; model=None), or train a network for this setup"
                )
        base = build(Scenario, preset("default"), "default") if network is None else network.scenario
        self.reception = Reception() if reception is None else reception
        L, M = arranged_sizes(self.reception, self.snapshots, self.antennas, self.method, self.fit)
        self.slots = largest_order(base.K_MAX, M, L, known=order, most=most, fixed=network is not None)
        self.network, self.setup = network, setup
        self.sources, self._count = str(sources) if order is None else order, order
        check_size(setup.size, M, L, self.slots)
        self.echoes = arranged_echoes(self.reception, checked_echoes(echoes, self.method, self.fit))
        visible, self.notes = with_visible_angles(setup.with_spans_of(base))
        self.localiser = Localiser(visible.surface, most=self.slots, snapshots=L)
        self._echoes = None if self.echoes == "never" else EchoLocaliser(self.localiser, self.echoes)
        self.batch = scenes_at_once(setup.size, self.snapshots * self.antennas, arranged=self.reception.pilots)

    @torch.no_grad()
    @factorised()
    def locate(self, measurements: Measurements) -> Found:
        """Locate the sources of a batch of scenes.

        Parameters
        ----------
        measurements
            The scenes; their spans may differ, because the search region is that of the locator.

        Returns
        -------
        Found
            The sources.

        Raises
        ------
        risloc.locating.locate_arguments.LocateError
            The setup, L or M differs from that of the locator. `risloc.io.measurement_checks.array_faults` finds a fault: non-finite values, no
            signal, codes whose modulus is not 1, a noise variance outside `risloc.io.measurement_checks.NOISE_SPAN`. The noise
            variance is missing and there are too few antennas to estimate it. A matrix is singular in single precision.
        TypeError
            The argument is not `Measurements`.
        """
        return self.locate_and_view(measurements)[0]

    @torch.no_grad()
    @factorised()
    def locate_and_view(self, measurements: Measurements) -> tuple[Found, NetworkView | None]:
        """Locate as `locate` does, and return also what the network made of the scenes.

        Parameters
        ----------
        measurements
            The scenes.

        Returns
        -------
        Found
            The sources.
        NetworkView or None
            The view of the network, if there is one.
        """
        self._check(measurements)
        with torch.autocast("cpu", enabled=False):
            return self._located(measurements)

    @torch.no_grad()
    @factorised()
    def observed(self, measurements: Measurements) -> Observation:
        """Scale y and H to unit mean squares, with sigma^2 as given or as estimated.

        Parameters
        ----------
        measurements
            The scenes.

        Returns
        -------
        Observation
            The scaled scenes.

        Raises
        ------
        risloc.locating.locate_arguments.LocateError
            As in `locate`.
        TypeError
            The argument is not `Measurements`.
        """
        self._check(measurements)
        with torch.autocast("cpu", enabled=False):
            return self._with_noise(measurements)[0]

    def _noise_given(self, measurements: Measurements) -> Float[Tensor, " batch"] | None:
        """Return the noise variance of the measurements, or None if it is not used."""
        if measurements.noise_var is None and self.noise == "given":
            raise LocateError("noise: 'given' needs measurements with noise_var; use 'auto'")
        return None if self.noise == "estimated" else measurements.noise_var

    def _with_noise(self, measurements: Measurements) -> tuple[Observation, Tensor, Tensor]:
        """Return the scaled scenes, and what y and H were divided by."""
        given = self._noise_given(measurements)
        blank, size_y, size_H = of_unit_size(measurements)
        if given is None:
            noise = estimated_noise(self.localiser, blank, self._count)
        else:
            noise = (given.double() / size_y / size_y).float()
        return dataclasses.replace(blank, noise_var=noise), size_y, size_H

    def _located(self, measurements: Measurements) -> tuple[Found, NetworkView | None]:
        if self._echoes is not None:
            return self._located_with_echoes(self._echoes, measurements), None
        observation, size_y, size_H = self._with_noise(measurements)
        sensing = self.localiser.sensing(observation)
        view = None if self.network is None else NetworkView.of(self.network, observation)
        estimates, peaks = self._search(observation, view, sensing)
        if self.fit == "stochastic":
            estimates = self.localiser.efficient(sensing, estimates)
        estimated = self._noise_given(measurements) is None
        B = sensing.responses(steering_matrix(sensing.array, estimates.polar))
        residual = whiteness(sensing, B, estimates.present) if estimated else None
        if peaks is not None:
            estimates = displaced(estimates, peaks, sensing.domain)
        return self._found(estimates, size_y, size_H, observation.noise_var, residual), view

    def _located_with_echoes(self, localiser: EchoLocaliser, measurements: Measurements) -> Found:
        given = self._noise_given(measurements)
        blank, size_y, size_H = of_unit_size(measurements)
        if given is None:
            check_noise_samples(self.localiser, blank, self._count)
        known = None if given is None else (given.double() / size_y / size_y).float()
        rules = {"believe": self.sources != NOISE_UNKNOWN, "checked": self.noise == "auto"}
        estimates, noise_var, residual = located_echoes(localiser, blank, known, self._count, **rules)
        return self._found(estimates, size_y, size_H, noise_var, residual)

    def _found(
        self, estimates: Estimates, size_y: Tensor, size_H: Tensor, noise_var: Tensor, residual: Whiteness | None
    ) -> Found:
        """Return the sources in the units of the measurements."""
        estimates, checked = arranged_estimates(self.reception, estimates, self.localiser.domain), self.noise == "auto"
        scale, level = (size_y / size_H).square(), noise_var * size_y * size_y
        return found_of(
            estimates, scale=scale, noise_var=level, whiteness=residual, checked=checked, method=self.method
        )

    def _check(self, measurements: Measurements) -> None:
        """Check type, shapes, setup and values."""
        check_match(measurements, self.setup, self.snapshots, self.antennas, self.reception)
        m, noise_var = measurements, self._noise_given(measurements)
        for fault in array_faults(m.y, m.codebook, m.H, noise_var) or arranged_faults(m):
            raise LocateError(fault.words())

    def _search(
        self, observation: Observation, view: NetworkView | None, sensing: Sensing
    ) -> tuple[Estimates, Tensor | None]:
        """Return the fitted sources and, for MUSIC, the peaks from which the fit started."""
        rule = self._rule(len(observation))
        if self.method == "music":
            [order] = order_rules([rule])
            places = music_places(self.localiser, sensing, observation, order)
            gains, most = GainMap(sensing, self.localiser.coarse), self.localiser.search.iterations
            return fit_and_assess(sensing, *places, iterations=most, gains=gains), places[0]
        if view is None:
            return self.localiser.pursuit(sensing, *order_rules([rule]))[0], None
        return view.locate(self.localiser, [rule], sensing)[0], None

    def _rule(self, batch: int) -> Rule | str:
        """Return the known K of each scene; `checked_order`, if BIC must also check the noise variance; or the name of the rule."""
        if isinstance(self.sources, int):
            return torch.full((batch,), self.sources)
        return EarlyRule(checked_order) if (self.sources, self.noise) == (BY_BIC, "auto") else self.sources
