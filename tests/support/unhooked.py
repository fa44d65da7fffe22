"""Calls as a user makes them: without the checks that conftest.py has put in front of every function of risloc."""

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["unhooked"]


def unhooked(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """What the function gives, or the class makes; what it calls is checked as ever."""
    if not isinstance(function, type):
        return inspect.unwrap(function)(*given, **named)
    made = object.__new__(function)
    inspect.unwrap(function.__init__)(made, *given, **named)
    return made
