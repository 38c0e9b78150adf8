"""Formulas as most evaluators compute them: windows laid out one beside the other, in PyTorch.

The reference that the engine of `qframe_rl.alpha` is measured against, called ``unfolded``: ``Tensor.unfold`` and a
reduction over its last axis, O(w) a cell, each formula from its leaves on. It is for whole panels: of missing numbers
it knows that they are NaN, no more.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from qframe_rl.alpha.tree import CONSTANT, Formula
from qframe_rl.types import CLOSE, HIGH, LOW, OHLCV, VOLUME, Float

_Tensor = torch.Tensor


class Unfolded:
    """Computes formulas over a panel.

    Parameters
    ----------
    bars
        (T, A, C) channels.
    """

    def __init__(self, bars: Float):
        self.channels = [torch.from_numpy(bars[:, :, c].copy()) for c in range(VOLUME + 1)]

    def value(self, tree: Formula) -> _Tensor:
        """Values (T, A), float64."""
        if not tree.parts:
            return self._leaf(tree.op)
        x, name, w = self.value(tree.parts[0]), tree.op, tree.window
        if name in _UNARY:
            return _UNARY[name](x)
        if name in _SHIFT:
            return _SHIFT[name](x, _padded(x[:-w], w))
        if name in _ROLLING:
            return _padded(_ROLLING[name](x.unfold(0, w, 1)), w - 1)
        other = tree.parts[1]
        y = torch.full_like(x, other.value) if other.op == CONSTANT else self.value(other)
        if name in _PAIR:
            return _padded(_pair(name, x.unfold(0, w, 1), y.unfold(0, w, 1)), w - 1)
        return _BINARY[name](x, y)

    def _leaf(self, op: str) -> _Tensor:
        if op in OHLCV:
            return self.channels[OHLCV.index(op)]
        high, low, close, volume = (self.channels[c] for c in (HIGH, LOW, CLOSE, VOLUME))
        if op == "typical":
            return (high + low + close) / 3.0
        return close * volume if op == "money" else _padded(close[1:] / close[:-1] - 1.0, 1)


def scored(value: _Tensor, label: _Tensor) -> tuple[float, float]:
    """Mean IC and rank IC of a formula with what followed (T, A), zero where a row is flat."""
    value = torch.where(torch.isfinite(value), value, torch.nan)
    both = ~torch.isnan(value) & ~torch.isnan(label)
    mine, theirs = (_rank(torch.where(both, x, torch.nan)) for x in (value, label))
    dates = ~torch.isnan(label).all(dim=1)
    found = [torch.nan_to_num(_correlated(mine, other, both))[dates].mean() for other in (label, theirs)]
    return float(found[0]), float(found[1])


def alike(one: _Tensor, other: _Tensor) -> float:
    """Mean over rows of the correlation of two formulas' ranks, zero where one is flat."""
    both = ~torch.isnan(one) & ~torch.isnan(other)
    found = _correlated(_rank(one), _rank(other), both)
    return float(torch.nan_to_num(found)[both.any(dim=1)].mean())


def _correlated(x: _Tensor, y: _Tensor, both: _Tensor) -> _Tensor:
    n = both.sum(dim=1, keepdim=True)
    x, y = (torch.where(both, v, 0.0) for v in (x, y))
    x, y = (torch.where(both, v - v.sum(dim=1, keepdim=True) / n, 0.0) for v in (x, y))
    return (x * y).sum(dim=1) / ((x * x).sum(dim=1) * (y * y).sum(dim=1)).sqrt()


def _rank(x: _Tensor) -> _Tensor:
    ordered, x = x.sort(dim=1).values.contiguous(), x.contiguous()
    seen = torch.where(torch.isnan(ordered), torch.inf, ordered)
    below = torch.searchsorted(seen, x) + torch.searchsorted(seen, x, right=True)
    n = (~torch.isnan(x)).sum(dim=1, keepdim=True)
    return torch.where(torch.isnan(x), torch.nan, below.to(x.dtype) / 2.0 / n)


def _zscore(x: _Tensor) -> _Tensor:
    seen = ~torch.isnan(x)
    n = seen.sum(dim=1, keepdim=True)
    far = x - x.nansum(dim=1, keepdim=True) / n
    return far / ((far * far).nansum(dim=1, keepdim=True) / n).sqrt()


def _padded(x: _Tensor, n: int) -> _Tensor:
    return torch.cat([torch.full((n, x.shape[1]), torch.nan, dtype=x.dtype), x])


def _centred(windows: _Tensor) -> _Tensor:
    return windows - windows.mean(dim=-1, keepdim=True)


def _weighted(windows: _Tensor, weights: _Tensor) -> _Tensor:
    return (windows * weights).sum(dim=-1) / weights.sum()


def _steps(windows: _Tensor) -> _Tensor:
    return torch.arange(1, windows.shape[-1] + 1, dtype=windows.dtype)


def _median(windows: _Tensor) -> _Tensor:
    w = windows.shape[-1]
    ordered = windows.sort(dim=-1).values
    found = (ordered[..., (w - 1) // 2] + ordered[..., w // 2]) / 2.0
    return torch.where(torch.isnan(ordered[..., -1]), torch.nan, found)


def _newest(windows: _Tensor) -> _Tensor:
    last = windows[..., -1:]
    below = ((windows < last).to(windows.dtype) + 0.5 * (windows == last)).mean(dim=-1)
    return torch.where(torch.isnan(windows).any(dim=-1), torch.nan, below)


def _since(windows: _Tensor, sign: float) -> _Tensor:
    found = (sign * windows).flip(-1).argmax(dim=-1).to(windows.dtype)
    return torch.where(torch.isnan(windows).any(dim=-1), torch.nan, found)


def _skew(windows: _Tensor) -> _Tensor:
    far = _centred(windows)
    return (far**3).mean(dim=-1) / (far**2).mean(dim=-1) ** 1.5


def _slope(windows: _Tensor) -> _Tensor:
    far = _steps(windows) - _steps(windows).mean()
    return (windows * far).sum(dim=-1) / (far * far).sum()


def _ema(windows: _Tensor) -> _Tensor:
    w = windows.shape[-1]
    decay = torch.tensor(1.0 - 2.0 / (1.0 + w), dtype=windows.dtype)
    return _weighted(windows, decay ** _steps(windows).flip(0).sub(1.0))


def _pair(name: str, x: _Tensor, y: _Tensor) -> _Tensor:
    x, y = _centred(x), _centred(y)
    both = (x * y).sum(dim=-1)
    if name == "cov":
        return both / (x.shape[-1] - 1)
    if name == "beta":
        return both / (y * y).sum(dim=-1)
    return both / ((x * x).sum(dim=-1) * (y * y).sum(dim=-1)).sqrt()


_UNARY: dict[str, Callable[[_Tensor], _Tensor]] = {
    "abs": torch.abs,
    "sign": torch.sign,
    "neg": torch.neg,
    "log": lambda x: torch.where(x > 0.0, x, torch.nan).log(),
    "rank": _rank,
    "zscore": _zscore,
}
_BINARY: dict[str, Callable[[_Tensor, _Tensor], _Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": lambda x, y: torch.where(y == 0.0, torch.nan, x / y),
    "max": torch.maximum,
    "min": torch.minimum,
}
_SHIFT: dict[str, Callable[[_Tensor, _Tensor], _Tensor]] = {
    "ref": lambda x, before: before,
    "delta": lambda x, before: x - before,
    "ret": lambda x, before: x / before - 1.0,
}
_ROLLING: dict[str, Callable[[_Tensor], _Tensor]] = {
    "mean": lambda v: v.mean(dim=-1),
    "sum": lambda v: v.sum(dim=-1),
    "std": lambda v: v.std(dim=-1),
    "var": lambda v: v.var(dim=-1),
    "tmax": lambda v: v.max(dim=-1).values,
    "tmin": lambda v: v.min(dim=-1).values,
    "argmax": lambda v: _since(v, 1.0),
    "argmin": lambda v: _since(v, -1.0),
    "med": _median,
    "mad": lambda v: _centred(v).abs().mean(dim=-1),
    "tsrank": _newest,
    "tsz": lambda v: (v[..., -1] - v.mean(dim=-1)) / v.std(dim=-1),
    "skew": _skew,
    "slope": _slope,
    "wma": lambda v: _weighted(v, _steps(v)),
    "ema": _ema,
}
_PAIR = ("cov", "beta", "corr")
