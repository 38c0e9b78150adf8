"""gplearn at work on formulas, in an environment of its own: it knows nothing of this library.

``python peer_formulas.py NAME DATA.npz SIZE`` speaks as ``peer_worker.py`` does. gplearn has no operators over windows:
those are functions of pandas on the panel, which is what its users write. NAME ``gplearn`` does every formula.
"""

# mypy: ignore-errors
from __future__ import annotations

import json
import sys
import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd

LEAVES = ("open", "high", "low", "close", "volume", "typical", "money", "ret1")
BINARY = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum, "min": np.minimum}
UNARY = {"abs": np.abs, "sign": np.sign, "neg": np.negative, "log": np.log}


def _slope(v):
    far = np.arange(len(v)) - (len(v) - 1) / 2
    return (v * far).sum() / (far * far).sum()


def _ema(v):
    weights = (1 - 2 / (1 + len(v))) ** np.arange(len(v))[::-1]
    return (v * weights).sum() / weights.sum()


ROLLED = {
    "mean": lambda r: r.mean(),
    "sum": lambda r: r.sum(),
    "std": lambda r: r.std(),
    "var": lambda r: r.var(),
    "tmax": lambda r: r.max(),
    "tmin": lambda r: r.min(),
    "med": lambda r: r.median(),
    "skew": lambda r: r.skew(),
    "tsrank": lambda r: r.rank(pct=True),
    "mad": lambda r: r.apply(lambda v: np.abs(v - v.mean()).mean(), raw=True),
    "argmax": lambda r: r.apply(lambda v: v[::-1].argmax(), raw=True),
    "argmin": lambda r: r.apply(lambda v: v[::-1].argmin(), raw=True),
    "slope": lambda r: r.apply(_slope, raw=True),
    "wma": lambda r: r.apply(lambda v: np.average(v, weights=np.arange(1, len(v) + 1)), raw=True),
    "ema": lambda r: r.apply(_ema, raw=True),
}
SHIFTED = {
    "ref": lambda x, w: x.shift(w),
    "delta": lambda x, w: x.diff(w),
    "ret": lambda x, w: x / x.shift(w) - 1,
}


def of_panel(name, w, shape):
    """An operator as a function of flat columns."""

    def table(column):
        return pd.DataFrame(np.broadcast_to(column, shape[0] * shape[1]).reshape(shape))

    def one(x):
        x = table(x)
        if name == "rank":
            return x.rank(axis=1, pct=True).to_numpy().ravel()
        if name == "zscore":
            return x.sub(x.mean(axis=1), axis=0).div(x.std(axis=1, ddof=0), axis=0).to_numpy().ravel()
        if name in SHIFTED:
            return SHIFTED[name](x, w).to_numpy().ravel()
        if name == "tsz":
            return ((x - x.rolling(w).mean()) / x.rolling(w).std()).to_numpy().ravel()
        return ROLLED[name](x.rolling(w)).to_numpy().ravel()

    def two(x, y):
        x, y = table(x), table(y)
        if name == "corr":
            return x.rolling(w).corr(y).to_numpy().ravel()
        found = x.rolling(w).cov(y)
        return (found if name == "cov" else found / y.rolling(w).var()).to_numpy().ravel()

    return two if name in ("corr", "cov", "beta") else one


def program(tokens, shape):
    """A program of gplearn: functions before what they take."""
    from gplearn._program import _Program
    from gplearn.functions import _Function

    stack, window = [], 0
    for token in tokens:
        if token in LEAVES:
            stack.append([LEAVES.index(token)])
        elif token[0] == "w" and token[1:].isdigit():
            window = int(token[1:])
        elif token in BINARY or token in UNARY:
            arity = 2 if token in BINARY else 1
            made = _Function((BINARY | UNARY)[token], token, arity)
            stack[-arity:] = [[made, *(part for one in stack[-arity:] for part in one)]]
        elif token.replace(".", "").replace("-", "").isdigit():
            stack.append([float(token)])
        else:
            arity = 2 if token in ("corr", "cov", "beta") else 1
            made = _Function(of_panel(token, window, shape), token, arity)
            stack[-arity:] = [[made, *(part for one in stack[-arity:] for part in one)]]
    made = [node for node in stack[0] if isinstance(node, _Function)]
    arities = {k: [f for f in made if f.arity == k] for k in (1, 2)}
    return _Program(
        made, arities, (2, 6), "half and half", len(LEAVES), None, None, 0.0, 0.0, np.random.RandomState(0),
        program=stack[0],
    )  # fmt: skip


def ics(values, label, followed):
    """Mean IC and rank IC."""
    ranks = pd.DataFrame(values).replace([np.inf, -np.inf], np.nan).rank(axis=1)
    return [ranks.corrwith(other, axis=1).fillna(0.0).mean() for other in (label, followed)]


def main():
    """Serve until stdin ends."""
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    place = sys.argv[2]
    data = np.load(place)
    bars, label = data["bars"], pd.DataFrame(data["label"])
    shape, followed = bars.shape[:2], label.rank(axis=1)
    o, h, low, c, v = (bars[:, :, k] for k in range(5))
    back = np.vstack([np.full((1, shape[1]), np.nan), c[1:] / c[:-1] - 1])
    columns = np.stack([x.ravel() for x in (o, h, low, c, v, (h + low + c) / 3, c * v, back)], axis=1)
    programs = [program(tokens.split(), shape) for tokens in data["formulas"].tolist()]
    print(json.dumps({"version": version("gplearn")}), flush=True)
    for _ in sys.stdin:
        found = [ics(one.execute(columns).reshape(shape), label, followed) for one in programs]
        print(json.dumps({"units": len(programs), "found": found}), flush=True)


if __name__ == "__main__":
    main()
