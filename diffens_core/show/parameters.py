"""The parameters of a notebook, checked before anything is computed.

A parameters cell declares names, types and defaults. Papermill writes what it is given into a cell below, which nothing
checks: a misspelt name would have no effect, and a wrong type fail somewhere later.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Mapping, Sequence

from ..data.planes import PLANES
from ..data.tasks import translation_named
from ..diffusion.sampler import sampler_named
from ..evaluation.evaluate import TRUTH
from ..experiment.methods import method_named
from ..experiment.presets import preset_named
from ..support.progress import ipython_shell
from ..support.settings import ConfigError, at_least, one_of, quoted

INJECTED = "# Parameters"  # the first line of papermill's cell
SPLITS = ("train", "val", "test")
LEAST = {"seed": 0, "subjects": 0, "steps": 0, "samples": 1}


def check_parameters() -> None:
    """Check the parameters of the notebook that calls it, in the first code cell after them.

    A whole number given for text or for a real number is turned into one. Raises `ConfigError` for a name that the
    notebook does not have, a wrong type, and a value that cannot be. Outside of a kernel nothing is done.
    """
    shell = ipython_shell()
    if shell is not None:
        names = shell.user_ns
        declared, given = read_cells(names.get("In", []))
        names |= checked(declared, {name: names[name] for name in {**declared, **dict.fromkeys(given)}})


def read_cells(cells: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """From the code that ran: types of the declared parameters by name, and the names that papermill gave."""
    declared, given = {}, []
    for cell in cells:
        if cell.startswith(INJECTED):
            given = [s.targets[0].id for s in ast.parse(cell).body if isinstance(s, ast.Assign)]
        elif types := _declared(cell):
            declared, given = types, []
    return declared, given


def _declared(cell: str) -> dict[str, str]:
    """The types in a cell of declarations, such as `seed: int = 0`; empty for any other cell."""
    try:
        body = ast.parse(cell).body
    except SyntaxError:  # `%` and `!` are understood by notebooks only
        return {}
    typed = all(isinstance(s, ast.AnnAssign) and isinstance(s.annotation, ast.Name) for s in body)
    return {s.target.id: s.annotation.id for s in body} if typed else {}


def checked(declared: Mapping[str, str], values: Mapping[str, object]) -> dict[str, object]:
    """`values` of the `declared` types; raises `ConfigError`."""
    for name in values:
        if name not in declared:
            near = difflib.get_close_matches(name, declared, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(f"unknown parameter {quoted(name)}: {hint}There are {', '.join(declared)}")
    found = {name: _typed(name, declared[name], value) for name, value in values.items()}
    for name, value in found.items():
        RULES.get(name, _anything)(name, value, found)
    return found


def _typed(name: str, kind: str, value):
    if type(value).__name__ == kind:
        return value
    if type(value) is int and kind in ("str", "float"):
        return {"str": str, "float": float}[kind](value)
    wanted = {"int": "a whole number", "float": "a number", "str": "text"}.get(kind, kind)
    raise ConfigError(f"{name} must be {wanted}, not {quoted(value)}")


def _anything(name: str, value, values: Mapping) -> None:
    """No rule: whoever reads the value checks it."""


def _each(check: Callable[[str], object]) -> Callable:
    """The rule that every name of a list, separated by commas, passes a check."""

    def rule(name: str, value: str, values: Mapping) -> None:
        for part in value.split(",") if value else ():
            check(part)

    return rule


def _methods(name: str, value: str, values: Mapping) -> None:
    """Methods exist, and do the notebook's task."""
    for method in value.split(",") if value else ():
        if method != TRUTH:
            method_named(method, values["task"])


RULES: Mapping[str, Callable] = {
    "preset": lambda name, value, values: preset_named(value),
    "task": _each(translation_named),
    "split": lambda name, value, values: one_of(name, value, SPLITS),
    "sampler": _each(sampler_named),
    "planes": _each(lambda plane: one_of("planes", plane, PLANES)),
    **dict.fromkeys(LEAST, lambda name, value, values: at_least(name, value, LEAST[name])),
    **dict.fromkeys(("method", "methods", "ablations", "gates_of"), _methods),
}
