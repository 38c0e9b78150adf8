// Charts: thin shells round lightweight-charts, in the page's colours, with what a canvas cannot say in words beside it.
import {
  CandlestickSeries,
  type IChartApi,
  type ISeriesApi,
  type ISeriesMarkersPluginApi,
  LineSeries,
  type LineWidth,
  type LogicalRange,
  LineStyle,
  PriceScaleMode,
  type SeriesMarker,
  type SeriesType,
  type Time,
  type UTCTimestamp,
  createChart,
  createSeriesMarkers,
} from "lightweight-charts";
import { type KeyboardEvent, type ReactNode, useEffect, useRef } from "react";
import { moment } from "./format";
import { useValue } from "./store";
import { colour, shade } from "./theme";

export interface Candle {
  time: number;
  open: number;
  high: number;
  low: number;
  close: number;
}

export interface Line {
  name: string;
  pane: number;
  colour: string;
  /** Seconds since 1970, rising, and values; null = there is none. */
  points: readonly (readonly [number, number | null])[];
  format: (value: number) => string;
  dashed?: boolean;
  thin?: boolean;
  steps?: boolean;
}

export interface Sign {
  time: number;
  kind: "bought" | "sold" | "cut";
  text?: string;
}

export interface ChartProps {
  label: string;
  height: number;
  candles?: readonly Candle[];
  lines: readonly Line[];
  signs?: readonly Sign[];
  log?: boolean;
  /** Stretch of each pane. */
  panes?: readonly number[];
  chosen?: number | null;
  choose?: (time: number) => void;
  /** Told which bars are in sight, seconds since 1970, once the hand rests. */
  sight?: (from: number, to: number) => void;
  hover?: (time: number | null) => void;
  /** Of which data this is: another one, and all of it is shown. */
  of: string;
  format?: (value: number) => string;
  /** The axis has days since a beginning. */
  days?: boolean;
  /** The axis has steps of a training. */
  steps?: boolean;
}

const REST_MS = 180;
/** Candles that are shown before and after one that an address names. */
const BESIDE = 18;

/** How the axis calls a moment. */
function labelled(props: ChartProps): ((time: Time) => string) | null {
  if (props.days) return (time) => `${(Number(time) / 86_400).toFixed(1)} d`;
  return props.steps ? (time) => `step ${Number(time) - 1}` : null;
}

function looks(props: ChartProps): Parameters<IChartApi["applyOptions"]>[0] {
  const label = labelled(props);
  return {
    layout: {
      background: { color: "transparent" },
      textColor: colour("faint"),
      fontSize: 11,
      fontFamily: getComputedStyle(document.body).fontFamily,
      attributionLogo: false,
      panes: { separatorColor: colour("line"), separatorHoverColor: colour("line-strong"), enableResize: true },
    },
    grid: { vertLines: { color: colour("grid") }, horzLines: { color: colour("grid") } },
    rightPriceScale: { borderColor: colour("line"), minimumWidth: 68, scaleMargins: { top: 0.12, bottom: 0.08 } },
    timeScale: { borderColor: colour("line"), timeVisible: true, secondsVisible: false, minBarSpacing: 0.02, rightOffset: 3, ...(label === null ? {} : { tickMarkFormatter: label }) },
    crosshair: { mode: 0 },
    localization: { timeFormatter: label ?? ((time: Time) => `${moment(Number(time) * 1000)} UTC`) },
  };
}

interface Made {
  chart: IChartApi;
  candles: ISeriesApi<"Candlestick"> | null;
  lines: Map<string, ISeriesApi<SeriesType>>;
  signs: ISeriesMarkersPluginApi<Time> | null;
  times: number[];
  of: string | null;
  timer: number;
  told: string;
  drawn: SeriesMarker<Time>[];
  /** Whether the signs are shown: too many of them say nothing. */
  shown: boolean | null;
  gone: boolean;
}

/** Bars in sight up to which each fill has its sign. */
const SIGNED = 400;

function signed(made: Made, range: LogicalRange | null): void {
  const near = range !== null && range.to - range.from <= SIGNED;
  if (made.shown === near) return;
  made.shown = near;
  made.signs?.setMarkers(near ? made.drawn : []);
}

function painted(made: Made): void {
  made.candles?.applyOptions({
    upColor: colour("up"),
    downColor: colour("down"),
    wickUpColor: colour("up"),
    wickDownColor: colour("down"),
    borderVisible: false,
  });
}

function shape(sign: Sign): SeriesMarker<Time> {
  const time = sign.time as UTCTimestamp;
  const text = sign.text ?? "";
  if (sign.kind === "bought") return { time, position: "belowBar", shape: "arrowUp", color: colour("accent"), text };
  if (sign.kind === "sold") return { time, position: "aboveBar", shape: "arrowDown", color: colour("note"), text };
  return { time, position: "aboveBar", shape: "square", color: colour("warn"), text };
}

function drawn(made: Made, props: ChartProps): void {
  const { chart } = made;
  if (props.candles !== undefined && made.candles === null) {
    made.candles = chart.addSeries(CandlestickSeries, { priceLineVisible: false }, 0);
    made.signs = createSeriesMarkers(made.candles, [], { autoScale: false });
  }
  painted(made);
  const names = new Set(props.lines.map((line) => line.name));
  for (const [name, series] of [...made.lines]) {
    if (names.has(name)) continue;
    chart.removeSeries(series);
    made.lines.delete(name);
  }
  const format = props.format;
  if (format !== undefined) {
    made.candles?.applyOptions({ priceFormat: { type: "custom", formatter: format, minMove: 1e-8 } });
  }
  made.candles?.setData((props.candles ?? []).map((candle) => ({ ...candle, time: candle.time as UTCTimestamp })));
  const all = new Set<number>((props.candles ?? []).map((candle) => candle.time));
  for (const line of props.lines) {
    let series = made.lines.get(line.name);
    if (series === undefined) {
      series = chart.addSeries(LineSeries, { priceLineVisible: false, lastValueVisible: true }, line.pane);
      made.lines.set(line.name, series);
    }
    series.applyOptions({
      color: line.colour,
      lineWidth: (line.thin ? 1 : 2) as LineWidth,
      lineStyle: line.dashed ? LineStyle.Dashed : LineStyle.Solid,
      lineType: line.steps ? 1 : 0,
      crosshairMarkerVisible: !line.thin,
      lastValueVisible: !line.thin,
      priceFormat: { type: "custom", formatter: line.format, minMove: 1e-8 },
    });
    const rows = line.points.map(([time, value]) => {
      all.add(time);
      return value === null ? { time: time as UTCTimestamp } : { time: time as UTCTimestamp, value };
    });
    series.setData(rows);
  }
  made.times = [...all].sort((a, b) => a - b);
  made.drawn = (props.signs ?? []).map(shape);
  made.shown = null;
  chart.priceScale("right", 0).applyOptions({ mode: props.log ? PriceScaleMode.Logarithmic : PriceScaleMode.Normal });
  props.panes?.forEach((stretch, k) => chart.panes()[k]?.setStretchFactor(stretch));
  if (made.of !== props.of && made.times.length > 0) {
    made.of = props.of;
    chart.timeScale().fitContent();
    const k = props.chosen == null ? -1 : made.times.findIndex((time) => time >= (props.chosen ?? 0));
    // Once the chart knows how wide it is.
    if (k >= 0) setTimeout(() => near(made, k), REST_MS);
  }
}

/** Point to the bar that is chosen. */
function pointed(made: Made, props: ChartProps): void {
  const candle = props.chosen == null ? undefined : props.candles?.find((one) => one.time === props.chosen);
  if (candle === undefined || made.candles === null) made.chart.clearCrosshairPosition();
  else made.chart.setCrosshairPosition(candle.close, candle.time as UTCTimestamp, made.candles);
}

function near(made: Made, k: number): void {
  if (!made.gone) made.chart.timeScale().setVisibleLogicalRange({ from: k - BESIDE, to: k + BESIDE });
}

/** Candles and lines over one axis of time. Keys: left and right choose a bar, + and - zoom, 0 shows all. */
export function Chart(props: ChartProps): ReactNode {
  const place = useRef<HTMLDivElement>(null);
  const own = useRef<Made | null>(null);
  const given = useRef(props);
  given.current = props;
  const dark = useValue(shade);
  useEffect(() => {
    if (place.current === null) return;
    const chart = createChart(place.current, { autoSize: true, ...looks(given.current) });
    const made: Made = { chart, candles: null, lines: new Map(), signs: null, times: [], of: null, timer: 0, told: "", drawn: [], shown: null, gone: false };
    own.current = made;
    chart.subscribeClick((at) => at.time !== undefined && given.current.choose?.(Number(at.time)));
    // In the frame in which the chart is drawn: a text of its own frame would cost as much again.
    let time: number | null = null;
    let frame = 0;
    chart.subscribeCrosshairMove((at) => {
      time = at.time === undefined ? null : Number(at.time);
      if (frame === 0) {
        frame = requestAnimationFrame(() => {
          frame = 0;
          given.current.hover?.(time);
        });
      }
    });
    chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      clearTimeout(made.timer);
      made.timer = window.setTimeout(() => {
        signed(made, range);
        seen(made, range, given.current.sight);
      }, REST_MS);
    });
    return () => {
      clearTimeout(made.timer);
      own.current = null;
      made.gone = true;
      chart.remove();
    };
  }, []);
  useEffect(() => {
    own.current?.chart.applyOptions(looks(given.current));
  }, [dark, props.days, props.steps]);
  useEffect(() => {
    const made = own.current;
    if (made === null) return;
    const { chart } = made;
    const before = made.of === props.of ? chart.timeScale().getVisibleRange() : null;
    const right = chart.timeScale().getVisibleLogicalRange();
    const follows = right !== null && right.to >= made.times.length - 1.5;
    const [first] = made.times;
    drawn(made, props);
    const last = made.times[made.times.length - 1];
    // What grows at its end goes on as it is; what was asked for anew is shown from where it was shown to.
    if (before !== null && last !== undefined && !(follows && first === made.times[0])) {
      chart.timeScale().setVisibleRange(follows ? { from: before.from, to: last as UTCTimestamp } : before);
    }
    signed(made, chart.timeScale().getVisibleLogicalRange());
  }, [props.candles, props.lines, props.signs, props.log, props.of, dark]);
  useEffect(() => {
    const made = own.current;
    if (made === null || made.candles === null) return;
    pointed(made, props);
    // Once more when the chart has come to rest where it is to be.
    const timer = setTimeout(() => !made.gone && pointed(made, props), 2 * REST_MS);
    return () => clearTimeout(timer);
  }, [props.chosen, props.candles]);
  const key = (event: KeyboardEvent): void => {
    const made = own.current;
    if (made !== null && moved(made, event.key, props)) event.preventDefault();
  };
  const height = { height: props.height };
  return (
    <div className="chart" style={height} tabIndex={0} role="application" aria-label={props.label} onKeyDown={key}>
      <div className="canvas" ref={place} />
    </div>
  );
}

function seen(made: Made, range: LogicalRange | null, sight: ChartProps["sight"]): void {
  if (range === null || sight === undefined || made.times.length < 2) return;
  const at = (k: number): number => made.times[Math.max(0, Math.min(made.times.length - 1, k))] ?? 0;
  const [from, to] = [at(Math.floor(range.from)), at(Math.ceil(range.to))];
  const text = `${from} ${to}`;
  if (text === made.told || to <= from) return;
  made.told = text;
  sight(from, to);
}

function moved(made: Made, key: string, props: ChartProps): boolean {
  const scale = made.chart.timeScale();
  const range = scale.getVisibleLogicalRange();
  if (range === null) return false;
  const width = range.to - range.from;
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const { times } = made;
    const last = times.length - 1;
    const found = props.chosen == null ? last + 1 : times.findIndex((time) => time >= (props.chosen ?? 0));
    const next = Math.max(0, Math.min(last, found + (key === "ArrowLeft" ? -1 : 1)));
    const time = times[next];
    if (time === undefined || props.choose === undefined) return false;
    props.choose(time);
    if (next < range.from || next > range.to) {
      const to = Math.min(next + width / 2, last + 3);
      scale.setVisibleLogicalRange({ from: to - width, to });
    }
    return true;
  }
  if (key === "+" || key === "=" || key === "-") {
    const centre = (range.from + range.to) / 2;
    const next = width * (key === "-" ? 1.5 : 0.66);
    scale.setVisibleLogicalRange({ from: centre - next / 2, to: centre + next / 2 });
    return true;
  }
  if (key === "0") {
    scale.fitContent();
    return true;
  }
  return false;
}
