"""A checkpoint that says what none can is refused in one sentence, however well it is sealed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.checkpoint import _digest, _weights_digest, load_checkpoint
from qframe_rl.config import UserError, canonical
from qframe_rl.interface.market import interface_from
from qframe_rl.interface.observer import PANELS

SHIPPED = Path("checkpoints/ppo")


def sealed(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The shipped checkpoint with another manifest, and the seal that belongs to it."""
    shutil.copytree(SHIPPED, folder)
    manifest = json.loads((folder / "checkpoint.json").read_text())
    form = manifest.pop("format")
    del manifest["sha256"]
    change(manifest)
    digest = _digest(canonical(manifest), _weights_digest(load_checkpoint(SHIPPED).state))
    (folder / "checkpoint.json").write_text(json.dumps({"format": form, **manifest, "sha256": digest}))
    return folder


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        below: Any = manifest
        for key in path[:-1]:
            below = below[key]
        below[path[-1]] = value

    return change


def test_the_seal_of_these_tests_is_the_one_that_counts(tmp_path: Path) -> None:
    assert load_checkpoint(sealed(tmp_path / "same", lambda manifest: None)).digest == load_checkpoint(SHIPPED).digest


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("instruments", 0, "taker_fee", value=-0.5), "instruments.0.taker_fee"),
        (put("instruments", 0, "lot", value=-1.0), "instruments.0.lot"),
        (put("instruments", 0, "owner", value="me"), "unknown key 'instruments.0.owner'"),
        (put("interface", "n_rows", value=300_000_000), "interface.n_rows"),
        (put("interface", "mean", value=[0.0]), "differ in length"),
        (put("interface", "scale", 0, value=0.0), "interface.scale.0"),
        (put("interface", "n_instruments", value=2), "other instruments"),
        (put("bar_ns", value="1h"), "bar_ns"),
        (put("agent", "params", value=[]), "agent.params"),
        (put("provenance", "fingerprint", value="../../etc"), "provenance.fingerprint"),
        (put("provenance", "load", value={}), None),
        (put("provenance", "periods", "test", 0, value=["2020-01-01"]), "provenance.periods.test.0"),
        (put("provenance", "promotion", value={"forced": True}), "no reason is given"),
        (put("provenance", "promotion", value={"spread": -1.0}), "promotion.spread"),
        (put("provenance", "code", value=["x"]), "provenance.code"),
        (put("provenance", "trial", value="../x"), "provenance.trial"),
        (put("seed", value=True), "seed"),
        (put("scores", value=None), "scores"),
        (lambda manifest: manifest.pop("interface"), "interface"),
    ],
)
def test_a_manifest_that_says_what_none_can_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str | None
) -> None:
    place = sealed(tmp_path / "made", change)
    if said is None:
        load_checkpoint(place)
        return
    with pytest.raises(UserError, match=said) as refused:
        load_checkpoint(place)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600


@pytest.mark.parametrize("panel", PANELS)
def test_what_a_policy_sees_of_its_account_can_be_read_again(tmp_path: Path, panel: str) -> None:
    """``show_limits`` and ``show_resting`` could be trained with, and no command read the checkpoint."""
    made = load_checkpoint(sealed(tmp_path / "made", put("interface", panel, value=True)))
    assert interface_from(made.interface).observer.panels == (panel,)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    made = load_checkpoint(SHIPPED)
    name = next(iter(made.state))
    state = {key: array.copy() for key, array in made.state.items()}
    state[name].flat[0] = value
    broken = replace(made, state=state)
    with pytest.raises(UserError, match="not finite"):
        broken.save(tmp_path / "never")
    assert not (tmp_path / "never").exists()
    with monkeypatch.context() as patch:
        patch.setattr("qframe_rl.checkpoint.check_finite", lambda state, where: None)
        broken.save(tmp_path / "broken")
    with pytest.raises(UserError, match=f"{name}.*not finite"):
        load_checkpoint(tmp_path / "broken")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"format": 1, "seed": NaN}', '{"seed": ' + "9" * 5000 + "}", "null", '"\\ud800"']
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "checkpoint.json").write_text(text)
    with pytest.raises(UserError):
        load_checkpoint(tmp_path)


def test_what_is_replaced_is_whole_whenever_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = load_checkpoint(SHIPPED)
    made.save(tmp_path / "one")

    def killed(path: Path, **given: Any) -> None:
        if path.exists():
            (path / "weights.safetensors").unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr("qframe_rl.checkpoint.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        replace(made, seed=made.seed + 1).save(tmp_path / "one")
    assert load_checkpoint(tmp_path / "one").seed == made.seed + 1


DEPLOYS = """
import sys
from pathlib import Path
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.deploy import deployed
from qframe_rl.runner.log import RunLog, Silent

log = RunLog(Path(sys.argv[1]), "train", Silent())
log.scalar("a", 1.0, 1)
log.hyper_parameters({"steps": 1, "on": True, "name": "x"}, {"sharpe": 1.0})
log.close()
for folder in sorted(Path("checkpoints").glob("*/")):
    made = load_checkpoint(folder)
    deployed(made, made.instruments, made.columns, made.bar_ns, "the data of its training")
    print(folder.name, *sorted({"torch", "sympy", "torch.utils.tensorboard"} & sys.modules.keys()))
"""


def test_a_session_begins_without_libraries_that_it_does_not_use(tmp_path: Path) -> None:
    """So does the record of a training. PyTorch takes two seconds to import, symbolic algebra two more."""
    done = subprocess.run([sys.executable, "-c", DEPLOYS, str(tmp_path)], capture_output=True, text=True)
    loaded = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    assert set(loaded.values()) == {"", "torch"}, done.stdout + done.stderr
    assert loaded["adaptive_mean_reversion"] == ""
