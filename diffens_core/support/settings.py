"""Settings as frozen dataclasses: checked when read, written as JSON.

Each class of settings stands beside the code that it configures. A wrong setting raises `ConfigError`, which names it.
"""

from __future__ import annotations

import math
import reprlib
import types
import typing
from dataclasses import field, fields, is_dataclass

from .errors import DiffensError

LARGEST = 2**63  # of whole numbers


class ConfigError(DiffensError, ValueError):
    """A setting has an unknown key, a wrong type or an impossible value; the message names it in one line."""


def option(default):
    """A setting with a neutral default; at this value it is left out of a run's identity and of its JSON.

    So a new option keeps the identity of runs that were trained before it existed.
    """
    return field(default=default, metadata={"option": True})


def shown(text) -> str:
    """What came from a file, for a message: one line, not long, of characters that can be printed."""
    text = " ".join(str(text).split())
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= 300 else f"{text[:300]}..."


def quoted(value) -> str:
    """As `shown`, any value as Python writes it; what it nests, perhaps without end, is left out."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxlist, short.maxdict, short.maxother = 4, 200, 10, 10, 200
    try:
        return shown(short.repr(value))
    except ValueError:
        return "a number of thousands of digits"


def one_of(key: str, value, allowed) -> None:
    if value not in allowed:
        raise ConfigError(f"{key} must be one of {', '.join(map(str, allowed))}, not {quoted(value)}")


def at_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{key} must be at least {least}, not {quoted(value)}")


def to_dict(config) -> dict:
    """Settings as nested dictionaries and lists for JSON; an `option` at its neutral value is left out."""
    if is_dataclass(config):
        kept = (f for f in fields(config) if "option" not in f.metadata or getattr(config, f.name) != f.default)
        return {f.name: to_dict(getattr(config, f.name)) for f in kept}
    return [to_dict(item) for item in config] if isinstance(config, tuple) else config


def from_dict(kind, content):
    """Build the dataclass `kind` from JSON `content`; raises `ConfigError` for an unknown key or a wrong type."""
    return _read(kind, content, kind.__name__)


def _read(kind, value, where: str):
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        return _read(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} must be a list, not {quoted(value)}")
        return tuple(_read(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if kind is float and type(value) is int and abs(value) < LARGEST:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{where} must be {kind.__name__}, not {quoted(value)}")
    if (kind is int and abs(value) >= LARGEST) or (kind is float and not math.isfinite(value)):
        raise ConfigError(f"{where} must be a number that is not so large, not {quoted(value)}")
    if kind is str and not value.isprintable():
        raise ConfigError(f"{where} must be printable text, not {quoted(value)}")
    return value


def _read_dataclass(kind, value, where: str):
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be an object, not {quoted(value)}")
    hints = typing.get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(value) - known)
    if unknown:
        raise ConfigError(f"{where}: unknown key {shown(', '.join(unknown))}; known are {', '.join(sorted(known))}")
    try:
        return kind(**{key: _read(hints[key], item, f"{where}.{key}") for key, item in value.items()})
    except TypeError as error:
        raise ConfigError(f"{where}: {str(error).split('() ')[-1]}") from None
