"""Splits in time: published vectors, and no way for a test bar to reach the training."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qframe_rl.config import Ref, UserError
from qframe_rl.evaluate.splits import SPLITS, Cpcv, Fold, Holdout, PurgedKFold, WalkForward, split, tail
from qframe_rl.types import HOUR, Segment, Segments

from .made import empty_history


def rows(segments: Segments) -> np.ndarray:
    return np.concatenate([np.arange(s.start, s.stop) for s in segments]) if segments else np.array([], dtype=int)


def folds(ref: Ref, n_bars: int) -> list[Fold]:
    return list(split(ref).split(empty_history(n_bars)))


def test_holdout_shares_and_gap() -> None:
    (fold,) = folds(Ref(name="holdout"), 1000)
    assert fold == Fold((Segment(0, 576),), (Segment(600, 776),), (Segment(800, 1000),))


def test_holdout_embargo_drops_the_head_of_later_parts() -> None:
    (fold,) = folds(Ref(name="holdout", params={"gap": 10, "embargo": 5}), 1000)
    assert fold == Fold((Segment(0, 590),), (Segment(605, 790),), (Segment(805, 1000),))


def test_holdout_dates_are_exact() -> None:
    history = empty_history(24 * 100)
    chosen = Holdout(validation_from="2020-02-01", test_from="2020-03-01", test_to="2020-03-11")
    (fold,) = chosen.split(history)
    assert fold.train == (Segment(0, 31 * 24 - 24),)
    assert fold.validation == (Segment(31 * 24, 60 * 24 - 24),)
    assert fold.test == (Segment(60 * 24, 70 * 24),)
    opens = history.time[fold.test[0].start] - HOUR
    assert np.datetime64(int(opens), "ns") == np.datetime64("2020-03-01")


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("holdout", {"train": 0.9}, "add up to 1"),
        ("holdout", {"validation_from": "2020-02-01"}, "together"),
        ("holdout", {"test_to": "2020-02-01"}, "together"),
        ("holdout", {"validation_from": "2020-03-01", "test_from": "2020-02-01"}, "follow each other"),
        ("holdout", {"validation_from": "2020-02-01", "test_from": "2020-03-01", "train": 0.5}, "not both"),
        ("holdout", {"validation_from": "yesterday", "test_from": "2020-03-01"}, "ISO 8601"),
        ("holdout", {"gapp": 3}, "did you mean 'gap'"),
        ("holdout", {"gap": -1}, "greater than or equal to 0"),
        ("walk_forward", {"train": 100}, "together"),
        ("walk_forward", {"train": 100, "test": 10, "n_folds": 3}, "not both"),
        ("purged_kfold", {"n_folds": 1}, "greater than or equal to 2"),
        ("cpcv", {"n_groups": 4, "n_test": 4}, "less than n_groups"),
        ("cpcv", {"n_groups": 40, "n_test": 20}, "fewer groups"),
    ],
)
def test_contradictions_are_refused(name: str, params: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        split(Ref(name=name, params=params))


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'walk_forward'"):
        split("walkforward")


@pytest.mark.parametrize("name", SPLITS)
def test_a_short_history_is_one_clear_sentence(name: str) -> None:
    with pytest.raises(UserError, match=r"^made: 30 bars \(2020-01-01 .*\) are too few for .*longer period"):
        folds(Ref(name=name), 30)
    with pytest.raises(UserError, match="made: 0 bars are too few"):
        split(name).split(empty_history(30).rows(0, 0))


def test_walk_forward_published_vector() -> None:
    rolling = {"train": 252, "test": 63, "gap": 5, "validation": 0, "anchored": False}
    got = folds(Ref(name="walk_forward", params=rolling), 600)
    assert got[0] == Fold((Segment(0, 252),), (), (Segment(257, 320),))
    assert got[1] == Fold((Segment(63, 315),), (), (Segment(320, 383),))
    assert len(got) == 5
    anchored = folds(Ref(name="walk_forward", params=rolling | {"anchored": True}), 600)
    assert [fold.test for fold in anchored] == [fold.test for fold in got]
    assert [fold.train[0] for fold in anchored] == [Segment(0, 252 + 63 * k) for k in range(5)]


def test_walk_forward_validation_is_the_end_of_the_training_part() -> None:
    (first, *_) = folds(Ref(name="walk_forward", params={"train": 100, "test": 50, "gap": 4}), 300)
    assert first == Fold((Segment(0, 76),), (Segment(80, 100),), (Segment(104, 154),))
    (first, *_) = folds(
        Ref(name="walk_forward", params={"train": 100, "test": 50, "gap": 4, "validation": 30, "embargo": 2}), 300
    )
    assert first == Fold((Segment(0, 66),), (Segment(72, 100),), (Segment(106, 154),))


@pytest.mark.parametrize("anchored", [True, False])
@pytest.mark.parametrize("n_folds", [1, 3, 8])
def test_walk_forward_folds_tile_the_end(n_folds: int, anchored: bool) -> None:
    got = list(WalkForward(n_folds=n_folds, anchored=anchored).split(empty_history(5000)))
    tests = rows(tuple(fold.test[0] for fold in got))
    assert np.array_equal(tests, np.arange(tests[0], 5000))
    assert len({fold.test[0].n_bars for fold in got}) == 1
    for fold in got:
        assert rows(fold.train)[-1] + 24 < rows(fold.validation)[0]
        assert rows(fold.validation)[-1] + 24 < rows(fold.test)[0]
    lengths = {fold.validation[0].stop - fold.train[0].start for fold in got}
    assert len(lengths) == (n_folds if anchored else 1)


def test_walk_forward_follows_a_planted_change() -> None:
    """The sign of the drift flips half-way: a refitted rule is right again within one training window."""
    rng = np.random.default_rng(0)
    rate = rng.normal(np.where(np.arange(2000) < 1000, 0.5, -0.5), 1.0)
    walk = WalkForward(train=200, test=100, gap=0, validation=0, anchored=False)
    right = [
        np.sign(rate[rows(fold.train)].mean()) == np.sign(rate[rows(fold.test)].mean())
        for fold in walk.split(empty_history(2000))
        if not 900 < fold.test[0].start < 1200
    ]
    assert all(right)


def overlapping(train: np.ndarray, test: np.ndarray, horizon: int) -> bool:
    """Exhaustive: does any label interval [t, t + horizon] of train meet one of test?"""
    apart = np.abs(train[:, None] - test[None, :]) > horizon
    return not apart.all()


def after(train: np.ndarray, test: Segments, horizon: int, embargo: int) -> bool:
    """Does a training bar lie in the embargo behind a test block and its labels?"""
    return any(((train >= s.stop) & (train < s.stop + horizon + embargo)).any() for s in test)


@settings(max_examples=120)
@given(
    n_bars=st.integers(150, 400),
    n_groups=st.integers(2, 6),
    n_test=st.integers(1, 3),
    horizon=st.integers(0, 12),
    embargo=st.integers(0, 9),
    validation=st.sampled_from([0.0, 0.2]),
)
@example(150, 6, 3, 10, 5, 0.0)
def test_no_label_is_shared(
    n_bars: int, n_groups: int, n_test: int, horizon: int, embargo: int, validation: float
) -> None:
    common = {"horizon": horizon, "embargo": embargo, "validation": validation}
    history = empty_history(n_bars)
    kinds = [PurgedKFold(n_folds=n_groups, **common)]
    if n_test < n_groups:
        kinds.append(Cpcv(n_groups=n_groups, n_test=n_test, **common))
    for kind in kinds:
        try:
            got = list(kind.split(history))
        except UserError:
            # Two blocks or so, nearly all of them test, or blocks so short that labels on both sides, the embargo and
            # those of validation come to one: purging may leave nothing, and says so.
            assert n_groups - n_test <= 2 or n_bars // n_groups <= 3 * horizon + embargo + 1
            continue
        for fold in got:
            train, held, test = (rows(part) for part in fold)
            assert not overlapping(train, test, horizon)
            assert not after(train, fold.test, horizon, embargo)
            assert len(np.unique(np.concatenate([train, held, test]))) == len(train) + len(held) + len(test)
            if len(held):
                assert not overlapping(train, held, horizon)
                assert not overlapping(held, test, horizon)
                assert train.max() < held.min()


@settings(max_examples=80)
@given(n_bars=st.integers(500, 900), gap=st.integers(0, 12), embargo=st.integers(0, 6), n_folds=st.integers(1, 5))
def test_time_order_holds(n_bars: int, gap: int, embargo: int, n_folds: int) -> None:
    for kind in (Holdout(gap=gap, embargo=embargo), WalkForward(n_folds=n_folds, gap=gap, embargo=embargo)):
        for fold in kind.split(empty_history(n_bars)):
            train, held, test = (rows(part) for part in fold)
            assert train[-1] + gap + embargo < held[0]
            assert held[-1] + gap + embargo < test[0]
            assert test[-1] < n_bars


def test_purged_kfold_keeps_all_that_is_clean() -> None:
    got = folds(Ref(name="purged_kfold", params={"n_folds": 4, "horizon": 3, "embargo": 2}), 100)
    assert got[1].test == (Segment(25, 50),)
    assert got[1].train == (Segment(0, 22), Segment(55, 100))
    assert got[3].train == (Segment(0, 72),)
    assert np.array_equal(np.sort(np.concatenate([rows(fold.test) for fold in got])), np.arange(100))


def test_purging_removes_a_spurious_score() -> None:
    """Labels of 20 bars overlap: on pure noise a neighbour in time predicts them, unless it was purged."""

    def score(parts: list[tuple[np.ndarray, np.ndarray]], label: np.ndarray) -> float:
        near = [train[np.abs(train[None, :] - test[:, None]).argmin(axis=1)] for train, test in parts]
        return float(np.corrcoef(label[np.concatenate(near)], label[np.concatenate([t for _, t in parts])])[0, 1])

    plain, purged = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        label = np.convolve(rng.normal(size=2019), np.ones(20), "valid")
        parts = np.array_split(rng.permutation(2000), 20)
        plain.append(score([(np.setdiff1d(np.arange(2000), test), test) for test in parts], label))
        clean = PurgedKFold(n_folds=20, horizon=20, embargo=0).split(empty_history(2000))
        purged.append(score([(rows(fold.train), rows(fold.test)) for fold in clean], label))
    assert np.mean(plain) > 0.8
    assert abs(np.mean(purged)) < 0.1


def test_exact_arrays_of_every_split() -> None:
    """A few bars, counted by hand."""
    walk = {"train": 6, "test": 3, "gap": 1, "validation": 2}
    anchored = folds(Ref(name="walk_forward", params=walk), 14)
    assert anchored == [
        Fold((Segment(0, 3),), (Segment(4, 6),), (Segment(7, 10),)),
        Fold((Segment(0, 6),), (Segment(7, 9),), (Segment(10, 13),)),
    ]
    rolling = folds(Ref(name="walk_forward", params=walk | {"anchored": False}), 14)
    assert rolling == [anchored[0], Fold((Segment(3, 6),), (Segment(7, 9),), (Segment(10, 13),))]
    purged = folds(Ref(name="purged_kfold", params={"n_folds": 4, "horizon": 1, "embargo": 1}), 20)
    assert [fold.train for fold in purged] == [
        (Segment(7, 20),),
        (Segment(0, 4), Segment(12, 20)),
        (Segment(0, 9), Segment(17, 20)),
        (Segment(0, 14),),
    ]
    assert [fold.test for fold in purged] == [(Segment(5 * g, 5 * g + 5),) for g in range(4)]
    cross = folds(Ref(name="cpcv", params={"n_groups": 3, "n_test": 2, "horizon": 1, "embargo": 0}), 12)
    assert cross == [
        Fold((Segment(9, 12),), (), (Segment(0, 4), Segment(4, 8))),
        Fold((Segment(5, 7),), (), (Segment(0, 4), Segment(8, 12))),
        Fold((Segment(0, 3),), (), (Segment(4, 8), Segment(8, 12))),
    ]
    assert Cpcv(n_groups=3, n_test=2).paths().tolist() == [[0, 0, 1], [1, 2, 2]]


@pytest.mark.parametrize(("n", "k", "splits", "paths"), [(6, 2, 15, 5), (10, 2, 45, 9), (10, 8, 45, 36)])
def test_cpcv_counts(n: int, k: int, splits: int, paths: int) -> None:
    cpcv = Cpcv(n_groups=n, n_test=k, horizon=1, embargo=1)
    assert (cpcv.n_splits, cpcv.n_paths) == (splits, paths)
    assert len(list(cpcv.split(empty_history(600)))) == splits
    assert cpcv.paths().shape == (paths, n)


def test_cpcv_published_vector() -> None:
    got = folds(Ref(name="cpcv", params={"horizon": 5, "embargo": 3}), 600)
    assert len(got) == 15
    assert len(rows(got[0].train)) == 392
    assert got[0].test == (Segment(0, 100), Segment(100, 200))


@pytest.mark.parametrize(("n", "k"), [(6, 2), (5, 3), (4, 1)])
def test_cpcv_paths_use_every_piece_once(n: int, k: int) -> None:
    cpcv = Cpcv(n_groups=n, n_test=k, horizon=0, embargo=0)
    got = list(cpcv.split(empty_history(60)))
    pieces = [[s * 1000.0 + np.arange(part.start, part.stop) for part in fold.test] for s, fold in enumerate(got)]
    paths = cpcv.reconstruct(pieces)
    assert len(paths) == cpcv.n_paths
    assert all(np.array_equal(path % 1000, np.arange(60)) for path in paths)
    used = np.concatenate(paths)
    assert len(np.unique(used)) == len(used) == sum(len(piece) for pair in pieces for piece in pair)
    tested = list(combinations(range(n), k))
    assert all(g in tested[s] for path in cpcv.paths() for g, s in enumerate(path))
    with pytest.raises(ValueError, match="pieces"):
        cpcv.reconstruct(pieces[1:])


@given(
    name=st.sampled_from(["holdout", "walk_forward", "purged_kfold", "cpcv"]),
    n_bars=st.integers(1000, 3000),
    gap=st.integers(0, 30),
    embargo=st.integers(0, 10),
)
def test_the_tail_of_a_training_part_is_as_far_from_its_head_as_what_judges(
    name: str, n_bars: int, gap: int, embargo: int
) -> None:
    far = {"horizon" if name in ("purged_kfold", "cpcv") else "gap": gap, "embargo": embargo}
    for fold in split(Ref(name=name, params=far)).split(empty_history(n_bars)):
        learned, stopped = (rows(part) for part in tail(fold))
        assert {*learned.tolist(), *stopped.tolist()} <= {*rows(fold.train).tolist()}
        assert stopped.tolist() == rows(fold.train)[-len(stopped) :].tolist()
        assert len(stopped) == len(rows(fold.train)) // 5
        assert stopped[0] - learned[-1] > gap
        judged = {*rows(fold.validation).tolist(), *rows(fold.test).tolist()}
        assert not judged & {*learned.tolist(), *stopped.tolist()}


def test_a_training_part_without_room_for_a_tail_is_refused() -> None:
    with pytest.raises(UserError, match="a training part of 4 bars is too short"):
        tail(Fold((Segment(0, 4),), (), (Segment(4, 8),)))
    with pytest.raises(UserError, match="24 before them are left out"):
        tail(Fold((Segment(0, 25),), (), (Segment(49, 80),)))
