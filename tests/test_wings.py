"""The house: imports between the wings of the library run one way, and none runs in a circle."""

import ast
import builtins
import subprocess
import sys
from pathlib import Path

import pytest

import diffens_core

CORE = Path(diffens_core.__file__).parent
WINGS = ("support", "data", "diffusion", "networks", "models", "training", "experiment", "evaluation", "show")
FLOORS = {wing: floor for floor, wing in enumerate((*WINGS, "top"))}
MODULES = {path: path.relative_to(CORE).with_suffix("").parts for path in sorted(CORE.rglob("*.py"))}


def wing_of(parts: tuple[str, ...]) -> str:
    return parts[0] if parts[0] in WINGS else "top"


def imports_of(path: Path, *, lazy: bool) -> set[tuple[str, ...]]:
    """The modules of the library that one imports, as parts below it; `lazy`: those within functions too."""
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    nodes = ast.walk(tree) if lazy else tree.body
    found = set()
    for node in (n for n in nodes if isinstance(n, ast.ImportFrom) and n.level):
        base = (*MODULES[path][: len(MODULES[path]) - node.level], *filter(None, (node.module or "").split(".")))
        names = [(*base, alias.name) for alias in node.names]
        found |= {name if name in MODULES.values() else base for name in names}
    return found - {()}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: "/".join(MODULES[path]))
def test_imports_run_from_later_wings_to_earlier_ones(path):
    floor = FLOORS[wing_of(MODULES[path])]
    above = [".".join(other) for other in imports_of(path, lazy=True) if FLOORS[wing_of(other)] > floor]
    assert not above, f"{'/'.join(MODULES[path])} imports {', '.join(above)}, from a wing above its own"


def test_imports_do_not_run_in_a_circle():
    below = {parts: imports_of(path, lazy=False) for path, parts in MODULES.items() if parts[-1] != "__init__"}
    while leaves := {parts for parts, others in below.items() if not others & set(below)}:
        below = {parts: others for parts, others in below.items() if parts not in leaves}
    assert not below, f"in a circle: {', '.join('.'.join(parts) for parts in below)}"


def test_every_wing_says_what_lives_there():
    for wing in WINGS:
        text = ast.get_docstring(ast.parse((CORE / wing / "__init__.py").read_text()))
        assert text and "import" in text
    assert {path.name for path in CORE.iterdir() if (path / "__init__.py").is_file()} == set(WINGS)


def test_the_front_door_has_what_a_notebook_a_course_and_a_lab_use():
    wanted = "open_experiment METHODS PRESETS TASKS Schedule ddim sample UNet Borrowed SliceExpert Average Fusion"
    wanted += " image_metrics evaluate translate_files load_volume save_volume DiffensError"
    assert set(wanted.split()) <= set(diffens_core.__all__)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: "/".join(MODULES[path]))
def test_errors_have_the_one_base_that_a_user_can_catch(path):
    """None of Python's own kinds is raised as it is, but for an index out of range, which is a bug and no input."""
    raised = [node.exc for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Raise)]
    names = {ast.unparse(one.func) for one in raised if isinstance(one, ast.Call)} - {"IndexError"}
    assert not names & set(vars(builtins)), f"make it a DiffensError (support/errors.py): {names & set(vars(builtins))}"


def test_the_front_door_opens_quickly_and_without_monai():
    code = "import sys, diffens_core as d; assert all(hasattr(d, n) for n in d.__all__); print('monai' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
