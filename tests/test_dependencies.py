"""What is imported is declared, and not there by chance because something else needs it; and its version was tested."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
ASKED_FOR = {"diffens_core": PROJECT["optional-dependencies"]["register"]}  # imported where it is used, or a clear line
OURS = {"diffens_core", "data_prep", "figures", "benchmarks", *(path.stem for path in (ROOT / "tests").glob("*.py"))}


def packages(lines: Iterable[str]) -> set[str]:
    return {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in lines if line[0] != "#"}


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.split(".")[0] for name in names} - OURS - sys.stdlib_module_names


@pytest.mark.parametrize("folder", ["diffens_core", "data_prep", "figures", "notebooks", "tests", "benchmarks"])
def test_what_is_imported_is_declared(folder):
    extras = EXTRAS if folder in ("notebooks", "tests", "benchmarks") else ASKED_FOR.get(folder, [])
    declared, owners = packages([*PROJECT["dependencies"], *extras]), packages_distributions()
    for path in (ROOT / folder).rglob("*.py"):
        missing = {name for name in imported(path) if not packages(owners.get(name, [name])) & declared}
        assert not missing, f"{path.relative_to(ROOT)} imports {missing}, which pyproject.toml does not declare"


def test_every_declared_package_was_tested_in_one_version():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"]
    pinned = packages(lines)
    assert len(pinned) == len(lines)
    assert packages([*PROJECT["dependencies"], *EXTRAS]) - pinned == {"diffens"}
