"""Copies of inherited functions, for classes that stand on the data path side by side."""

from __future__ import annotations

from types import FunctionType
from typing import TypeVar

ClassT = TypeVar("ClassT")

_PACKAGE = __name__.partition(".")[0]


def with_own_code(cls: type[ClassT]) -> type[ClassT]:
    """Give a class copies of the functions and properties that it inherits from classes of ours.

    Since 3.11 Python remembers at each attribute access of a function where it found the attribute, for the class that it met
    there last (PEP 659). Two classes that take turns in the same code, as requests and responses do, make it forget every time.
    """
    ours = (base for base in cls.__mro__[1:] if base.__module__.partition(".")[0] == _PACKAGE)
    for base in ours:
        for name, inherited in vars(base).items():
            if name in vars(cls) or name.startswith("__"):
                continue
            if isinstance(inherited, FunctionType):
                setattr(cls, name, _copy(inherited))
            elif isinstance(inherited, property) and isinstance(inherited.fget, FunctionType):
                setattr(cls, name, property(_copy(inherited.fget)))
    return cls


def _copy(function: FunctionType) -> FunctionType:
    code = function.__code__.replace()
    copy = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__, copy.__doc__, copy.__qualname__ = function.__kwdefaults__, function.__doc__, function.__qualname__
    return copy
