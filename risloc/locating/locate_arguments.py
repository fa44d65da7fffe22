"""Checks of the arguments of a locator, and the error for those that do not allow locating."""

import torch

from risloc.config import integer, shown
from risloc.learning.k_rules import BY_BIC, RULES, needs_network
from risloc.learning.network import HybridNetwork
from risloc.scenes.scenario import MOST_IN_A_SCENE, MOST_SOURCES
from risloc.utils.argument_checks import whole

__all__ = [
    "FITS",
    "METHODS",
    "NOISE",
    "LocateError",
    "check_size",
    "check_usable",
    "checked_choice",
    "checked_count",
    "checked_method",
    "checked_sources",
    "largest_order",
]

METHODS = ("hybrid", "nomp", "music")
"""The methods: with a network, Newtonised orthogonal matching pursuit, and classical MUSIC on R_samp."""

NOISE = ("auto", "given", "estimated")
"""The sources of sigma^2."""

FITS = ("conditional", "stochastic")
"""The likelihoods of the final fit."""


class LocateError(ValueError):
    """The measurements cannot be located as requested; the message says why and what to do."""


def checked_count(name: str, value: object, least: int) -> int:
    """Convert a value to an integer.

    Parameters
    ----------
    name
        The name of the argument.
    value
        The value.
    least
        The smallest valid value.

    Returns
    -------
    int
        The integer.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        The value is not an integer, or is too small.
    """
    try:
        return whole(name, value, least)
    except ValueError as error:
        raise LocateError(str(error)) from None


def checked_choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """Check that a value is one of the choices.

    Parameters
    ----------
    name
        The name of the argument.
    value
        The value.
    choices
        The valid values.

    Returns
    -------
    str
        The value.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        It is not.
    """
    if value not in choices:
        raise LocateError(f"{name}: expected one of {', '.join(choices)}, got {shown(value)}")
    return str(value)


def checked_sources(sources: object, network: object) -> int | None:
    """Check the number of sources K, or the rule that estimates it.

    Parameters
    ----------
    sources
        K, or the name of a rule.
    network
        The network, or None.

    Returns
    -------
    int or None
        K if it is given, None if a rule is.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        It is neither of the two, or the rule needs a network and there is none.
    """
    if isinstance(sources, str) and sources in RULES:
        if needs_network(sources) and network is None:
            raise LocateError(
                f"sources: the rule '{sources}' is part of a network: pass a network that has it, or use {BY_BIC!r}"
            )
        return None
    if (number := integer(sources)) is None or number < 0:
        rules = ", ".join(RULES)
        raise LocateError(f"sources: expected an integer of at least 0, or one of {rules}, got {shown(sources)}")
    return number


def checked_method(method: object, network: object) -> str:
    """Check the method, or choose it.

    Parameters
    ----------
    method
        One of `METHODS`; None: the hybrid with a network, NOMP without.
    network
        The network, or None.

    Returns
    -------
    str
        The method.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        There is no such method, or the method and the network contradict each other.
    """
    if method is None:
        return "nomp" if network is None else "hybrid"
    if not isinstance(method, str) or method not in METHODS:
        raise LocateError(f"method: expected one of {', '.join(METHODS)}, or None, got {shown(method)}")
    if (method == "hybrid") != (network is not None):
        raise LocateError(
            f"method: {method!r} {'needs a' if method == 'hybrid' else 'accepts no'} network; change one of the two"
        )
    return method


def check_usable(network: object) -> None:
    """Check that the network can be run: a `HybridNetwork` in single precision on the CPU.

    Parameters
    ----------
    network
        The network.

    Raises
    ------
    TypeError
        It is not a `HybridNetwork`.
    risloc.locating.locate_arguments.LocateError
        It is on another device or in another precision.
    """
    if not isinstance(network, HybridNetwork):
        raise TypeError(
            f"network: expected a HybridNetwork or None, got {type(network).__name__}: load_model(name) returns one"
        )
    weight = next(network.parameters())
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        raise LocateError(
            f"network: expected single precision on the CPU, where sources are located, got {weight.dtype} on {weight.device}: "
            "use network.float().cpu()"
        )


def check_size(elements: int, antennas: int, snapshots: int, slots: int) -> None:
    """Check that a scenario could have scenes of this size.

    Parameters
    ----------
    elements
        The number of elements N.
    antennas
        The number of antennas M.
    snapshots
        The number of snapshots L.
    slots
        The largest number of sources.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        There are more sources, or larger arrays, than in any scenario.
    """
    if slots > MOST_SOURCES:
        raise LocateError(f"sources: expected at most {MOST_SOURCES}, got {slots}; search for fewer sources")
    if elements * (rows := max(antennas, slots * snapshots)) > MOST_IN_A_SCENE:
        raise LocateError(
            f"antennas, snapshots, sources: expected at most {MOST_IN_A_SCENE} entries in an array of a scene (elements x "
            f"antennas, elements x sources x snapshots), got {elements} x {rows}; reduce one of these numbers"
        )


def largest_order(K_MAX: int, antennas: int, snapshots: int, *, known: int | None, most: object, fixed: bool) -> int:
    """Return the largest number of sources to search for.

    It is K_MAX of the network; without a network K if it is known, otherwise `most` or K_MAX. At most
    floor(2 M L / (2 L + 4)) sources can be separated.

    Parameters
    ----------
    K_MAX
        The largest number of sources of the scenario.
    antennas
        The number of antennas M.
    snapshots
        The number of snapshots L.
    known
        The number of sources K, or None.
    most
        The largest number asked for, or None.
    fixed
        Whether K_MAX is that of a network.

    Returns
    -------
    int
        The number of slots.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        More sources were asked for than the network or the samples allow.
    """
    limit = None if most is None else checked_count("most", most, 1)
    slots = K_MAX if fixed else max(1, known if known is not None else K_MAX if limit is None else limit)
    if not 0 <= (known or 0) <= slots or (fixed and limit not in (None, slots)):
        raise LocateError(
            f"sources: this network searches for at most {slots} sources; requested {known or limit}: use NOMP (--method nomp; "
            "model=None)"
        )
    if slots > _separable(antennas, snapshots):
        raise LocateError(_too_many(antennas, snapshots, slots, known, fixed))
    return slots


def _separable(antennas: int, snapshots: int) -> int:
    """Return the most sources that 2 M L real samples can separate: each has 2 L of symbols, 3 of position, 1 of power."""
    return 2 * antennas * snapshots // (2 * snapshots + 4)


def _too_many(antennas: int, snapshots: int, slots: int, known: int | None, fixed: bool) -> str:
    """Say why so many `slots` cannot be separated, and what to do."""
    limit = _separable(antennas, snapshots)
    samples = f"{antennas} antenna{'s' * (antennas > 1)} and {snapshots} snapshot{'s' * (snapshots > 1)}"
    if limit == 0:
        return f"sources: {samples} cannot locate even one source: expected M >= {2 if snapshots > 1 else 3}"
    remedies = ["use NOMP (--method nomp; model=None)"] if fixed else []
    if known is None:
        remedies.append(f"search for at most {limit} (--most {limit}; most={limit})")
    elif known > limit:
        remedies.append(f"search for at most {limit} (--sources {limit}; sources={limit})")
    requested = f"up to {slots}" if known is None or fixed else f"{known}"
    sources = f"at most {limit} source{'s' * (limit > 1)} can be separated with {samples}"
    return f"sources: {sources}; requested {requested}: {' and '.join(remedies)}"
