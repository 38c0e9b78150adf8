"""What a user or the author of a strategy calls says what it takes: sections as numpydoc has them.

Counted are public functions, methods and constructors of three and more arguments. A method that overrides one of a
base class of these rooms is documented there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
ROOMS = (
    "agent", "catalog", "checkpoint", "config", "deep", "deploy", "estimate", "evaluate", "features", "feeds", "gym",
    "interface", "listeners", "live.open", "live.paper", "policy", "rllib", "runner", "sb3", "session", "theory",
    "types", "venues",
)  # fmt: skip
ARRAYS = {"Float", "Single", "Int", "Bool", "NDArray[np.float32]", "NDArray[np.float64]", "NDArray[Any]"}
ERRORS = {"UserError", "ValueError"}
FEWEST = 3


class Called(NamedTuple):
    """A function as somebody calls it."""

    place: str
    arguments: list[str]
    returns: str
    raises: set[str]
    text: str


def files() -> Iterator[Path]:
    for room in ROOMS:
        path = ROOT / "qframe_rl" / room.replace(".", "/")
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def called(path: Path, inherited: dict[str, set[str]]) -> Iterator[Called]:
    """The public functions, methods and constructors of a module."""
    if path.name.startswith("_") and path.name != "__init__.py":
        return
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield _called(path, node, node.name, ast.get_docstring(node) or "", bound=False)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for part in node.body:
                if not isinstance(part, ast.FunctionDef) or part.name in inherited.get(node.name, set()):
                    continue
                name = f"{node.name}.{part.name}"
                if part.name == "__init__":
                    yield _called(path, part, name, ast.get_docstring(node) or "", bound=True)
                elif not part.name.startswith("_"):
                    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in part.decorator_list)
                    yield _called(path, part, name, ast.get_docstring(part) or "", bound=not static)


def _called(path: Path, node: ast.FunctionDef, name: str, text: str, *, bound: bool) -> Called:
    arguments = [a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]][bound:]
    arguments += [a.arg for a in (node.args.vararg, node.args.kwarg) if a]
    calls = [n.exc.func for n in ast.walk(node) if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call)]
    raised = {call.id for call in calls if isinstance(call, ast.Name)}
    returns = ast.unparse(node.returns) if node.returns else "None"
    return Called(f"{path.relative_to(ROOT)}:{node.lineno} {name}", arguments, returns, raised & ERRORS, text)


def overridden() -> dict[str, set[str]]:
    """For each class, the methods that a base class of these rooms has."""
    classes = {n.name: n for p in files() for n in ast.walk(ast.parse(p.read_text())) if isinstance(n, ast.ClassDef)}

    def bases(name: str) -> Iterator[str]:
        for base in classes[name].bases:
            inner = base.value if isinstance(base, ast.Subscript) else base
            if isinstance(inner, ast.Name) and inner.id in classes:
                yield inner.id
                yield from bases(inner.id)

    def methods(name: str) -> set[str]:
        return {n.name for n in classes[name].body if isinstance(n, ast.FunctionDef) and n.name != "__init__"}

    return {name: {method for base in bases(name) for method in methods(base)} for name in classes}


def section(text: str, title: str) -> str:
    """What stands under a title, to the next one."""
    found = re.search(rf"^{title}\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", text, re.DOTALL | re.MULTILINE)
    return found[1] if found else ""


def parameters(text: str) -> list[str]:
    """Names under Parameters; several may share a description."""
    heads = re.findall(r"^[*\w].*$", section(text, "Parameters"), re.MULTILINE)
    return [name.lstrip("*") for head in heads for name in head.split(", ")]


def lacks(one: Called) -> list[str]:
    """What its docstring does not say."""
    if len(one.arguments) < FEWEST:
        return []
    named = parameters(one.text)
    found = [f"argument {name}" for name in one.arguments if named.count(name) != 1]
    found += [f"argument {name} is not there" for name in named if name not in one.arguments]
    prose = one.text.partition("\nParameters\n---")[0]
    shaped = one.returns in ARRAYS and re.search(r"\([^)]*,[^)]*\)", prose)
    if (one.returns in ARRAYS or one.returns.startswith("tuple[")) and not shaped and not section(one.text, "Returns"):
        found.append(f"what it returns: {one.returns}")
    return found + [f"why it raises {name}" for name in sorted(one.raises) if name not in section(one.text, "Raises")]


def test_what_is_called_says_what_it_takes() -> None:
    inherited = overridden()
    lacking = {c.place: lacks(c) for path in files() for c in called(path, inherited)}
    assert {place: found for place, found in lacking.items() if found} == {}


def resolves(dotted: str) -> bool:
    """Whether the module that a dotted name begins with is there, and has what comes next."""
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:n])
        file = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        if file.is_file():
            return n == len(parts) or re.search(rf"\b{parts[n]}\b", file.read_text()) is not None
    return False


def test_what_docstrings_point_to_is_there() -> None:
    """But for files of the catalogue, any of which may be deleted."""
    assert [resolves(f"qframe_rl.{name}") for name in ("agent.View", "agent.Veiw", "nobody")] == [True, False, False]
    sources = [p for package in ("qframe_rl", "agents", "envs", "experiments") for p in (ROOT / package).rglob("*.py")]
    points = r"`((?:qframe_rl|experiments)(?:\.\w+)+)"
    named = {(str(p.relative_to(ROOT)), name) for p in sources for name in re.findall(points, p.read_text())}
    assert {(place, name) for place, name in named if not resolves(name)} == set()
