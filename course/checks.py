"""Checks of answers in a notebook: right prints a word, anything else ends in one line that helps on."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from diffens_core.support.errors import DiffensError


class Refused(DiffensError):
    """An answer is not accepted. A notebook shows one line of it, and no traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [str(self)]


class Unanswered(Refused):
    """There is no answer yet, but the `...` of the stub."""


class Wrong(Refused):
    """The answer is wrong; the message holds the hint."""


class NotRefused(DiffensError):
    """A check accepts what it should refuse, or refuses it for another reason."""


def answered(*answers: Any) -> None:
    """Raises `Unanswered` if one of `answers`, or an entry of a list or tuple among them, is still `...`.

    The other checks call it on what they judge. A check that computes with an answer first calls it before that.
    """
    entries = [entry for answer in answers for entry in (answer if isinstance(answer, (list, tuple)) else [answer])]
    if any(entry is ... for entry in entries):
        raise Unanswered("not answered yet: replace the ... in the cell above, run it, then run this check again")


def near(answer: Any, truth: Any, hint: str, tolerance: float = 1e-3) -> None:
    """Is `answer` the number, array or tensor `truth`? Shapes are compared first; what is not finite is refused.

    tolerance: the largest difference allowed, as a share of the largest absolute value of `truth`, or, where `truth` is
    0 throughout, as it is. Raises `Unanswered`, or `Wrong` with the hint.
    """
    answered(answer)
    found, wanted = numbers(answer), numbers(truth)
    if found is None:
        raise wrong(hint, f"{type(answer).__name__} is neither a number nor an array of numbers")
    if found.shape != wanted.shape:
        raise wrong(hint, f"shape {found.shape} where {wanted.shape} is asked for")
    if not np.isfinite(found).all():
        raise wrong(hint, f"{np.count_nonzero(~np.isfinite(found))} of {found.size} values are not finite")
    off, scale = np.abs(found - wanted).max(initial=0), np.abs(wanted).max(initial=0)
    if off > tolerance * (scale or 1):
        raise wrong(hint, f"off by {'up to ' if found.ndim else ''}{off:.3g}")
    print("right")


def holds(condition: Any, hint: str) -> None:
    """Does `condition` hold? A bool, or a function without arguments that returns one; errors within it are not caught.

    Raises `Unanswered` if it is, or returns, `...`; `Wrong` with the hint if it does not hold.
    """
    found = condition() if callable(condition) else condition
    answered(found)
    if not found:
        raise wrong(hint)
    print("right")


def choice(answer: Any, right: str, hint: str) -> None:
    """Is `answer` the right one of several, such as "b"? Case and blanks around it do not matter.

    right: the answer itself or, in what students read, its `seal`. Raises `Unanswered`, or `Wrong` with the hint.
    """
    answered(answer)
    salt = right.rpartition(":")[0] or "open"
    if seal(str(answer), salt) != (right if ":" in right else seal(right, salt)):
        raise wrong(hint, "" if isinstance(answer, str) else 'an answer is a letter in quotes, such as "b"')
    print("right")


def seal(answer: str, salt: str) -> str:
    """`salt:digest`, from which nobody reads the answer, though whoever tries all letters finds it; salt: any text."""
    return f"{salt}:{hashlib.sha256(f'{salt} {answer.strip().lower()}'.encode()).hexdigest()[:8]}"


def must_refuse(kind: type[Refused], what: str, check: str, names: dict[str, Any]) -> None:
    """Run the code `check` on the variables `names` of a notebook: it must end in an error of this kind.

    what: the attempt that is refused, for the message of `NotRefused`, which is raised if it is not.
    """
    try:
        exec(check, names)
    except kind as error:
        print(f"{what} is refused: {error}")
    except Exception as error:
        raise NotRefused(f"{what} ends in {type(error).__name__}, not in {kind.__name__}: {error}") from error
    else:
        raise NotRefused(f"{what} is not refused")


def numbers(value: Any) -> np.ndarray | None:
    """A number, array, tensor or list as float64 of its own shape; None for what holds no real numbers."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().double().numpy()
    try:
        array = np.asarray(value)
        return array.astype(np.float64) if array.dtype.kind in "biuf" else None
    except (TypeError, ValueError):  # rows of several lengths
        return None


def wrong(hint: str, why: str = "") -> Wrong:
    """The error of a wrong answer, in one line."""
    return Wrong(" ".join(f"not yet: {why + '. ' if why else ''}{hint}".split()))
