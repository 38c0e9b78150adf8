// A session against a backtest of the same checkpoint on the same bars.
import { type ReactNode, useMemo } from "react";
import { Chart, type Line } from "./charts";
import { figure, money, ms, signed, whole } from "./format";
import { useGet, useValue } from "./store";
import { colour, shade } from "./theme";
import type { AgainstBacktest } from "./types";
import { Empty, Fault, Panel } from "./ui";

const REST_MS = 3_600_000;

export function Against({ session }: { session: string }): ReactNode {
  const dark = useValue(shade);
  const shown = useGet<AgainstBacktest>(`/sessions/${session}/backtest?points=1500`, { every: REST_MS });
  const said = shown.data;
  const lines = useMemo((): Line[] => {
    if (said === null) return [];
    const times = said.time_ns.map((time) => (ms(time) ?? 0) / 1000);
    const points = (values: readonly number[]): [number, number | null][] => times.map((time, k) => [time, values[k] ?? null]);
    return [
      { name: "live", pane: 0, colour: colour("series"), points: points(said.live), format: (v) => money(v) },
      { name: "backtest", pane: 0, colour: colour("warn"), points: points(said.backtest), format: (v) => money(v), dashed: true },
      { name: "drift", pane: 1, colour: colour("note"), points: points(said.drift_bps), format: (v) => `${figure(v, 1)} bp` },
    ];
  }, [said, dark]);
  return (
    <Panel
      title="Against a backtest of its checkpoint on the same bars"
      of={shown}
      side={
        <button type="button" onClick={shown.again}>
          Again
        </button>
      }
    >
      {said === null && shown.problem && <Fault problem={shown.problem} />}
      {said === null && !shown.problem && <Empty>The backtest is being made…</Empty>}
      {said !== null && (
        <>
          <p className="pad" data-drift={said.last_bps}>
            {said.identical ? (
              <span className="good">✓ the same to the last bit over {whole(said.bars)} bars: no drift.</span>
            ) : (
              <>
                Drift now <b>{signed(said.last_bps, 1)} bp</b>, at the worst {signed(said.worst_bps, 1)} bp, over {whole(said.bars)} bars:
                what real fills, commands and limits made of it, over the rule for bars.
              </>
            )}
          </p>
          <Chart
            label="Equity live and in a backtest, and their distance in basis points"
            height={320}
            panes={[2, 1]}
            lines={lines}
            of={session}
          />
          <p className="legend">
            <span>
              <i style={{ borderColor: colour("series") }} /> live
            </span>
            <span>
              <i style={{ borderColor: colour("warn"), borderTopStyle: "dashed" }} /> backtest, {whole(said.fills)} fills
            </span>
            <span>
              <i style={{ borderColor: colour("note") }} /> live over backtest, basis points
            </span>
          </p>
        </>
      )}
    </Panel>
  );
}
