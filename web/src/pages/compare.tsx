import { type ReactNode, useMemo, useState } from "react";
import { Chart, type Line } from "../charts";
import { figure, ms, percent, share, whole } from "../format";
import { useGet, useKept, useValue } from "../store";
import { colour, shade } from "../theme";
import type { Checkpoint, Compared, Run, RunRow, Session } from "../types";
import { Empty, Panel, Table } from "../ui";

export const HUES = ["series", "warn", "good", "note", "bad", "faint"];
const EVERY_MS = 10_000;

/** Curves of anything that has one, side by side; which ones stands in the address. */
export function ComparePage({ query }: { query: string }): ReactNode {
  const asked = new URLSearchParams(query);
  const members = (asked.get("of") ?? "").split(",").filter(Boolean);
  const [window, setWindow] = useState(720);
  const [aligned, setAligned] = useKept("aligned", "no");
  const path = members.length > 0 ? `/compare?of=${encodeURIComponent(members.join(","))}&window=${window}&points=1500` : null;
  const shown = useGet<{ curves: Compared[] }>(path, { kinds: ["settled"], every: EVERY_MS, least: 3_000 });
  const curves = shown.data?.curves ?? [];
  const go = (next: readonly string[]): void => {
    location.hash = `/compare?of=${next.join(",")}`;
  };
  return (
    <>
      <div className="head">
        <h1>Compare</h1>
        <span className="room" />
        <label className="inline">
          Sharpe over
          <select value={window} onChange={(event) => setWindow(Number(event.target.value))}>
            {[24, 168, 720, 2160, 8760].map((n) => (
              <option key={n} value={n}>
                {whole(n)} bars
              </option>
            ))}
          </select>
        </label>
        <label className="inline">
          <input type="checkbox" checked={aligned === "yes"} onChange={(e) => setAligned(e.target.checked ? "yes" : "no")} />
          from their first bars
        </label>
      </div>
      <Chooser members={members} go={go} />
      {members.length === 0 ? (
        <Panel title="Curves">
          <Empty>Choose sessions, records of runs and checkpoints above: growth, drawdown, exposure and Sharpe in one chart.</Empty>
        </Panel>
      ) : (
        <Panel title="Growth, drawdown, exposure, moving Sharpe ratio with its interval of 90%" of={shown}>
          {curves.length > 0 && <Curves curves={curves} aligned={aligned === "yes"} />}
          <Table
            caption="What is compared"
            rows={curves}
            id={(one) => one.of}
            empty="asking…"
            columns={[
              { name: "Curve", left: true, cell: (one) => <Named curves={curves} one={one} /> },
              { name: "Bars", wide: true, cell: (one) => whole(one.bars) },
              { name: "Growth", cell: (one) => (one.problem ? "–" : percent(one.last / one.first - 1)) },
              { name: "Max drawdown", cell: (one) => share(one.max_drawdown) },
              { name: "Sharpe, last window", wide: true, cell: (one) => <LastSharpe one={one} /> },
              {
                name: "Acts", unnamed: true,
                cell: (one) => (
                  <button type="button" className="plain" onClick={() => go(members.filter((m) => m !== one.of))} aria-label={`Leave ${one.name} out`}>
                    ✕
                  </button>
                ),
              },
            ]}
          />
        </Panel>
      )}
    </>
  );
}

function Named({ curves, one }: { curves: readonly Compared[]; one: Compared }): ReactNode {
  const k = curves.indexOf(one);
  return (
    <>
      <span className="legend-line" style={{ borderColor: colour(HUES[k % HUES.length] ?? "series") }} /> {k + 1} {one.name}
      {one.problem && <span className="bad"> ✕ {one.problem}</span>}
    </>
  );
}

function LastSharpe({ one }: { one: Compared }): ReactNode {
  const k = (one.sharpe ?? []).length - 1;
  if (one.problem || one.sharpe?.[k] == null) return "–";
  const words = (one.sharpe_low[k] ?? 0) > 0 ? "above cash" : (one.sharpe_high[k] ?? 0) < 0 ? "below cash" : "not to be told from cash";
  return `${figure(one.sharpe[k])} (${figure(one.sharpe_low[k])} to ${figure(one.sharpe_high[k])}), ${words}`;
}

function Curves({ curves, aligned }: { curves: readonly Compared[]; aligned: boolean }): ReactNode {
  const dark = useValue(shade);
  const lines = useMemo(
    () =>
      curves.flatMap((one, k): Line[] => {
        if (one.problem !== null) return [];
        const times = one.time_ns.map((time) => (ms(time) ?? 0) / 1000);
        const shift = aligned ? (times[0] ?? 0) : 0;
        const points = (values: readonly (number | null)[]): [number, number | null][] =>
          times.map((time, n) => [time - shift, values[n] ?? null]);
        const look = { colour: colour(HUES[k % HUES.length] ?? "series") };
        const name = String(k + 1);
        return [
          { ...look, name, pane: 0, points: points(one.growth), format: (v) => figure(v, 3) },
          { ...look, name: `${name} d`, pane: 1, points: points(one.drawdown), format: (v) => share(v) },
          { ...look, name: `${name} e`, pane: 2, points: points(one.exposure), format: (v) => share(v, 0) },
          { ...look, name: `${name} s`, pane: 3, points: points(one.sharpe), format: (v) => figure(v, 1) },
          { ...look, name: `${name} l`, pane: 3, points: points(one.sharpe_low), format: (v) => figure(v, 1), thin: true, dashed: true },
          { ...look, name: `${name} h`, pane: 3, points: points(one.sharpe_high), format: (v) => figure(v, 1), thin: true, dashed: true },
        ];
      }),
    [curves, aligned, dark],
  );
  return (
    <>
      <p className="legend">from above: growth of 1, drawdown, exposure, Sharpe ratio a year (dashed: its interval)</p>
      <Chart
        label="Growth, drawdown, exposure and Sharpe ratio of what is compared"
        height={560}
        panes={[2.4, 1, 1, 1.6]}
        lines={lines}
        days={aligned}
        of={`${curves.map((one) => one.of).join(",")} ${aligned}`}
      />
    </>
  );
}

function Chooser({ members, go }: { members: readonly string[]; go: (next: readonly string[]) => void }): ReactNode {
  const sessions = useGet<Session[]>("/sessions", { every: 60_000 });
  const runs = useGet<RunRow[]>("/runs", { every: 60_000 });
  const checkpoints = useGet<Checkpoint[]>("/checkpoints", { every: 60_000 });
  const [run, setRun] = useState("");
  const detail = useGet<Run>(run === "" ? null : `/runs/${run}`, { every: 60_000 });
  const add = (name: string): void => {
    if (name !== "" && !members.includes(name)) go([...members, name].slice(0, 12));
  };
  return (
    <Panel title="Add">
      <div className="pad fields">
        <label>
          Session
          <select value="" onChange={(event) => add(event.target.value)}>
            <option value="">choose…</option>
            {(sessions.data ?? []).map((one) => (
              <option key={one.id} value={`session:${one.id}`}>
                {one.name}
              </option>
            ))}
          </select>
        </label>
        <label>
          Run
          <select value={run} onChange={(event) => setRun(event.target.value)}>
            <option value="">choose…</option>
            {(runs.data ?? []).map((one) => (
              <option key={one.id}>{one.id}</option>
            ))}
          </select>
        </label>
        <label>
          Its record
          <select value="" onChange={(event) => add(event.target.value)} disabled={run === ""}>
            <option value="">{run === "" ? "choose a run first" : "choose…"}</option>
            {(detail.data?.records ?? []).map((one) => (
              <option key={one.name} value={`run:${run}:${one.name}`}>
                {one.name}
              </option>
            ))}
          </select>
        </label>
        <label>
          Checkpoint, on its test bars
          <select value="" onChange={(event) => add(event.target.value)}>
            <option value="">choose…</option>
            {(checkpoints.data ?? []).map((one) => (
              <option key={one.id} value={`checkpoint:${one.id}`}>
                {one.id}
              </option>
            ))}
          </select>
        </label>
      </div>
    </Panel>
  );
}
