"""Rebuild the checkpoints that ship: ``python -m experiments.checkpoints --help``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.cli import Parser, door
from experiments.screen import BarScreen
from experiments.settings import locate_data, settings
from qframe_rl.config import UserError, build, nearest
from qframe_rl.feeds.data import DataConfig
from qframe_rl.runner.experiment import Experiment

if TYPE_CHECKING:
    from qframe_rl.checkpoint import Checkpoint
    from qframe_rl.evaluate.table import ScoreRow
    from qframe_rl.runner.train import Outcome


class Shipped(NamedTuple):
    """One checkpoint that ships: weights and a card, and no market data."""

    name: str
    """Its folder in ``checkpoints``."""
    agent: str
    """Name in the catalogue."""
    preset: str
    """Settings that it is trained with: a file in ``experiments/presets``, or a path to one."""
    replay: dict[str, Any]
    """Fields of a `DataConfig`: synthetic bars of the same shape, which it trades where no others are given."""
    mined: bool = False
    """Whether it is a pool of formulas, of which the card says more."""


_HOURS = {"timeframe": "1h", "bars": 43_860}
"""Hours from 2020 to 2025, so that they hold the same test period."""

_N_NULL = 20
"""Searches on shuffled returns, for each way of shuffling, beside a mined pool."""

SHIPPED = (
    Shipped(
        "alpha",
        "alpha",
        "alpha",
        {"data": "synthetic:correlated,n_instruments=43,correlation=0.6", "timeframe": "1d", "bars": 1900},
        mined=True,
    ),
    Shipped(
        "dmn",
        "dmn",
        "dmn",
        {"data": "synthetic:correlated,n_instruments=43,correlation=0.6", "timeframe": "1d", "bars": 1900},
    ),
    Shipped(
        "adaptive_mean_reversion",
        "adaptive_mean_reversion",
        "adaptive_mean_reversion",
        _HOURS | {"data": "synthetic:gbm"},
    ),
    Shipped("funding_arbitrage", "funding_arbitrage", "funding_arbitrage", _HOURS | {"data": "synthetic:carry"}),
    Shipped("meta", "meta", "meta", _HOURS | {"data": "synthetic:gbm"}),
    Shipped("ppo", "ppo", "ppo", _HOURS | {"data": "synthetic:gbm"}),
)


def parser() -> Parser:
    """The options of this door."""
    known = ", ".join(shipped.name for shipped in SHIPPED)
    made = Parser(
        "checkpoints",
        "Train the agents that ship, each by its preset on the bars of QFRAME_DATA, and write checkpoint and model\n"
        "card to their folders. The agent is kept whatever came of it; its card says what that was.",
        ["", "dmn"],
        f"checkpoints: {known}\n",
    )
    made.add_argument("names", nargs="*", metavar="NAME", help="checkpoints to rebuild (default: all)")
    made.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs (default: runs)")
    made.add_argument(
        "--checkpoints", type=Path, default=Path("checkpoints"), help="where to put them (default: checkpoints)"
    )
    made.add_ledger()
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Rebuild."""
    given = vars(parser().parse_args(argv))
    by_name = {shipped.name: shipped for shipped in SHIPPED}
    for name in given["names"]:
        if name not in by_name:
            raise UserError(f"no checkpoint {name!r} ships{nearest(name, by_name)}")
    written = []
    with BarScreen() as screen:
        for name in given["names"] or by_name:
            written.append(rebuild(by_name[name], given["runs"], given["checkpoints"], screen, given["ledger"]))
            screen.say(f"wrote {written[-1]}")
    return {"checkpoints": [str(place) for place in written]} if given["json"] else None


def rebuild(shipped: Shipped, runs: Path, checkpoints: Path, screen: BarScreen, ledger: Path | None = None) -> Path:
    """Train one, and write its checkpoint and card; trainings of an interrupted run are taken over.

    Returns
    -------
    Path
        The checkpoint's folder.

    Raises
    ------
    UserError
        If there are no market data, or for a mistake in the preset.
    """
    from qframe_rl.checkpoint import load_checkpoint
    from qframe_rl.runner.train import train

    tree = settings(Experiment, shipped.preset, [], {"promote_anyway": shipped.agent})
    locate_data(tree)
    experiment = build(Experiment, tree, f"preset {shipped.preset}")
    outcome = train(experiment, runs, runs / "chosen", screen, resume=True, ledger=ledger)
    checkpoint = movable(load_checkpoint(outcome.checkpoint), shipped)
    place = checkpoints / shipped.name
    checkpoint.save(place)
    fresh = place / ".CARD.md.part"
    pool = _pool(checkpoint, experiment, screen) if shipped.mined else []
    fresh.write_text(card(shipped, checkpoint, outcome, experiment, pool), encoding="utf-8")
    fresh.replace(place / "CARD.md")
    return place


def movable(checkpoint: Checkpoint, shipped: Shipped) -> Checkpoint:
    """The checkpoint without the maker's folders and single bars; where no data are given it trades synthetic ones."""
    provenance = dict(checkpoint.provenance)
    provenance["trained"] = {**provenance["load"], "data": "QFRAME_DATA"}
    data = {key: value for key, value in provenance["data"].items() if key != "suspects"}
    provenance["data"] = {**data, "origin": "QFRAME_DATA"}
    provenance["load"] = build(DataConfig, shipped.replay, f"replay of {shipped.name}").model_dump(mode="json")
    return replace(checkpoint, provenance=provenance)


def card(
    shipped: Shipped, checkpoint: Checkpoint, outcome: Outcome, experiment: Experiment, pool: Sequence[str] = ()
) -> str:
    """The model card, in Markdown: what it is, what it was made of, what it is worth; ``pool`` are lines of a pool."""
    from qframe_rl.evaluate.table import AHEAD, cash_line

    of = {part: [row for row in outcome.leaderboard if row["split"] == part] for part in ("validation", "test")}
    first, last = _tested(outcome)
    lines = [
        f"# {shipped.name}",
        "",
        f"Agent `{shipped.agent}` for market `{checkpoint.env['name']}`, made by "
        f"`python -m experiments.checkpoints {shipped.name}`; the same command wrote this card.",
        "",
        "## Made of",
        "",
        *_made_of(shipped, checkpoint, outcome, experiment),
        "",
        "## Worth",
        "",
        f"Validation bars, all folds and trainings; intervals of {experiment.level:.0%}, by block bootstrap:",
        "",
        *_table(of["validation"]),
        "",
        f"Test bars, {first} to {last}, each fold traded by what was chosen before it:",
        "",
        *_table(of["test"]),
        "",
        f"{AHEAD} {cash_line(outcome.records[outcome.judged])}",
        "",
        f"**Verdict.** {verdict(outcome, shipped.agent)}",
        "",
        *pool,
        "## Use",
        "",
        *_use(shipped),
    ]
    return "\n".join(lines) + "\n"


def _pool(checkpoint: Checkpoint, experiment: Experiment, screen: BarScreen) -> list[str]:
    """What the card says of a mined pool."""
    from qframe_rl.alpha.mine import MiningRules
    from qframe_rl.alpha.null import MiningPlan
    from qframe_rl.config import Ref
    from qframe_rl.deploy import make_market
    from qframe_rl.feeds.load import load
    from qframe_rl.runner.alpha_card import PoolFacts, pool_section, weighted
    from qframe_rl.runner.alpha_study import AlphaStudyPlan

    made, history = checkpoint.agent["params"], load(experiment.data)
    texts = checkpoint.state["formulas"].tobytes().decode().splitlines()
    if not texts:
        return ["## The pool", "", "It is empty: no pool earned anything on the tail of training.", ""]
    rules = MiningRules(made["judged_by"], made["weighing"], most_rows=made["lookback_bars"])
    ahead = AlphaStudyPlan(horizon_bars=made["horizon_bars"]).ahead(history.bar_ns)
    market = make_market(Ref(**checkpoint.env), checkpoint.instruments, checkpoint.columns, checkpoint.bar_ns)
    facts = PoolFacts(
        weighted(texts, checkpoint.state["weights"], history.columns),
        MiningPlan(made["search"], made["n_formulas"], checkpoint.seed, rules), ahead,
        market.spec(checkpoint.columns, 0).cost_rate, made["n_largest"],
    )  # fmt: skip
    screen.begin("luck")
    done = iter(range(1, 2 * _N_NULL + 1))
    lines = pool_section(
        facts, history, checkpoint.provenance["periods"], _N_NULL,
        lambda _: screen.advance("luck", next(done), 2 * _N_NULL),
    )  # fmt: skip
    screen.end("luck", f"{2 * _N_NULL} searches on shuffled returns")
    return lines


def _made_of(shipped: Shipped, checkpoint: Checkpoint, outcome: Outcome, experiment: Experiment) -> list[str]:
    data, periods = checkpoint.provenance["data"], checkpoint.provenance["periods"]
    given = ", ".join(f"{name} = {value}" for name, value in experiment.agent.get(shipped.agent, {}).items())
    return [
        f"- bars: {data['exchange']} ({data['environment']}), {_counted(len(data['symbols']), 'instrument')}, "
        f"{data['timeframe']}, {data['first']} to {data['last']}, {data['bars']} rows; fingerprint "
        f"`{data['fingerprint']}`",
        f"- instruments: {', '.join(data['symbols'])}",
        f"- split: {experiment.split.name}; these weights are of the last fold:",
        *(f"  - {part}: {_spans(periods[part])}" for part in ("train", "validation", "test")),
        f"- seeds: {_seeds(checkpoint, experiment)}",
        f"- parameters that differ from the defaults: {given or 'none'}",
        f"- costs: {_costs(checkpoint)}",
        f"- trials on these bars by then, all agents: {outcome.choice.luck.trials}",
    ]


def _seeds(checkpoint: Checkpoint, experiment: Experiment) -> str:
    if not checkpoint.state:
        return "none; nothing is trained, its rule is what its parameters say"
    kept = "; the best on validation bars is kept" if experiment.seeds > 1 else ""
    return (
        f"{_counted(experiment.seeds, 'training')} in each fold, root {experiment.seed}{kept} (seed {checkpoint.seed})"
    )


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _use(shipped: Shipped) -> list[str]:
    return [
        "```",
        f"python -m experiments.paper checkpoints/{shipped.name}",
        f"python -m experiments.evaluate checkpoints/{shipped.name} --data $QFRAME_DATA",
        "```",
        "",
        "The first trades synthetic bars of the same shape, for the repository holds no market data: it shows that the "
        "agent runs, not what it earns. The second scores it on the test bars of the last fold.",
    ]


def verdict(outcome: Outcome, agent: str) -> str:
    """Say in words what the figures allow to say, and no more."""
    rows = {row["agent"]: row for row in outcome.leaderboard if row["split"] == "test"}
    own, held, choice = rows[outcome.judged], rows["buy_and_hold"], outcome.choice
    came = "it passed the test for deployment"
    if choice.forced:
        came = "it failed the test for deployment, and ships as an example of the method, not as advice to trade"
    sure = "does not lie above 0"
    if own["sharpe_low"] > 0.0:
        sure = "lies above 0"
    elif own["sharpe_high"] < 0.0:
        sure = "lies below 0"
    if own["final_equity"] < own["initial_equity"]:
        sure += "; it lost money"
    side = "above" if own["sharpe"] > held["sharpe"] else "not above"
    return (
        f"On the validation bars its DSR is {choice.dsr:.3f} after {choice.luck.trials} trials: {came}. On the test "
        f"bars the Sharpe ratio of `{agent}` is {own['sharpe']:+.2f}, its interval ({own['sharpe_low']:+.2f} to "
        f"{own['sharpe_high']:+.2f}) {sure}, and it is {side} that of buying and holding ({held['sharpe']:+.2f})."
    )


def _table(rows: Sequence[ScoreRow]) -> list[str]:
    heading = [
        "| agent | Sharpe | excess | interval | next window | final equity | drawdown | exposure | filled "
        "| turnover a year | costs | PSR | DSR |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    return heading + [
        f"| {row['agent']} | {row['sharpe']:+.2f} | {row['excess_sharpe']:+.2f} | "
        f"{row['sharpe_low']:+.2f} to {row['sharpe_high']:+.2f} | "
        f"{row['next_low']:+.2f} to {row['next_high']:+.2f} | "
        f"{row['final_equity']:,.0f} | {row['max_drawdown']:.1%} | {row['exposure']:.0%} | {row['filled']:.0%} | "
        f"{row['turnover']:.1f} | {row['costs']:,.0f} | "
        f"{row['psr']:.3f} | {row['dsr']:.3f} |"
        for row in rows
    ]


def _tested(outcome: Outcome) -> tuple[str, str]:
    from qframe_rl.types import iso

    times = outcome.records[outcome.judged].time
    return iso(int(times[0]))[:10], iso(int(times[-1]))[:10]


def _spans(periods: Sequence[Sequence[str]]) -> str:
    return ", ".join(f"{first[:10]} to {last[:10]}" for first, last in periods)


def _costs(checkpoint: Checkpoint) -> str:
    from qframe_rl.config import Ref
    from qframe_rl.deploy import make_market

    market = make_market(Ref(**checkpoint.env), checkpoint.instruments, checkpoint.columns, checkpoint.bar_ns)
    total = market.spec(checkpoint.columns, 0).cost_rate * 1e4
    fees = {i.kind: i.taker_fee * 1e4 for i in sorted(market.instruments, key=lambda i: i.taker_fee)}
    half_spread = total - max(fees.values())
    taker = " and ".join(f"{fee:.3g} bp{f' ({kind})' if len(fees) > 1 else ''}" for kind, fee in fees.items())
    paid = "; the column of costs is net of the funding received" if "perpetual" in fees else ""
    return f"{taker} taker fee and {half_spread:.3g} bp half-spread, and square-root impact{paid}"


if __name__ == "__main__":
    sys.exit(door(main))
