import { type ReactNode, useMemo, useState } from "react";
import { type Words, WordActs } from "../acts";
import { Ledger, Members, Notices, Positions, Transfers } from "../books";
import { LEAST, looked } from "../capital";
import { Chart, type Line } from "../charts";
import { figure, money, ms, percent, share, units } from "../format";
import { Report } from "../reports";
import { NewLimits, Ramps } from "../steering";
import { useGet, useValue } from "../store";
import { colour, shade } from "../theme";
import type { Benchmark, Member, Portfolio, Risk, WorthPoint } from "../types";
import { Age, Empty, Fault, Mark, Meter, Panel, Stat, Tabs, Time } from "../ui";

const TABS = ["Members", "Positions", "Transfers", "Ramps", "Events", "Ledger"] as const;

export function PortfolioPage({ id }: { id: string }): ReactNode {
  const shown = useGet<Portfolio>(`/portfolios/${id}`, LEAST);
  const risk = useGet<Risk>(`/portfolios/${id}/risk`, LEAST);
  const [tab, setTab] = useState<string>("Members");
  const row = shown.data;
  if (row === null) {
    return (
      <>
        <h1>Portfolio</h1>
        {shown.problem ? <Fault problem={shown.problem} /> : <Empty>asking…</Empty>}
      </>
    );
  }
  const again = (): void => {
    shown.again();
    risk.again();
  };
  return (
    <>
      <div className="head">
        <h1>{row.id}</h1>
        <Mark state={row.state} />
        {row.why.length > 0 && <span className="text">{row.why.join("; ")}</span>}
        <span className="room" />
        <Report path={`/portfolios/${id}/report`} file={`portfolio-${id}.html`}>
          Report
        </Report>
        <Report path={`/portfolios/${id}/report.pdf`} file={`portfolio-${id}.pdf`}>
          PDF
        </Report>
        <WordActs words={wordsOf(row)} path={`/portfolios/${row.id}/commands`} done={again} />
      </div>
      {!looked(row) && (
        <Fault problem={new Error("No supervisor has looked at its members for half a minute: these figures are old. qframe supervise does.")} />
      )}
      {row.members.some((one) => one.mark !== "") && <Marked rows={row.members.filter((one) => one.mark !== "")} />}
      {row.waiting.map((one) => (
        <p key={one.transfer} className="pad warn" role="status">
          ◌ {one.why}, since <Time ns={one.since_ns} /> UTC: {units(one.units)} {row.currency}
        </p>
      ))}
      <Panel title="Capital" of={shown}>
        <dl className="stats">
          <Stat name="Equity" value={money(row.equity)} under={row.currency} />
          <Stat name="Worth" value={money(row.worth)} under="without what was paid in or out" />
          <Stat name="Paid in" value={units(row.contributions)} under="less what was taken out" />
          <Stat name="Unallocated" value={units(row.unallocated)} under="of the portfolio itself" />
          <Stat name="In transit" value={units(row.in_transit)} under="asked, not settled" />
          <Stat name="Drawdown" value={risk.data === null ? "–" : percent(-Math.abs(risk.data.drawdown))} under={`peak ${money(risk.data?.peak)}`} />
          <Stat name="Looked at" value={<Age ns={row.looked_ns} />} under="by the supervisor" />
        </dl>
      </Panel>
      <div className="grid">
        <div className="c8">
          <Curve id={id} members={row.members} />
        </div>
        <div className="c4">
          <Limits shown={risk} row={row} done={again} />
        </div>
      </div>
      <section className="panel" aria-label="Books">
        <Tabs names={TABS} chosen={tab} choose={setTab} label="Books" />
        <div role="tabpanel" aria-labelledby={`tab-${tab}`}>
          {tab === "Members" && <Members row={row} done={again} />}
          {tab === "Positions" && <Positions id={id} />}
          {tab === "Transfers" && <Transfers row={row} done={again} />}
          {tab === "Ramps" && <Ramps row={row} done={again} />}
          {tab === "Events" && <Notices id={id} />}
          {tab === "Ledger" && <Ledger id={id} />}
        </div>
      </section>
    </>
  );
}

function Marked({ rows }: { rows: readonly Member[] }): ReactNode {
  return (
    <p className="fault" role="alert">
      ✕ Old figures of {rows.map((one) => `${one.name} (${one.mark}${one.why === "" ? "" : `: ${one.why}`})`).join(", ")}: their last ones are
      counted, none is dropped.
    </p>
  );
}

function wordsOf(row: Portfolio): Words {
  const whom = (
    <p>
      {row.id}, {row.members.length} members: {row.members.map((one) => one.name).join(", ") || "none"}.
    </p>
  );
  const what = (text: string): ReactNode => (
    <>
      {whom}
      <p>{text}</p>
    </>
  );
  return {
    halt: ["Halt", what("No member sends an order any more, until somebody says resume. What is held stays open."), {}],
    reduce: ["Reduce only", what("Of each order only the part goes out that makes a position smaller."), {}],
    flatten: [
      "Flatten",
      what("All that the members hold is closed at the market, with the costs of it; then they are halted."),
      { word: "FLATTEN", danger: true },
    ],
    resume: [
      "Resume",
      what("Its members may trade again as their agents ask; this may raise risk."),
      { scope: "trade", password: true },
    ],
  };
}

function Curve({ id, members }: { id: string; members: readonly Member[] }): ReactNode {
  const dark = useValue(shade);
  const shown = useGet<WorthPoint[]>(`/portfolios/${id}/equity?points=1500`, { ...LEAST, least: 3_000 });
  const held = useGet<Benchmark>(`/portfolios/${id}/benchmark?points=1500`, { ...LEAST, least: 3_000 });
  const lines = useMemo((): Line[] => {
    const rows = shown.data ?? [];
    const times = rows.map((one) => (ms(one.time_ns) ?? 0) / 1000);
    let peak = 0;
    const falls = rows.map((one) => {
      peak = Math.max(peak, one.worth);
      return peak > 0 ? one.worth / peak - 1 : 0;
    });
    const points = (values: readonly number[], at: readonly number[] = times): [number, number | null][] =>
      [...new Map(at.map((time, k) => [time, values[k] ?? null] as const))].sort((a, b) => a[0] - b[0]);
    const beside = held.data !== null && held.data.symbols.length > 0 ? held.data : null;
    return [
      { name: "Equity", pane: 0, colour: colour("series"), points: points(rows.map((one) => one.equity)), format: (v) => money(v) },
      { name: "Worth", pane: 1, colour: colour("good"), points: points(rows.map((one) => one.worth)), format: (v) => money(v) },
      ...(beside === null
        ? []
        : [{
            name: "Held in equal parts", pane: 1, colour: colour("faint"), dashed: true, format: (v: number) => money(v),
            points: points(beside.worth, beside.time_ns.map((time) => (ms(time) ?? 0) / 1000)),
          }]),
      { name: "Drawdown", pane: 2, colour: colour("bad"), points: points(falls), format: (v) => share(v) },
    ];
  }, [shown.data, held.data, dark]);
  return (
    <Panel
      title="Equity, worth without what was paid in or out, drawdown"
      of={shown}
      side={
        members.some((one) => one.session) && (
          <a href={`#/compare?of=${members.flatMap((one) => (one.session ? [`session:${one.session}`] : [])).join(",")}`}>members side by side</a>
        )
      }
    >
      {held.data !== null && held.data.symbols.length > 0 && (
        <p className="pad faint">Dashed beside its worth: {held.data.symbols.join(", ")}, bought in equal parts at its first close and held.</p>
      )}
      {shown.data !== null && shown.data.length > 0 ? (
        <Chart label="Equity, worth and drawdown of the portfolio" height={380} panes={[2, 1.2, 0.9]} lines={lines} of={id} />
      ) : (
        <Empty>{shown.data === null ? "asking…" : "No close was counted yet: the supervisor does that."}</Empty>
      )}
    </Panel>
  );
}

function Limits(props: { shown: ReturnType<typeof useGet<Risk>>; row: Portfolio; done: () => void }): ReactNode {
  const { shown } = props;
  const risk = shown.data;
  return (
    <Panel title="Limits and exposure" of={shown}>
      {risk !== null && (
        <>
          <dl className="pairs">
            <dt>Gross</dt>
            <dd>
              {money(risk.gross)}, leverage {figure(risk.leverage)}
            </dd>
            <dt>Today</dt>
            <dd>{percent(risk.day_start > 0 ? risk.equity / risk.day_start - 1 : null)}</dd>
            {Object.entries(risk.net).map(([pair, value]) => (
              <Pair key={pair} name={`Net ${pair}`}>
                {money(value)}
              </Pair>
            ))}
          </dl>
          <div className="pad meters">
            {risk.limits.length === 0 && <span className="faint">No limit binds.</span>}
            {risk.limits.map((one) => (
              <Meter key={one.name} name={one.name.replaceAll("_", " ")} used={one.used} words={`${number(one.now)} of ${number(one.bound)}`} />
            ))}
          </div>
        </>
      )}
      <NewLimits row={props.row} done={props.done} />
    </Panel>
  );
}

function number(value: number): string {
  return Math.abs(value) < 10 ? figure(value, 4) : money(value);
}

function Pair({ name, children }: { name: string; children: ReactNode }): ReactNode {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}
