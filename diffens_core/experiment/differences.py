"""What sets one preset apart from another: every setting that differs, by its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass

from .presets import Preset


def differences(preset: Preset, other: Preset) -> dict[str, tuple[str, str]]:
    """The settings in which two presets differ, as text, by name such as `expert.base`; `-` where one has none."""
    recipes = preset.recipes | other.recipes
    ours, theirs = dict(_settings(preset, recipes)), dict(_settings(other, recipes))
    names = [*ours, *(name for name in theirs if name not in ours)]
    found = {name: (ours.get(name, "-"), theirs.get(name, "-")) for name in names}
    return {name: pair for name, pair in found.items() if pair[0] != pair[1] and name != "name"}


def _settings(preset: Preset, recipes: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Every setting; of `recipes`, also those that the preset has none of its own for, as it makes them."""
    for field in fields(preset):
        if field.name == "train":  # what all trainings share, with the defaults of what is not said
            training = preset.training(preset.expert_train)
            yield from ((name, text) for name, text in _flat(training, "train") if name != "train.phases")
        elif field.name == "recipes":
            for name in recipes:
                found = preset.recipe(name, None if name.endswith("-3d") else "axial")
                yield from _flat(found, f"recipes.{name}")
        else:
            yield from _flat(getattr(preset, field.name), field.name)


def _flat(value, name: str) -> Iterator[tuple[str, str]]:
    if is_dataclass(value):
        for field in fields(value):
            yield from _flat(getattr(value, field.name), f"{name}.{field.name}")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}")
    else:
        yield name, _text(value)


def _text(value) -> str:
    """A value on one line; of a phase of training, what is said of it."""
    if isinstance(value, tuple):
        joint = ", then " if any(map(is_dataclass, value)) else ", "
        return ("x" if all(isinstance(item, int) for item in value) else joint).join(map(_text, value))
    if is_dataclass(value):
        said = ((f.name, getattr(value, f.name)) for f in fields(value))
        return " ".join(f"{key} {_text(item)}" for key, item in said if item not in (None, False))
    return f"{value:g}" if isinstance(value, float) else str(value)
