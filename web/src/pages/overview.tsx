import { type ReactNode, useState } from "react";
import { serviceNow } from "../api";
import { money, ms, percent, signed, span, timeframe, whole } from "../format";
import { locks } from "../standing";
import { useGet, useNow } from "../store";
import type { Alert, EquityPoint, Session } from "../types";
import { Age, Fault, Mark, Panel, Spark, Stat, Table, Time, tone } from "../ui";

const MOVES = ["settled", "state", "command", "process", "started", "decision"] as const;
const SETTLED = ["settled"] as const;

/** How many bars late a session that runs is; its figures are grey from two on. */
export function lateness(session: Session): number {
  const bar = ms(session.bar_ns);
  const at = ms(session.decided_ns);
  return !session.running || bar === null || at === null ? 0 : (serviceNow() - at) / bar;
}

export function today(session: Session): number | null {
  return session.equity === null || !session.day_start ? null : session.equity / session.day_start - 1;
}

export function drawdown(session: Session): number | null {
  return session.equity === null || !session.peak ? null : Math.min(0, session.equity / session.peak - 1);
}

export function SessionState({ session }: { session: Session }): ReactNode {
  if (session.state === "broken") return <Mark state="broken" />;
  if (!session.running) return <Mark state="STOPPED">stopped, was {session.state.replace("_", " ").toLowerCase()}</Mark>;
  return <Mark state={session.state} />;
}

function Curve({ session }: { session: Session }): ReactNode {
  const shown = useGet<EquityPoint[]>(session.state === "broken" ? null : `/sessions/${session.id}/equity?points=80`, {
    session: session.id,
    kinds: SETTLED,
    least: 3_000,
    every: 60_000,
  });
  const values = (shown.data ?? []).map((point) => point.equity);
  const first = values[0];
  const final = values[values.length - 1];
  const change = first && final ? percent(final / first - 1) : "unknown";
  return <Spark values={values} label={`equity since its first bar: ${change}`} />;
}

export function OverviewPage(): ReactNode {
  useNow();
  const shown = useGet<Session[]>("/sessions", { kinds: MOVES, least: 400 });
  const [filter, setFilter] = useState("");
  const all = shown.data ?? [];
  const rows = all.filter((one) => `${one.name} ${one.agent} ${one.state}`.toLowerCase().includes(filter.toLowerCase()));
  const running = all.filter((one) => one.running);
  const ill = all.filter((one) => one.ill !== null || one.state === "broken");
  const late = running.filter((one) => lateness(one) > 2);
  const halted = all.filter((one) => one.state === "HALTED" || one.state === "FLATTEN");
  const waiting = all.reduce((sum, one) => sum + (one.alerts_waiting ?? 0), 0);
  return (
    <>
      <div className="head">
        <h1>Overview</h1>
      </div>
      <Panel title="All sessions" of={shown}>
        <dl className="stats">
          <Stat name="Running" value={running.length} under={`of ${all.length} sessions`} />
          <Stat name="Late by 2 bars" value={late.length} tone={late.length ? "warn" : undefined} under={names(late)} />
          <Stat name="Halted" value={halted.length} tone={halted.length ? "bad" : undefined} under={names(halted)} />
          <Stat name="Ill" value={ill.length} tone={ill.length ? "bad" : undefined} under={names(ill)} />
          <Stat name="Alerts not sent" value={waiting} tone={waiting ? "warn" : undefined} under="in their outboxes" />
        </dl>
      </Panel>
      {shown.data === null && shown.problem && <Fault problem={shown.problem} />}
      <Panel
        title="Sessions"
        of={shown}
        side={
          all.length > 5 && (
            <label className="inline">
              <span className="hidden">Filter</span>
              <input placeholder="filter" value={filter} onChange={(event) => setFilter(event.target.value)} />
            </label>
          )
        }
      >
        {shown.data !== null && <Sessions rows={rows} />}
      </Panel>
      <LastAlerts />
    </>
  );
}

function names(some: readonly Session[]): string {
  const first = some.slice(0, 2).map((one) => one.name);
  return some.length === 0 ? "none" : first.join(", ") + (some.length > 2 ? `, ${some.length - 2} more` : "");
}

function Sessions({ rows }: { rows: readonly Session[] }): ReactNode {
  return (
    <Table
      caption="Sessions"
      rows={rows}
      id={(one) => one.id}
      rowClass={(one) => (lateness(one) > 2 || !one.running ? "late" : undefined)}
      empty="No session lies below the folders that are served: qframe paper CHECKPOINT starts one, supervised ones are started here."
      columns={[
        { name: "Session", left: true, cell: (one) => <a href={`#/session/${one.id}`}>{one.name}</a> },
        {
          name: "State",
          left: true,
          cell: (one) => (
            <>
              <SessionState session={one} />
              {locks(one) !== "" && <span className="warn text"> {locks(one)}</span>}
              {one.ill && <span className="bad text"> {one.ill}</span>}
            </>
          ),
        },
        { name: "Agent", left: true, wide: true, cell: (one) => <Agent session={one} /> },
        { name: "Equity", cell: (one) => money(one.equity) },
        { name: "Today", cell: (one) => <span className={tone(today(one))}>{percent(today(one))}</span> },
        { name: "Drawdown", cell: (one) => percent(drawdown(one)) },
        { name: "Curve", left: true, wide: true, cell: (one) => <Curve session={one} /> },
        ...(rows.some((one) => one.drift_bps !== null) ? [DRIFT] : []),
        { name: "Bars", wide: true, cell: (one) => `${whole(one.bars)} × ${timeframe(one.bar_ns)}` },
        { name: "Last bar, UTC", wide: true, cell: (one) => <Time ns={one.time_ns} /> },
        { name: "Written", cell: (one) => <Written session={one} /> },
      ]}
    />
  );
}

const DRIFT = {
  name: "Drift",
  wide: true,
  cell: (one: Session): ReactNode => (one.drift_bps === null ? "–" : `${signed(one.drift_bps, 1)} bp`),
};

function Agent({ session }: { session: Session }): ReactNode {
  return (
    <>
      {session.agent ?? "–"} <span className="faint">{session.orders === "paper" ? session.environment : session.orders}</span>
    </>
  );
}

export function Written({ session }: { session: Session }): ReactNode {
  const late = lateness(session);
  return (
    <>
      <Age ns={session.decided_ns} />
      {late > 2 && (
        <span className="warn"> ⚠ late by {span((late - 1) * (ms(session.bar_ns) ?? 0))}</span>
      )}
    </>
  );
}

function LastAlerts(): ReactNode {
  const shown = useGet<Alert[]>("/alerts?limit=8", { kinds: ["state"] });
  return (
    <Panel title="Last alerts" of={shown} side={<a href="#/alerts">all</a>}>
      {shown.data !== null && <AlertTable rows={shown.data} />}
    </Panel>
  );
}

export function AlertTable({ rows }: { rows: readonly Alert[] }): ReactNode {
  return (
    <Table
      caption="Alerts, newest first"
      rows={rows}
      id={(one) => `${one.session} ${one.id}`}
      empty="No session has said anything."
      columns={[
        { name: "Written, UTC", left: true, cell: (one) => (one.rule === "broken" ? "now" : <Time ns={one.time_ns} />) },
        { name: "Session", left: true, cell: (one) => <a href={`#/session/${one.session}`}>{one.name}</a> },
        { name: "Rule", left: true, wide: true, cell: (one) => one.rule },
        { name: "Message", left: true, cell: (one) => <span className="text">{one.text}</span> },
        {
          name: "Sent",
          left: true,
          wide: true,
          cell: (one) => (one.sent_ns === null ? `not yet, ${one.tries} tries` : <Time ns={one.sent_ns} />),
        },
      ]}
    />
  );
}
