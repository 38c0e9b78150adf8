"""A spoiled file is opened, or refused in one sentence; `make long` tries two thousand of each kind."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.__main__ import fuzzed
from tests.fuzz.guard import Hung, Watch, limit_time, plant
from tests.fuzz.mutate import PAYLOAD, spoil_bytes, spoil_tree
from tests.fuzz.run import one
from tests.fuzz.subjects import KINDS


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_spoiled_file_is_opened_or_refused_in_one_sentence(kind: str) -> None:
    found = fuzzed(kind, 40, seed=1)
    assert [case for case in found if case.what not in ("opened", "refused")] == []
    assert {case.what for case in found} == {"opened", "refused"}, "sound ones are opened too"


def test_a_case_follows_from_its_number(tmp_path: Path) -> None:
    tree = {"a": [1, 2.0, "three", {"b": None}], "c": {"d": "e"}}
    assert repr(spoil_tree(tree, Random(3))) == repr(spoil_tree(tree, Random(3)))
    assert tree == {"a": [1, 2.0, "three", {"b": None}], "c": {"d": "e"}}
    assert spoil_bytes(b"some bytes", Random(5)) == spoil_bytes(b"some bytes", Random(5))
    assert one("csv", 0, 3).what == one("csv", 0, 3).what  # what it says names a folder that is new each time


def test_what_must_not_be_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import pickle
    import sys
    import time

    monkeypatch.setattr(sys, "path", list(sys.path))
    plant(tmp_path)
    watch = Watch()
    watch.on = True
    importlib.import_module(PAYLOAD)
    pickle.loads(pickle.dumps(Random))
    watch.on = False
    assert any(said.startswith("exec") and "payload" in said for said in watch.seen)
    assert any(said.startswith("pickle.find_class") for said in watch.seen)
    with pytest.raises(Hung), limit_time(wall_s=0.05):
        time.sleep(5)
