// Charts come when the first of them is shown: pages without any are there sooner.
import { type ReactNode, Suspense, lazy } from "react";
import type { ChartProps } from "./chart";

export type { Candle, ChartProps, Line, Sign } from "./chart";

const Drawn = lazy(async () => ({ default: (await import("./chart")).Chart }));

export function Chart(props: ChartProps): ReactNode {
  return (
    <Suspense fallback={<div className="chart" style={{ height: props.height }} />}>
      <Drawn {...props} />
    </Suspense>
  );
}
