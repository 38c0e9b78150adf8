"""The catalogue is the file system, and it is ours."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from qframe_rl import catalog
from qframe_rl.config import UserError


def test_every_file_is_a_name_and_has_what_it_needs() -> None:
    for kind in ("agents", "envs"):
        for name in catalog.names(kind):  # type: ignore[arg-type]
            module = catalog.load(kind, name)  # type: ignore[arg-type]
            assert module.__doc__
            for field, info in module.Config.model_fields.items():
                assert info.description, f"{kind}/{name}: {field} has no text"


def test_ids_state_the_version() -> None:
    assert catalog.env_id("spot") == "QFrame/Spot-v1"


@pytest.mark.parametrize("package", [True, False])
def test_another_package_of_the_same_name_is_refused(
    package: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = types.ModuleType("agents")
    if package:
        stranger.__path__ = [str(tmp_path)]
    else:
        stranger.__file__ = str(tmp_path / "agents.py")
    monkeypatch.setitem(sys.modules, "agents", stranger)
    with pytest.raises(UserError, match=f"at {tmp_path}.* is not QFrame RL's"):
        catalog.load("agents", "momentum")


@pytest.mark.parametrize("name", ["..", ".flat", "agents.", "a..b"])
def test_a_path_with_a_part_missing_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="nor a module path"):
        catalog.load("agents", name)


def test_a_module_without_the_parts_is_named() -> None:
    with pytest.raises(UserError, match="has no Config and no make"):
        catalog.load("agents", "json.decoder")


def test_a_file_of_the_name_of_a_yardstick_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "flat.py").write_text("from qframe_rl.baselines.flat import Config, make\n")
    monkeypatch.setattr(catalog, "_ROOT", tmp_path)
    with pytest.raises(UserError, match=r"^agents/flat\.py has the name of a strategy of the library; give it another"):
        catalog.load("agents", "flat")


def test_auto_is_what_a_file_says_it_is_for() -> None:
    assert [catalog.market_for(kind) for kind in ("spot", "perpetual")] == ["spot", "perp"]
    with pytest.raises(UserError, match=r"instruments of kind option; name one with --env"):
        catalog.market_for("option")
