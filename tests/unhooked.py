"""Calls as a user makes them: without the checks that conftest.py has put in front of every function of risloc."""

from collections.abc import Callable
from typing import Any

__all__ = ["unhooked"]


def unhooked(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """What the function gives, or the class makes; what it calls is checked as ever."""
    if not isinstance(function, type):
        return function.__wrapped__(*given, **named)
    made = object.__new__(function)
    function.__init__.__wrapped__(made, *given, **named)
    return made
