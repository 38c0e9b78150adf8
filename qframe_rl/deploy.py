"""From names to things that trade: markets from references, agents from checkpoints, and the bars that fit them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qframe_rl import catalog
from qframe_rl.agent import Agent
from qframe_rl.checkpoint import Checkpoint
from qframe_rl.config import Base, Ref, UserError, build
from qframe_rl.execution import Worked, plan_of
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.tick_load import MADE
from qframe_rl.gym.market import Market
from qframe_rl.interface import SlotScheme, interface_from
from qframe_rl.kernel.rules import IMPACT, TRANSFER
from qframe_rl.risk.engine import RiskEngine
from qframe_rl.risk.limits import Limits
from qframe_rl.servers import check_named
from qframe_rl.types import History, Instrument, Segment, iso, parse_time, timeframe_ns
from qframe_rl.venues.guarded import GuardedVenue
from qframe_rl.venues.simulated import SimulatedVenue
from qframe_rl.venues.venue import Venue


def make_market(
    env: Ref, instruments: tuple[Instrument, ...], columns: tuple[str, ...], bar_ns: int, limits: Limits | None = None
) -> Market:
    """Make the market that a reference names, its scaler unfitted, with the limits that bind in it.

    Parameters
    ----------
    env
        Name and parameters; ``auto`` is what `qframe_rl.catalog.market_for` says: for perpetuals where every instrument
        is one, else for coins.
    instruments
        The A instruments.
    columns
        Names of the feed's channels after volume.
    bar_ns
        Length of a bar, ns.
    limits
        Of the risk engine; None = the market's own.

    Raises
    ------
    UserError
        For an unknown market or parameter, or instruments that it cannot trade.
    """
    name = env.name
    if name == "auto":
        name = catalog.market_for("perpetual" if all(i.kind == "perpetual" for i in instruments) else "spot")
    module = catalog.load_bar_market(name)
    market: Market = module.make(build(module.Config, env.params, f"env {name}"), instruments, columns, bar_ns)
    return market if limits is None else replace(market, limits=limits)


def make_agent(
    name: str, config: Base, market: Market, columns: tuple[str, ...], seed: int, theory: Mapping[str, float] | None
) -> Agent:
    """Make a strategy for a market.

    Parameters
    ----------
    name
        In the catalogue, or a dotted path.
    config
        The agent's own ``Config``.
    market
        What it trades in.
    columns
        Names of the feed's channels after volume.
    seed
        Root of all its randomness.
    theory
        Constants of the known optimum, if the data have one.

    Raises
    ------
    UserError
        If it quotes in order books.
    """
    if name in catalog.quoters():
        raise UserError(
            f"{name} quotes in order books and trades no bars; take it with --env {' or '.join(catalog.order_books())}."
        )
    agent: Agent = catalog.load("agents", name).make(config, market.spec(columns, seed, theory))
    return agent


def window_of(market: Market, *agents: Agent) -> int:
    """Bars to show at each decision so that every agent and the market's interface see enough."""
    return max([market.interface.window, *(agent.window for agent in agents)])


def venue_of(market: Market) -> Venue:
    """A simulated venue with one account of the market, behind its limits where it has any."""
    venue = SimulatedVenue(market.rules, market.cash)
    return GuardedVenue(venue, RiskEngine(market.limits, market.instruments)) if market.limits.binding else venue


def config_of(checkpoint: Checkpoint) -> Base:
    """Configuration of a checkpoint's agent.

    Raises
    ------
    UserError
        If the agent of that name has no such parameters, or if it, its market, or what they are made of lies outside
        the catalogue.
    """
    checkpoint.check_names()
    name = checkpoint.agent["name"]
    model: type[Base] = catalog.load("agents", name).Config
    try:
        return build(model, checkpoint.agent["params"], f"checkpoint of agent {name}")
    except UserError as error:
        raise UserError(
            f"{str(error).rstrip('.')}: it was made by another version of {name}; train it again with "
            f"experiments.train --agents {name}, or take one that ships with this version."
        ) from None


def deployed(
    checkpoint: Checkpoint,
    instruments: tuple[Instrument, ...],
    columns: tuple[str, ...],
    bar_ns: int,
    origin: str,
    theory: Mapping[str, float] | None = None,
    execute: str | None = None,
) -> tuple[Market, Agent]:
    """Make the market and the trained agent of a checkpoint, for a feed that fits it.

    Parameters
    ----------
    checkpoint
        As it was loaded.
    instruments, columns, bar_ns
        What the feed delivers.
    origin
        Name of the data, for messages.
    theory
        Constants of the known optimum, if the data have one; not asked for where orders are worked.
    execute
        How its orders are worked on the feed's bars, which are then finer than its own; None = each on its next bar.

    Returns
    -------
    tuple
        The market, its scaler as it was fitted in training, and the agent with its weights.

    Raises
    ------
    UserError
        If the data do not fit, if a name is not in the catalogue, or if the weights do not fit the agent.
    """
    config = config_of(checkpoint)
    own_ns = bar_ns if execute is None else checkpoint.bar_ns
    checkpoint.check_fits(instruments, columns, own_ns, origin)
    market = make_market(Ref(**checkpoint.env), instruments, columns, own_ns)
    market = replace(market, interface=interface_from(checkpoint.interface))
    name = checkpoint.agent["name"]
    agent = make_agent(name, config, market, columns, checkpoint.seed, theory if execute is None else None)
    if hasattr(agent, "restore"):
        try:
            agent.restore(checkpoint.state)
        except (KeyError, ValueError) as error:
            raise UserError(f"the checkpoint's weights do not fit agent {name!r}: {error}.") from None
    if execute is None:
        return market, agent
    finer = make_market(Ref(**checkpoint.env), instruments, columns, bar_ns)
    return worked(market, agent, finer, execute)


def worked(market: Market, agent: Agent, finer: Market, execute: str) -> tuple[Market, Worked]:
    """Have the orders of an agent worked on finer bars.

    The impact coefficient of a market is volatility over one bar, by which an order moves the price for the square root
    of its share of the bar's volume; over a bar of a sixtieth both are less by the square root of sixty. So a whole
    order costs the same on either bar. What bars are counted of is counted in time.

    Parameters
    ----------
    market, agent
        As they are on the agent's own bars.
    finer
        The same market on the finer ones.
    execute
        How; see `qframe_rl.execution.plan_of`.

    Returns
    -------
    tuple
        The market of the finer bars, with the interface of the agent's own ones, and the agent.

    Raises
    ------
    UserError
        For a text that says no way to, bars of which the agent's are not several whole ones, or several orders at once.
    """
    if isinstance(market.interface.scheme, SlotScheme):
        raise UserError(
            f"the action scheme {market.interface.scheme_name!r} has several orders of an instrument at once, which "
            "rest by themselves: --execute works strategies with one; leave it out."
        )
    plan, window = plan_of(execute), window_of(market, agent)
    agent = Worked(agent, plan, market.instruments, market.bar_ns, finer.bar_ns, window)
    table, ratio = finer.rules.table.copy(), market.bar_ns / finer.bar_ns
    table[:, IMPACT] /= math.sqrt(ratio)
    table[:, TRANSFER] *= ratio
    rules = replace(finer.rules, table=table)
    return replace(finer, rules=rules, interface=market.interface, limits=market.limits), agent


def data_for(checkpoint: Checkpoint, given: Mapping[str, Any], *, live: bool = False) -> DataConfig:
    """Data settings of a checkpoint, with what the user asks for in their place.

    Where a place is named, the instruments, bars and columns that are looked up there are those that it was trained on;
    a synthetic market has its own.

    Parameters
    ----------
    checkpoint
        As it was loaded.
    given
        Fields of a `DataConfig` that the user asks for.
    live
        Whether bars come from the exchange as they close: then nothing else is asked for them.

    Raises
    ------
    UserError
        For a value that does not fit, or a database that the checkpoint alone names.
    """
    own, place = checkpoint.provenance["load"], str(given.get("data", ""))
    if place.startswith("synthetic:"):
        others = ("symbols", "columns", "since", "until", *(["exchange"] if place == MADE else []))
        own = {key: value for key, value in own.items() if key not in others}
    elif place:
        own = known_data(checkpoint)
        if Path(place).is_file() and len(checkpoint.instruments) > 1:
            own = {**own, "symbols": ()}
        if place.startswith("ccxt:") and own["since"] is None:
            own = {**own, "since": checkpoint.provenance["data"]["first"]}
    detail = checkpoint.env.get("params", {}).get("detail")
    if given.get("detail", detail) != detail:
        raise UserError(
            f"--detail {given['detail']}: the checkpoint was made with {detail or 'none'}, and its orders are resolved "
            "as they were in training; leave the option out, or train with it."
        )
    if not live and "data" not in given:
        check_named(str(own.get("data", "")), f"the checkpoint of {checkpoint.agent['name']!r}", "--data")
    config = build(DataConfig, {**own, **given, "detail": detail}, "options")
    if detail is not None and timeframe_ns(config.timeframe) <= timeframe_ns(detail):
        raise UserError(
            f"--timeframe {config.timeframe}: the checkpoint's orders are resolved on bars of {detail} (env.detail), "
            "which must be finer; take longer bars."
        )
    return config


def asked_over(
    checkpoint: Checkpoint, given: Mapping[str, Any], since: str | None, until: str | None
) -> dict[str, Any]:
    """What the user asks for of data, with the bars of a period that reaches beyond those of the checkpoint.

    Parameters
    ----------
    checkpoint, given
        As in `data_for`, and what is raised.
    since, until
        The period, as the user wrote the times; None = not said.
    """
    own, found = data_for(checkpoint, given), dict(given)
    if since is not None and own.since is not None and parse_time(since) < parse_time(own.since):
        # All bars before it, which warm a strategy up; of an exchange, from the period on.
        found["since"] = since if own.data.startswith("ccxt:") else None
    if until is not None and own.until is not None and parse_time(until) > parse_time(own.until):
        found["until"] = until
    return found


def known_data(checkpoint: Checkpoint) -> dict[str, Any]:
    """Data settings that a checkpoint was trained with, its instruments among them.

    One that ships is loaded with synthetic bars, and remembers what it was trained with beside.
    """
    found = checkpoint.provenance.get("trained", checkpoint.provenance["load"])
    return {**found, "symbols": tuple(found["symbols"]) or tuple(i.symbol for i in checkpoint.instruments)}


def limits_for(checkpoint: Checkpoint, given: Mapping[str, Any], bar_ns: int | None = None) -> Limits:
    """Limits of the risk engine that a checkpoint was scored with, with what the user asks for in their place.

    Parameters
    ----------
    checkpoint
        As it was loaded; its bars are those that protections are counted in.
    given
        Limits that the user asks for.
    bar_ns
        Length of the bars that they are to bind on, where its orders are worked on finer ones; None = its own.

    Raises
    ------
    UserError
        For a value that does not fit.
    """
    # Checkpoints written before there were limits in backtests do not name any.
    limits = build(Limits, {**checkpoint.provenance.get("risk", {}), **given}, "options")
    return limits if bar_ns in (None, checkpoint.bar_ns) else limits.on_finer(checkpoint.bar_ns // bar_ns)


def period_of(
    checkpoint: Checkpoint, history: History, given: Mapping[str, Any], since: str | None, until: str | None
) -> Segment:
    """Rows to score on: those asked for; else the checkpoint's last test period; of other bars than its own, all.

    Parameters
    ----------
    checkpoint
        What is scored.
    history
        The bars.
    given
        What the user asked for of data, see `own_data`.
    since, until
        Bars that open at or after ``since`` and close at or before ``until``, as the user wrote the times; None = not
        said.

    Raises
    ------
    UserError
        If there is no bar in it.
    """
    if since is None and until is None:
        if not own_data(given):
            return Segment(0, len(history))
        tested = checkpoint.provenance["periods"].get("test")
        if not tested:
            raise UserError("the checkpoint does not say on which bars it was tested: say which with --from and --to.")
        since, until = tested[-1]
    bounds = [None if text is None else parse_time(text) for text in (since, until)]
    segment = history.between(bounds[0], bounds[1])
    if segment.n_bars == 0:
        raise UserError(
            f"{history.source.origin}: there is no bar from {since or 'the start'} to {until or 'the end'}; it has "
            f"{iso(int(history.time[0]) - history.bar_ns)} to {iso(int(history.time[-1]))}: say which with --from and "
            "--to."
        )
    return segment


def own_data(given: Mapping[str, Any]) -> bool:
    """Whether no other bars are asked for than a checkpoint's own: at most where they lie and what is done to them."""
    place = Path(str(given.get("data", "."))).expanduser()
    return given.keys() <= {"data", "funding", "quarantine", "relist", "risk_free"} and place.is_dir()
