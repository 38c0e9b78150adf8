import { type ReactNode, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { get } from "../api";
import { Acts, Outcomes, held } from "../acts";
import { Chart, type Line, type Sign } from "../charts";
import { amount, figure, moment, money, ms, ns, percent, price, share, signed, timeframe, whole } from "../format";
import { Against } from "../against";
import { Inspector } from "../inspector";
import { Report } from "../reports";
import { Instruments, Model, Shadows, locks } from "../standing";
import { useGet, useKept, useNow, useValue } from "../store";
import { colour, shade } from "../theme";
import type { Alert, Bars, Chain, Command, EquityPoint, Fill, Session, StoredEvent } from "../types";
import { Empty, Fault, Panel, Stat, Table, Tabs, Time, tone } from "../ui";
import { AlertTable, SessionState, Written, drawdown, today } from "./overview";

const MOVES = ["settled", "state", "command", "process", "started", "decision"] as const;
const SETTLED = ["settled"] as const;
const POINTS = 1000;
const TABS = ["Commands", "Instruments", "Shadows", "Fills", "Orders", "Alerts", "Events", "Backtest", "Hash check"] as const;

/** A session; with `at` the bar that closed then is chosen, seconds since 1970. */
export function SessionPage({ id, at }: { id: string; at: number | null }): ReactNode {
  useNow();
  const shown = useGet<Session>(`/sessions/${id}`, { session: id, kinds: MOVES, least: 250 });
  const commands = useGet<Command[]>(`/sessions/${id}/commands`, { session: id, kinds: ["command", "state"], every: 5_000 });
  const [tab, setTab] = useState<string>("Commands");
  const [chosen, setChosen] = useState<number | null>(at);
  const session = shown.data;
  if (session === null) {
    return (
      <>
        <h1>Session</h1>
        {shown.problem ? <Fault problem={shown.problem} /> : <Empty>asking…</Empty>}
      </>
    );
  }
  const broken = session.state === "broken";
  return (
    <>
      <div className="head">
        <h1>{session.name}</h1>
        <SessionState session={session} />
        <span className="faint">
          {session.agent ?? "–"} · {session.orders ?? "–"} · {session.environment ?? "–"} · {timeframe(session.bar_ns)} bars
        </span>
        <span className="room" />
        <a className="button" href={`#/compare?of=session:${id}`}>
          Compare
        </a>
        <Report path={`/sessions/${id}/report`} file={`${id}.html`}>
          Report
        </Report>
        <Report path={`/sessions/${id}/report.pdf`} file={`${id}.pdf`}>
          PDF
        </Report>
        <Acts session={session} done={commands.again} />
      </div>
      {session.ill && <Fault problem={new Error(session.ill)} />}
      <Panel title="Account" of={shown}>
        <dl className="stats">
          <Stat name="Equity" value={money(session.equity)} under={<>bar <Time ns={session.time_ns} /> UTC</>} />
          <Stat
            name="Today"
            value={percent(today(session))}
            tone={tone(today(session))}
            under={session.day_start && session.equity !== null ? signed(session.equity - session.day_start) : "since 00:00 UTC"}
          />
          <Stat name="Drawdown" value={percent(drawdown(session))} under={`peak ${money(session.peak)}`} />
          <Stat name="Holds" value={<span className="holds">{held(session)}</span>} under="base units" />
          <Stat
            name="Drift"
            value={session.drift_bps === null ? "–" : `${signed(session.drift_bps, 1)} bp`}
            under={session.drift_bps === null ? "no fill by both rules" : "real books over the bar's rule"}
          />
          {session.promise != null && (
            <Stat
              name="Forecast"
              value={session.promise.answer}
              tone={session.promise.answer === "below" ? "down" : undefined}
              under={`Sharpe ${session.promise.sharpe === null ? "not known yet" : signed(session.promise.sharpe)}, forecast ${signed(session.promise.low, 1)} to ${signed(session.promise.high, 1)}`}
            />
          )}
          <Model session={session} />
          {locks(session) !== "" && <Stat name="Locks" value={locks(session)} tone="warn" under="see Instruments" />}
          <Stat name="Bars" value={whole(session.bars)} under="settled" />
          <Stat name="Written" value={<Written session={session} />} under={session.running ? "its process runs" : "no process"} />
        </dl>
      </Panel>
      {!broken && (
        <div className="grid">
          <div className="c8">
            <Market session={session} chosen={chosen} choose={setChosen} />
          </div>
          <div className="c4">
            <Inspector session={id} at={chosen} close={() => setChosen(null)} />
          </div>
        </div>
      )}
      <section className="panel" aria-label="Record">
        <Tabs names={TABS} chosen={tab} choose={setTab} label="Record" />
        <div role="tabpanel" aria-labelledby={`tab-${tab}`}>
          {tab === "Commands" && <Outcomes commands={commands.data ?? []} />}
          {tab === "Instruments" && <Instruments session={session} done={commands.again} />}
          {tab === "Shadows" && <Shadows session={session} />}
          {tab === "Fills" && <Fills session={session} />}
          {tab === "Orders" && <Orders id={id} />}
          {tab === "Alerts" && <Alerts session={session} />}
          {tab === "Events" && <Events id={id} />}
          {tab === "Backtest" && <Against session={id} />}
          {tab === "Hash check" && <Check id={id} />}
        </div>
      </section>
    </>
  );
}

interface Sight {
  from: number;
  to: number;
}

/** Each row of the equity curve, by the candle in which it lies: its last equity, and its lowest drawdown. */
function byCandle(times: readonly number[], rows: readonly EquityPoint[], peaks: (time: number) => number): [Line["points"], Line["points"]] {
  const equity = times.map((time): [number, number | null] => [time, null]);
  const fall = times.map((time): [number, number | null] => [time, null]);
  let k = 0;
  let peak = 0;
  for (const row of rows) {
    const time = (ms(row.time_ns) ?? 0) / 1000;
    while (k < times.length && (times[k] ?? 0) < time) k += 1;
    const [e, f] = [equity[k], fall[k]];
    if (e === undefined || f === undefined) break;
    peak = Math.max(peak, peaks(time), row.equity);
    e[1] = row.equity;
    f[1] = Math.min(f[1] ?? 0, peak > 0 ? row.equity / peak - 1 : 0);
  }
  return [equity, fall];
}

function peaksOf(rows: readonly EquityPoint[]): (time: number) => number {
  const times: number[] = [];
  const highs: number[] = [];
  let high = 0;
  for (const row of rows) {
    high = Math.max(high, row.equity);
    times.push((ms(row.time_ns) ?? 0) / 1000);
    highs.push(high);
  }
  return (time) => {
    let [a, b] = [0, times.length];
    while (a < b) {
      const mid = (a + b) >> 1;
      if ((times[mid] ?? 0) <= time) a = mid + 1;
      else b = mid;
    }
    return highs[a - 1] ?? 0;
  };
}

function Market(props: { session: Session; chosen: number | null; choose: (time: number) => void }): ReactNode {
  const { session } = props;
  const dark = useValue(shade);
  const [symbol, setSymbol] = useState(session.symbols[0] ?? "");
  const [log, setLog] = useKept("log", "no");
  const [sight, setSight] = useState<Sight | null>(null);
  const asked = `points=${POINTS}&symbol=${encodeURIComponent(symbol)}`;
  const watched = { session: session.id, kinds: SETTLED, least: 1_000 };
  const whole_ = useGet<Bars>(`/sessions/${session.id}/bars?${asked}`, watched);
  const equity = useGet<EquityPoint[]>(`/sessions/${session.id}/equity?points=${POINTS}`, watched);
  const near = useNear(session.id, asked, sight, whole_.data);
  const bars = near?.bars ?? whole_.data;
  const rows = near?.equity ?? equity.data;
  const legend = useRef<HTMLDivElement>(null);
  const made = useMemo(() => {
    if (bars === null) return null;
    const times = bars.time_ns.map((time) => (ms(time) ?? 0) / 1000);
    const candles = times.flatMap((time, k) => {
      const [open, high, low, close] = [bars.open[k], bars.high[k], bars.low[k], bars.close[k]];
      return open == null || high == null || low == null || close == null ? [] : [{ time, open, high, low, close }];
    });
    const signs = times.flatMap((time, k): Sign[] => [
      ...((bars.bought[k] ?? 0) > 0 ? [{ time, kind: "bought" as const }] : []),
      ...((bars.sold[k] ?? 0) > 0 ? [{ time, kind: "sold" as const }] : []),
      ...((bars.cuts[k] ?? 0) > 0 ? [{ time, kind: "cut" as const }] : []),
    ]);
    const [curve, fall] = byCandle(times, rows ?? [], peaksOf(equity.data ?? []));
    const lines: Line[] = [
      { name: "Equity", pane: 1, colour: colour("series"), points: curve, format: (v) => money(v) },
      { name: "Drawdown", pane: 2, colour: colour("bad"), points: fall, format: (v) => share(v) },
    ];
    return { times, candles, signs, lines, curve, fall };
  }, [bars, rows, equity.data, dark]);
  const hover = useCallback(
    (time: number | null): void => {
      if (legend.current === null || made === null || bars === null) return;
      const k = time === null ? made.times.length - 1 : made.times.indexOf(time);
      legend.current.textContent = k < 0 ? "" : said(bars, k, made.curve[k]?.[1] ?? null, made.fall[k]?.[1] ?? null);
    },
    [made, bars],
  );
  useEffect(() => hover(null), [hover]);
  const thinned = bars !== null && bars.n > bars.time_ns.length;
  const shown = near === null ? whole_ : { ...whole_, at: Math.max(near.at, whole_.at) };
  return (
    <Panel
      title="Bars, equity and drawdown"
      of={shown}
      side={
        <div className="row">
          {session.symbols.length > 1 && (
            <label className="inline">
              <span className="hidden">Symbol</span>
              <select value={symbol} onChange={(event) => setSymbol(event.target.value)}>
                {session.symbols.map((one) => (
                  <option key={one}>{one}</option>
                ))}
              </select>
            </label>
          )}
          <label className="inline">
            <input type="checkbox" checked={log === "yes"} onChange={(event) => setLog(event.target.checked ? "yes" : "no")} />
            log
          </label>
        </div>
      }
    >
      <div className="legend" ref={legend} data-legend="" />
      {made !== null && made.times.length > 0 ? (
        <Chart
          label={`Candles of ${symbol} with fills, equity and drawdown; left and right choose a bar`}
          height={520}
          panes={[3, 1.3, 0.9]}
          of={`${session.id} ${symbol}`}
          candles={made.candles}
          lines={made.lines}
          signs={made.signs}
          log={log === "yes"}
          chosen={props.chosen}
          choose={props.choose}
          hover={hover}
          sight={(from, to) => setSight({ from, to })}
          format={(value) => price(value)}
        />
      ) : (
        <Empty>{whole_.data === null ? "asking…" : "It has lived through no bar yet."}</Empty>
      )}
      <p className="legend" data-thinned={thinned || undefined}>
        <span className="faint">
          ↑ bought, ↓ sold, ■ cut by risk, once 400 bars or fewer are in sight.{" "}
          {thinned
            ? `${whole(bars.n)} bars in ${whole(bars.time_ns.length)} candles with their true highs and lows; zoom in for each.`
            : `${whole(bars?.n ?? 0)} bars.`}
        </span>
      </p>
    </Panel>
  );
}

function said(bars: Bars, k: number, equity: number | null, fall: number | null): string {
  const parts = [
    `${moment(ms(bars.time_ns[k]))} UTC`,
    `O ${price(bars.open[k])}`,
    `H ${price(bars.high[k])}`,
    `L ${price(bars.low[k])}`,
    `C ${price(bars.close[k])}`,
    `V ${amount(bars.volume[k])}`,
  ];
  if (bars.bought[k]) parts.push(`bought ${amount(bars.bought[k])}`);
  if (bars.sold[k]) parts.push(`sold ${amount(bars.sold[k])}`);
  if (equity !== null) parts.push(`equity ${money(equity)}`, `drawdown ${share(fall, 2)}`);
  return parts.join("   ");
}

interface Near {
  of: string;
  from: number;
  to: number;
  bars: Bars;
  equity: EquityPoint[];
  at: number;
}

/** Where bars were thinned out and a part of them is looked at, that part with all its bars, or more of them. */
function useNear(id: string, asked: string, sight: Sight | null, all: Bars | null): Near | null {
  const [near, setNear] = useState<Near | null>(null);
  const busy = useRef(false);
  const thinned = all !== null && all.n > all.time_ns.length;
  const first = all === null ? 0 : (ms(all.time_ns[0]) ?? 0) / 1000;
  const last = all === null ? 0 : (ms(all.time_ns[all.time_ns.length - 1]) ?? 0) / 1000;
  const width = sight === null ? 0 : sight.to - sight.from;
  const of = `${id} ${asked}`;
  if (near !== null && (near.of !== of || width > (last - first) / 2)) {
    setNear(null);
    return null;
  }
  if (!thinned || sight === null || width <= 0 || width > (last - first) / 2 || busy.current) return near;
  const inside = near !== null && sight.from >= near.from && sight.to <= near.to && width > (near.to - near.from) / 8;
  if (inside) return near;
  busy.current = true;
  const [from, to] = [Math.max(first, sight.from - width), Math.min(last, sight.to + width)];
  const part = `since=${ns(from * 1000)}&until=${ns(to * 1000)}`;
  void Promise.all([
    get<Bars>(`/sessions/${id}/bars?${asked}&${part}`),
    get<EquityPoint[]>(`/sessions/${id}/equity?points=${POINTS}&${part}`),
  ]).then(
    ([bars, equity]) => {
      busy.current = false;
      setNear({ of, from, to, bars, equity, at: Date.now() });
    },
    () => {
      busy.current = false;
    },
  );
  return near;
}

function Fills({ session }: { session: Session }): ReactNode {
  const shown = useGet<Fill[]>(`/sessions/${session.id}/fills?limit=500&newest=true`, { session: session.id, kinds: SETTLED });
  const rows = shown.data ?? [];
  return (
    <Table
      caption="Fills, newest first"
      rows={rows}
      id={(one) => `${one.seq} ${one.symbol} ${one.forced}`}
      empty="Nothing was traded."
      limit={50}
      columns={[
        { name: "Bar, UTC", left: true, cell: (one) => <Time ns={one.time_ns} /> },
        { name: "Symbol", left: true, cell: (one) => one.symbol },
        { name: "Side", left: true, cell: (one) => `${one.quantity > 0 ? "▲ bought" : "▼ sold"}${one.forced ? ", closed by the venue" : ""}` },
        { name: "Quantity", cell: (one) => amount(Math.abs(one.quantity)) },
        { name: "Price", cell: (one) => price(one.price) },
        { name: "Worth", wide: true, cell: (one) => money(Math.abs(one.quantity * one.price)) },
        { name: "Fee", wide: true, cell: (one) => figure(one.fee, 4) },
        { name: "Cost in all", wide: true, cell: (one) => figure(one.cost, 4) },
        { name: "Event", wide: true, cell: (one) => one.seq },
      ]}
    />
  );
}

function Orders({ id }: { id: string }): ReactNode {
  const shown = useGet<StoredEvent[]>(`/sessions/${id}/orders?limit=200`, { session: id, kinds: MOVES });
  return <Raw rows={shown.data ?? []} empty="It has decided nothing yet." caption="Decisions and orders, newest first" />;
}

function Events({ id }: { id: string }): ReactNode {
  const shown = useGet<StoredEvent[]>(`/sessions/${id}/events?limit=200&newest=true`, { session: id, kinds: MOVES });
  return <Raw rows={shown.data ?? []} empty="Its journal is empty." caption="Events of the journal, newest first" />;
}

function Raw(props: { rows: readonly StoredEvent[]; empty: string; caption: string }): ReactNode {
  return (
    <Table
      caption={props.caption}
      rows={props.rows}
      id={(one) => String(one.seq)}
      empty={props.empty}
      limit={40}
      columns={[
        { name: "Event", cell: (one) => one.seq },
        { name: "Kind", left: true, cell: (one) => one.kind },
        { name: "Written, UTC", left: true, wide: true, cell: (one) => <Time ns={one.time_ns} /> },
        { name: "Payload", left: true, cell: (one) => <span className="mono text">{JSON.stringify(one.data).slice(0, 400)}</span> },
      ]}
    />
  );
}

function Alerts({ session }: { session: Session }): ReactNode {
  const shown = useGet<Omit<Alert, "session" | "name">[]>(`/sessions/${session.id}/alerts?limit=200`);
  return <AlertTable rows={(shown.data ?? []).map((one) => ({ ...one, session: session.id, name: session.name }))} />;
}

/** Its chain of hashes, from the first event to the last, when somebody asks. */
function Check({ id }: { id: string }): ReactNode {
  const [state, setState] = useState<{ busy: boolean; chain: Chain | null; problem: Error | null; at: number }>({
    busy: false,
    chain: null,
    problem: null,
    at: 0,
  });
  const ask = async (): Promise<void> => {
    setState({ ...state, busy: true });
    try {
      setState({ busy: false, chain: await get<Chain>(`/sessions/${id}/check`), problem: null, at: Date.now() });
    } catch (error) {
      setState({ busy: false, chain: null, problem: error as Error, at: Date.now() });
    }
  };
  const { chain } = state;
  return (
    <div className="pad">
      <div className="row">
        <button type="button" onClick={() => void ask()} disabled={state.busy}>
          {state.busy ? "checking…" : "Check every event"}
        </button>
        <span role="status">
          {chain?.holds && (
            <span className="good">
              ✓ the chain holds: {whole(chain.events)} events, head <span className="mono">{chain.head?.slice(0, 16)}</span>, as
              of {moment(state.at)} UTC
            </span>
          )}
          {chain && !chain.holds && <span className="bad">✕ {chain.why}</span>}
        </span>
      </div>
      {state.problem && <Fault problem={state.problem} />}
      <p className="hint pad">
        Each event has the hash of the one before it. <span className="mono">qframe replay</span> runs the session again from its
        record and compares every decision, fill and account to the bit.
      </p>
    </div>
  );
}
