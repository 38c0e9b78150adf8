"""What a strategy's code is: found by the import system, told apart by what it does."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qframe_rl import catalog
from qframe_rl.config import Ref, UserError
from qframe_rl.runner.executors import Mute
from qframe_rl.runner.fold_training import FoldTraining, TrainingInputs, learn
from qframe_rl.runner.identity import Code, code, code_of
from tests.markets import panel

RULE = '''"""A rule."""
import numpy as np
from . import helpers
from .deep.er import LIMIT

def decide(x):
    """Say."""
    # Why.
    return x * helpers.FACTOR * LIMIT + 1.5
'''

Package = Callable[..., Code]
AUTO = Ref(name="auto")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Write files of a package ``secret_trader`` and hash its module ``rule``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    files = {
        "__init__": "", "rule": RULE, "helpers": "FACTOR = 2\n", "deep/__init__": "", "deep/er": "LIMIT = 3\n",
        "unused": "X = 1\n",
    }  # fmt: skip

    def write(**changes: str) -> Code:
        for name, text in (files | {k.replace("__of__", "/"): v for k, v in changes.items()}).items():
            path = tmp_path / "secret_trader" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        importlib.invalidate_caches()
        return code("secret_trader.rule")

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "secret_trader"]:
        del sys.modules[name]


def test_its_own_module_and_what_it_imports_count(package: Package) -> None:
    first = package()
    wanted = ["", ".deep", ".deep.er", ".helpers", ".rule"]
    assert first.modules == tuple(f"secret_trader{name}" for name in wanted)
    assert set(first.packages) == {"numpy"}
    assert package() == first
    for changed in (
        package(rule=RULE.replace("1.5", "1.6")),
        package(helpers="FACTOR = 3\n"),
        package(deep__of__er="LIMIT = 4\n"),
        package(deep__of____init__="import os\n"),
    ):
        assert changed.digest != first.digest
    assert package(unused="X = 2\n") == first


def test_comments_docstrings_and_layout_do_not_count(package: Package) -> None:
    first = package()
    tidy = """import numpy as np
from . import helpers
from .deep.er import LIMIT
def decide(x):
    return (x * helpers.FACTOR *
            LIMIT + 1.5)  # tidied
"""
    assert package(rule=tidy) == first
    assert package(rule=tidy.replace("helpers.FACTOR *", "LIMIT *")).digest != first.digest


@pytest.mark.parametrize(
    "line",
    [
        "def f():\n    from secret_trader import unused\n",
        "import secret_trader.unused as u\n",
        "import importlib\nimportlib.import_module('secret_trader.unused')\n",
        "import importlib\nimportlib.import_module('.unused', __package__)\n",
        "__import__('secret_trader.unused')\n",
    ],
)
def test_it_is_found_however_it_is_imported(package: Package, line: str) -> None:
    first = package(rule=RULE + line)
    assert "secret_trader.unused" in first.modules
    assert package(rule=RULE + line, unused="X = 2\n").digest != first.digest


def test_modules_elsewhere_count_and_installed_ones_are_recorded(package: Package, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("Y = 1\n")
    text = RULE + "import beside, pydantic, json, qframe_rl.types, not_there\n"
    first = package(rule=text)
    assert "beside" in first.modules
    assert set(first.packages) == {"numpy", "pydantic"}
    (tmp_path / "beside.py").write_text("Y = 2\n")
    assert package(rule=text).digest != first.digest


def test_a_strategy_of_the_catalogue_counts_its_folder_and_its_market_but_not_the_library() -> None:
    module = catalog.load("agents", "momentum")
    found = code_of("momentum", module.Config(), AUTO, "perp")
    assert {"agents.momentum", "envs.perp"} <= set(found.modules)
    assert not [name for name in found.modules if name.startswith("qframe_rl")]
    assert found.digest != code_of("momentum", module.Config(), Ref(name="spot"), "perp").digest


def test_an_ensemble_consists_of_its_members_too() -> None:
    module = catalog.load("agents", "ensemble")
    config = module.Config(members=("pairs", "x=ensemble"), member={"x": {"members": ["dmn"]}})
    found = code_of("ensemble", config, AUTO, "perp")
    assert {"agents.ensemble", "agents.pairs", "agents.dmn"} <= set(found.modules)
    assert "agents.momentum" not in found.modules


def test_a_machine_with_other_code_of_a_strategy_refuses_to_train_it() -> None:
    cell = FoldTraining("momentum", catalog.load("agents", "momentum").Config(), 0, 0, "of another version")
    with pytest.raises(UserError, match="other code of momentum"):
        learn(TrainingInputs(panel(50, 1), (), ()), cell, Mute())
