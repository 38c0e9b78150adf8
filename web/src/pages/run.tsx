import { type ReactNode, useMemo, useState } from "react";
import type { Problem } from "../api";
import { Chart, type Line } from "../charts";
import { Report } from "../reports";
import { figure, money, percent, share, span, whole } from "../format";
import { useGet, useValue } from "../store";
import { colour, shade } from "../theme";
import type { Curve, Run, ScoreRow } from "../types";
import { Empty, Fault, Mark, Panel, Table, classes } from "../ui";

const LIVE_MS = 2_000;
const REST_MS = 30_000;
const HUES = ["series", "warn", "good", "note", "bad", "faint"];

export function RunPage({ id }: { id: string }): ReactNode {
  const [every, setEvery] = useState(LIVE_MS);
  const shown = useGet<Run>(`/runs/${id}`, { every });
  const curves = useGet<{ trainings: Record<string, Curve[]> }>(`/runs/${id}/curves?points=300`, { every });
  const run = shown.data;
  if (run !== null && every !== (run.under_way ? LIVE_MS : REST_MS)) setEvery(run.under_way ? LIVE_MS : REST_MS);
  if (run === null) {
    return (
      <>
        <h1>Run</h1>
        {shown.problem ? <Fault problem={shown.problem} /> : <Empty>asking…</Empty>}
      </>
    );
  }
  const compared = run.records.filter((one) => one.name.startsWith("test-")).map((one) => `run:${id}:${one.name}`);
  return (
    <>
      <div className="head">
        <h1>{id}</h1>
        <Mark state={run.under_way ? "RUNNING" : "DONE"}>{run.under_way ? "under way" : "ended"}</Mark>
        <span className="faint room">
          {run.kind} · {said(run.data)}
        </span>
        {compared.length > 0 && (
          <a className="button" href={`#/compare?of=${compared.slice(0, 8).join(",")}`}>
            Compare its records
          </a>
        )}
        {run.reports.map((name) => (
          <Report key={name} path={`/runs/${id}/${name}`} file={`${id}-${name}`}>
            {name.endsWith("pdf") ? "Report, PDF" : "Report, page"}
          </Report>
        ))}
        {run.reports.length === 0 && !run.under_way && (
          <a className="button" href={`#/jobs?kind=report&names=${id}`}>
            Make its report
          </a>
        )}
      </div>
      <Verdict run={run} />
      <Panel title="Leaderboard" of={shown}>
        <Leaderboard run={run} />
      </Panel>
      {curves.data !== null && <Trainings run={run} curves={curves.data.trainings} at={curves} />}
      <Panel title="Records">
        <Table
          caption="Records"
          rows={run.records}
          id={(one) => one.name}
          empty="It has kept no record yet."
          limit={30}
          columns={[
            { name: "Record", left: true, cell: (one) => one.name },
            { name: "Bars", cell: (one) => whole(one.bars) },
            { name: "Curve", left: true, cell: (one) => <a href={`#/compare?of=run:${id}:${one.name}`}>compare</a> },
          ]}
        />
      </Panel>
    </>
  );
}

function said(data: Record<string, unknown> | null): string {
  if (data === null) return "its data are being read";
  const symbols = Array.isArray(data.symbols) ? data.symbols.slice(0, 3).join(", ") : "";
  return `${symbols} ${String(data.timeframe ?? "")}, ${String(data.environment ?? "")}, ${String(data.first ?? "")} to ${String(data.last ?? "")}`;
}

const TONES: Record<string, [string, string]> = { good: ["✓", "good"], bad: ["✕", "bad"], open: ["◌", "warn"] };

function Verdict({ run }: { run: Run }): ReactNode {
  const [sign, tone] = TONES[run.verdict?.tone ?? "open"] ?? ["◌", "warn"];
  return (
    <Panel title="Verdict">
      <div className="pad">
        {run.verdict !== null && (
          <>
            <p className={classes(tone, "verdict")}>
              <span aria-hidden="true">{sign} </span>
              <b>{run.verdict.headline}</b>
            </p>
            <ul className="reasons">
              {run.verdict.reasons.map((reason) => (
                <li key={reason}>{reason}</li>
              ))}
            </ul>
          </>
        )}
        {run.verdict === null && run.choice !== null && (
          <p>
            Chosen: <b>{run.choice.agent}</b>
            {run.choice.promoted ? " (passed the test for deployment)" : " (did not pass the test for deployment)"}:{" "}
            {run.choice.reason}.
          </p>
        )}
        {run.verdict === null && run.choice === null && <p>There is none yet: nothing was judged.</p>}
        {run.data?.environment !== undefined && run.data.environment !== "production" && (
          <p className="warn">⚠ The data are {String(run.data.environment)}: these figures say nothing about a real market.</p>
        )}
      </div>
    </Panel>
  );
}

function Leaderboard({ run }: { run: Run }): ReactNode {
  const rows = run.leaderboard;
  const waiting = run.trained.map((name) => ({ name }));
  if (rows.length === 0) {
    return (
      <Table
        caption="Trainings that are done"
        rows={waiting}
        id={(one) => one.name}
        empty={run.under_way ? "It fills up as trainings end and are scored." : "It has none."}
        columns={[
          { name: "Training", left: true, cell: (one) => one.name },
          { name: "So far", left: true, cell: () => "trained, not scored yet" },
        ]}
      />
    );
  }
  return (
    <Table<ScoreRow>
      caption="Leaderboard"
      rows={rows}
      id={(one) => `${one.split} ${one.agent}`}
      empty=""
      rowClass={(one) => (one.agent === run.choice?.agent ? "chosen" : undefined)}
      columns={[
        { name: "Strategy", left: true, cell: (one) => one.agent },
        { name: "Bars", left: true, cell: (one) => one.split },
        { name: "Sharpe (90%)", cell: (one) => `${figure(one.sharpe)} (${figure(one.sharpe_low)} to ${figure(one.sharpe_high)})` },
        { name: "In words", left: true, cell: (one) => one.verdict },
        { name: "Return", wide: true, cell: (one) => percent(one.final_equity / one.initial_equity - 1, 1) },
        { name: "Final equity", wide: true, cell: (one) => money(one.final_equity) },
        { name: "DSR", wide: true, cell: (one) => figure(one.dsr, 3) },
        { name: "Max drawdown", wide: true, cell: (one) => share(one.max_drawdown) },
        { name: "Exposure", wide: true, cell: (one) => share(one.exposure, 0) },
        { name: "Turnover / year", wide: true, cell: (one) => figure(one.turnover, 1) },
        { name: "Trades", wide: true, cell: (one) => whole(one.trades) },
      ]}
    />
  );
}

/** Curves of trainings while they are written, one quantity at a time. */
function Trainings(props: { run: Run; curves: Record<string, Curve[]>; at: { at: number; problem: Problem | null } }): ReactNode {
  const dark = useValue(shade);
  const names = Object.keys(props.curves).filter((name) => name !== "evaluation");
  const tags = [...new Set(names.flatMap((name) => (props.curves[name] ?? []).filter((c) => c.steps.length > 1).map((c) => c.tag)))].sort();
  const [tag, setTag] = useState("");
  const chosen = tags.includes(tag) ? tag : (tags.find((one) => /return|reward|sharpe|growth/i.test(one)) ?? tags[0] ?? "");
  const lines = useMemo(
    () =>
      names.flatMap((name, k): Line[] => {
        const curve = props.curves[name]?.find((one) => one.tag === chosen);
        if (curve === undefined) return [];
        const points = [...new Map(curve.steps.map((step, n) => [step + 1, curve.values[n] ?? null] as const))].sort((a, b) => a[0] - b[0]);
        return [{ name, pane: 0, colour: colour(HUES[k % HUES.length] ?? "series"), points, format: (v) => figure(v, 4) }];
      }),
    [props.curves, chosen, dark],
  );
  if (tags.length === 0) return null;
  return (
    <Panel
      title="Trainings"
      of={{ ...props.at, data: null, again: () => undefined }}
      side={
        <label className="inline">
          <span className="hidden">Quantity</span>
          <select value={chosen} onChange={(event) => setTag(event.target.value)}>
            {tags.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
      }
    >
      <Chart label={`${chosen} by step, a curve for each training`} height={240} lines={lines} of={`${props.run.id} ${chosen}`} steps />
      <div className="legend">
        {names.map((name, k) => (
          <span key={name}>
            <i style={{ borderColor: colour(HUES[k % HUES.length] ?? "series") }} />
            {name}: {progress(props.run, name, props.curves[name] ?? [])}
          </span>
        ))}
      </div>
    </Panel>
  );
}

function progress(run: Run, name: string, curves: readonly Curve[]): string {
  if (run.trained.includes(name)) return "trained";
  let step = 0;
  let [first, last, begun] = [Infinity, 0, 0];
  for (const curve of curves) {
    for (const [k, wall] of curve.walls.entries()) {
      if (wall < first) [first, begun] = [wall, curve.steps[k] ?? 0];
      last = Math.max(last, wall);
      step = Math.max(step, curve.steps[k] ?? 0);
    }
  }
  const agent = name.replace(/-\d+-\d+$/, "");
  const total = Number(run.experiment?.agent?.[agent]?.total_steps ?? 0);
  if (!total || step <= begun || last <= first) return `step ${whole(step)}`;
  const left = ((total - step) / (step - begun)) * (last - first);
  return `step ${whole(step)} of ${whole(total)}, about ${span(left * 1000)} left`;
}
