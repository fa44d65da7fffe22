"""Checks of the arguments of a locator, and the error for those that do not allow locating."""

import torch

from risloc.config import integer, shown
from risloc.estimation.echo_localiser import ECHOES
from risloc.learning.k_rules import BY_BIC, RULES, needs_network
from risloc.learning.network import HybridNetwork
from risloc.utils.argument_checks import whole

__all__ = [
    "FITS",
    "METHODS",
    "NOISE",
    "LocateError",
    "check_usable",
    "checked_choice",
    "checked_count",
    "checked_echoes",
    "checked_method",
    "checked_sources",
    "finds_echoes",
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


def checked_echoes(echoes: object, method: str, fit: str) -> str:
    """Check whether echoes are searched for, or choose it.

    Parameters
    ----------
    echoes
        One of `risloc.estimation.echo_localiser.ECHOES`.
    method
        The method.
    fit
        The likelihood of the final fit.

    Returns
    -------
    str
        `echoes`; "never" in place of "auto" for what knows of no echoes.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        It is none of the choices, or echoes are asked for and the method or the fit knows of none.
    """
    choice = checked_choice("echoes", echoes, ECHOES)
    if choice == "always" and not finds_echoes(method, fit):
        raise LocateError(
            f"echoes: 'always' needs the method 'nomp' (model=None) and the fit 'conditional', got {method!r} and {fit!r}; change "
            "them, or use echoes='auto'"
        )
    return choice if finds_echoes(method, fit) else "never"


def finds_echoes(method: str, fit: str) -> bool:
    """Test whether a method with a fit can find echoes.

    Parameters
    ----------
    method
        One of `METHODS`.
    fit
        One of `FITS`.

    Returns
    -------
    bool
        True for NOMP with the conditional fit.
    """
    return method == "nomp" and fit == "conditional"


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
