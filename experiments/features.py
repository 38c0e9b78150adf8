"""What a formula is, and features found by themselves: ``python -m experiments.features --help``."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Interrupted, Parser, called, console, door
from experiments.screen import BarScreen
from experiments.settings import data_settings, given_under
from qframe_rl.config import UserError, build, fingerprint
from qframe_rl.feeds.data import DataConfig

if TYPE_CHECKING:
    from rich.console import Console

    from qframe_rl.alpha.select import FormulaTest
    from qframe_rl.evaluate.formula import FormulaFacts
    from qframe_rl.runner.find_features import FeaturesFound

_FIND = ("budget", "train", "seed", "out", "runs", "ledger")
_NEAREST = 10
"""Formulas that are shown besides those that remain."""


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "features",
        "explain: say what a formula is, in words, with its lookback and its unit; draw its last year over the data,\n"
        "and say which known factor it resembles: momentum, reversal, volatility, size.\n"
        "find: try many formulas on the first bars of the data, keep the few that are more than chance, unlike each\n"
        "other and steady through time, and write them as a preset that any learner is trained with. Later bars are\n"
        "not looked at: what is found is to be judged there.\n"
        "The language is in docs/alphas.md; as a feature of a market a formula's name is alpha:TEXT.",
        [
            "explain 'delta(close,5)/std(close,20)'",
            "explain 'rank(corr(close,volume,10))' --data synthetic:correlated,n_instruments=12",
            "explain 'tsz(volume,20)' --symbols BTC/USDT,ETH/USDT --timeframe 1d --picture volume.png",
            "find --symbols BTC/USDT --budget 5m --out found.toml",
            "find --budget 300 --train 0.5",
        ],
    )
    made.add_argument("act", choices=("explain", "find"), help="what to do")
    made.add_argument(
        "text", metavar="TEXT", nargs="?", help="explain: a formula, such as 'corr(close, volume, 10)'; quote it"
    )
    made.add_argument(
        "--picture", type=Path, metavar="FILE.png",
        help="where to draw it (default: runs/features/ID.png, by the formula or the search, and the data)",
    )  # fmt: skip
    _add_finding(made)
    made.add_fields("data", DataConfig, "data", {"since": "from", "until": "to", "seed": "data-seed"})
    return made


def _add_finding(made: Parser) -> None:
    group = made.add_argument_group("find")
    texts = {
        "budget": ("N|MINUTESm", "formulas to try, or minutes to take, a third of them for judging (default: 2m)"),
        "train": ("SHARE", "share of the bars, the first ones, that formulas see (default: 0.6)"),
        "seed": ("VALUE", "root of all randomness (default: 0)"),
    }
    for name, (metavar, text) in texts.items():
        group.add_argument(f"--{name}", metavar=metavar, help=text)
    group.add_argument(
        "--out", type=Path, metavar="FILE.toml",
        help="preset to write, with all that was tried beside it as JSON (default: runs/features/ID.toml)",
    )  # fmt: skip
    group.add_argument("--runs", type=Path, metavar="FOLDER", help="folder of runs (default: runs)")
    made.add_ledger()


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Explain, or find."""
    given = vars(parser().parse_args(argv))
    if given["picture"] is not None and given["picture"].suffix != ".png":
        raise UserError(f"--picture {given['picture']}: a picture is a file that ends in .png.")
    if given["act"] == "find":
        return _find(given)
    if given["text"] is None:
        raise UserError("features explain: which formula? Such as 'corr(close, volume, 10)', in quotes.")
    for name in _FIND:
        if given[name] is not None:
            raise UserError(f"--{name} is for features find.")
    return _explain(given)


def _explain(given: Mapping[str, Any]) -> dict[str, Any] | None:
    from qframe_rl.alpha.operators import COLUMN
    from qframe_rl.alpha.parser import parse
    from qframe_rl.evaluate.formula import explain, formula_figure
    from qframe_rl.evaluate.painted import write_png
    from qframe_rl.feeds.load import load, remarks

    text = given["text"].removeprefix("alpha:")
    if COLUMN not in text:
        parse(text)  # before bars are loaded
    history = load(build(DataConfig, data_settings(given), "options"))
    for line in remarks(history):
        console(to_stderr=True).print(f"data check: {line}", highlight=False, soft_wrap=True)
    facts = explain(text, history)
    name = f"{fingerprint(facts.tree.text, facts.history.fingerprint)}.png"
    picture: Path = given["picture"] or Path("runs/features") / name
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_png(formula_figure(facts), picture)
    said = _said(facts, picture)
    if not given["json"]:
        _tell(facts, said)
        return None
    return said


def _find(given: Mapping[str, Any]) -> dict[str, Any] | None:
    from qframe_rl.evaluate.found_plot import found_figure
    from qframe_rl.evaluate.painted import write_png
    from qframe_rl.runner.find_features import FeatureSearch, find_features, write_found

    if given["text"] is not None:
        raise UserError(f"features find takes no formula, and {given['text']!r} was given; features explain does.")
    runs = given["runs"] or Path("runs")
    own = {name: given[name] for name in ("budget", "train", "seed") if given[name] is not None}
    plan = build(FeatureSearch, {"data": data_settings(given), **own}, "options")
    if given["out"] is not None and given["out"].suffix != ".toml":
        raise UserError(f"--out {given['out']}: a preset is a file that ends in .toml.")
    with BarScreen() as screen:
        made = find_features(plan, screen, given["ledger"], runs)
        preset: Path = given["out"] or runs / "features" / f"{made.identity}.toml"
        picture: Path = given["picture"] or preset.with_suffix(".png")
        typed = plan.data.model_dump(mode="json", include=set(given_under(given, "data")))
        wrote = write_found(made, typed, preset)
        picture.parent.mkdir(parents=True, exist_ok=True)
        write_png(found_figure(made.found, made.history.source), picture)
    places = {"preset": str(preset) if wrote else None, "picture": str(picture)}
    said = made.describe() | places | {"all": str(preset.with_suffix(".json"))}
    if not given["json"]:
        _tell_found(made, said)
    if made.interrupted:
        raise Interrupted(said if given["json"] else None)
    return said if given["json"] else None


def _tell_found(made: FeaturesFound, said: Mapping[str, Any]) -> None:
    out, found = console(to_stderr=False), made.found
    kept = [one for one in found.tests if one.verdict == "found"]
    others = [one for one in found.tests if one.verdict not in ("found", "repeated") and one.p < 1.0][:_NEAREST]
    if made.interrupted:
        out.print(f"Interrupted after {len(found.tests)} formulas: what follows is of these.", style="yellow")
    if kept:
        out.print(_table(kept, f"Found among {found.counts['tried']} formulas on {found.n_dates:,} training dates"))
    else:
        out.print(
            f"Nothing was found: of {found.counts['valid']} valid formulas on {found.n_dates:,} training dates none is "
            "more than chance, unlike the others and steady. No preset is written; take more bars or a larger budget.",
            style="yellow", highlight=False,
        )  # fmt: skip
    if others:
        out.print(_table(others, "The nearest of the others", why=True))
    for one in kept:
        out.print(f"{one.tree.text}: {one.tree.words}.", highlight=False)
    out.print(
        f"The IC is the mean correlation of its ranks with the return over the next {said['ahead']} bars; p is by a "
        f"bootstrap of blocks, q the share of false ones among all with as small a p. {made.ever:,} formulas were ever "
        "tried on these data.", highlight=False,
    )  # fmt: skip
    if made.history.source.environment != "production":
        out.print(f"The data are {made.history.source.environment}.", style="yellow", highlight=False)
    _tell_places(out, said)


def _tell_places(out: Console, said: Mapping[str, Any]) -> None:
    out.print()
    lines = {"preset": said["preset"], "picture": said["picture"], "all tests": said["all"]}
    if said["preset"]:
        lines["train"] = called("train", "--preset", said["preset"], "--agents", "ppo")
    for name, text in lines.items():
        if text:
            out.print(f"{name:11} {text}", highlight=False, soft_wrap=True)


def _table(tests: Sequence[FormulaTest], title: str, *, why: bool = False) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("formula", overflow="fold")
    for heading in ("IC", "t", "p", "q", "cluster", "signs"):
        table.add_column(heading, justify="right")
    if why:
        table.add_column("why not", overflow="fold")
    for one in tests:
        row = [one.tree.text, f"{one.ic:+.4f}", f"{one.t:+.1f}", f"{one.p:.2g}", f"{one.q:.2g}"]
        row += [str(one.cluster or "-"), one.signs, *([one.verdict] if why else [])]
        table.add_row(*row)
    return table


def _said(facts: FormulaFacts, picture: Path) -> dict[str, Any]:
    """Everything as plain data; what is not known is null."""
    tree, history = facts.tree, facts.history
    return {
        "text": tree.text,
        "feature": f"alpha:{tree.text}" if tree.unit == "number" else None,
        "words": tree.words,
        "unit": tree.unit,
        "lookback": tree.lookback,
        "tokens": tree.size,
        "columns": list(tree.columns),
        "compares_instruments": tree.crosses,
        "canonical": facts.canonical,
        "identity": facts.identity,
        "coverage": facts.coverage,
        "values": facts.quantiles(),
        "correlations": {k: None if math.isnan(v) else v for k, v in facts.correlations.items()},
        "correlated": "among instruments" if facts.among else "through time",
        "data": history.describe(),
        "picture": str(picture),
    }


def _tell(facts: FormulaFacts, said: dict[str, Any]) -> None:
    from qframe_rl.evaluate.formula import FACTORS, span

    out, tree, history = console(to_stderr=False), facts.tree, facts.history
    rows = [
        ("formula", tree.text),
        ("in words", tree.words),
        ("lookback", f"{tree.lookback:,} bars ({span(tree.lookback, history.bar_ns)} of these)"),
        ("unit", tree.unit if said["feature"] else f"{tree.unit}; a feature must be a number"),
        ("same as", facts.canonical if facts.canonical != tree.text else "no shorter form"),
        ("orders by", facts.identity),
        ("last year", f"{said['data']['first'][:16]} to {said['data']['last'][:16]}, {', '.join(history.symbols[:8])}"
         f"{' ...' if len(history.symbols) > 8 else ''} from {history.source.origin}"),
        ("has values", f"in {facts.coverage:.1%} of traded bars"),
        ("values", ", ".join(f"{name} {value:.4g}" for name, value in said["values"].items())
         or "none: it has no value anywhere in the last year"),
    ]  # fmt: skip
    for name, value in facts.correlations.items():
        known = "too few bars" if math.isnan(value) else f"{value:+.2f}"
        rows.append((name, f"{known}   rank correlation {said['correlated']} with {FACTORS[name]}"))
    for name, value in [*rows, ("picture", said["picture"])]:
        out.print(f"{name:11} {value}", highlight=False, soft_wrap=True)
    if history.source.environment != "production":
        out.print(f"The data are {history.source.environment}.", style="yellow", highlight=False)


if __name__ == "__main__":
    sys.exit(door(main))
