// Numbers and times for people. Times are UTC, and say so.

const NONE = "–";

export function ms(ns: string | null | undefined): number | null {
  return ns === null || ns === undefined ? null : Number(BigInt(ns) / 1_000_000n);
}

export function ns(time: number): string {
  return (BigInt(Math.round(time)) * 1_000_000n).toString();
}

function grouped(value: number, digits: number): string {
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function money(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : grouped(value, 2).replace("-", "−");
}

/** As many digits as tell prices of this size apart. */
export function price(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  const size = Math.abs(value);
  return grouped(value, size >= 1000 ? 2 : size >= 1 ? 4 : 6).replace("-", "−");
}

export function amount(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  return Number(value.toPrecision(7)).toLocaleString("en-US", { maximumFractionDigits: 8 }).replace("-", "−");
}

export function signed(value: number | null | undefined, digits = 2, unit = ""): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const text = grouped(Math.abs(value), digits);
  const zero = Number(text.replaceAll(",", "")) === 0;
  return `${zero ? "" : value > 0 ? "+" : "−"}${text}${unit}`;
}

export function percent(value: number | null | undefined, digits = 2): string {
  return value === null || value === undefined ? NONE : signed(value * 100, digits, "%");
}

export function share(value: number | null | undefined, digits = 1): string {
  return value === null || value === undefined ? NONE : `${grouped(value * 100, digits).replace("-", "−")}%`;
}

export function figure(value: number | null | undefined, digits = 2): string {
  return value === null || value === undefined || !Number.isFinite(value) ? NONE : grouped(value, digits).replace("-", "−");
}

export function whole(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : grouped(value, 0);
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

/** 2026-01-31 12:00, with seconds where there are any. */
export function moment(time: number | null): string {
  if (time === null) return NONE;
  const at = new Date(time);
  const day = `${at.getUTCFullYear()}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())}`;
  const clock = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
  return `${day} ${clock}${at.getUTCSeconds() === 0 ? "" : `:${two(at.getUTCSeconds())}`}`;
}

export function clock(time: number): string {
  const at = new Date(time);
  return `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}`;
}

/** 42 s, 3.5 h. */
export function span(length: number): string {
  const seconds = Math.max(0, length / 1000);
  for (const [size, unit] of [
    [86_400, "d"],
    [3_600, "h"],
    [60, "min"],
  ] as const) {
    if (seconds >= 2 * size) return `${(seconds / size).toFixed(1)} ${unit}`;
  }
  return `${seconds.toFixed(0)} s`;
}

/** The name of a bar's length: 1h, 5m. */
export function timeframe(bar: string | null | undefined): string {
  const length = ms(bar);
  if (length === null) return NONE;
  for (const [size, unit] of [
    [86_400_000, "d"],
    [3_600_000, "h"],
    [60_000, "m"],
    [1_000, "s"],
  ] as const) {
    if (length % size === 0) return `${length / size}${unit}`;
  }
  return `${length} ms`;
}

/** Whole units of 1e-8, exactly: at least two digits after the point, and no zero that says nothing. */
export function units(text: string | null | undefined): string {
  if (text === null || text === undefined) return NONE;
  const value = BigInt(text);
  const digits = (value < 0n ? -value : value).toString().padStart(9, "0");
  const tail = digits.slice(-8).replace(/0{1,6}$/, "");
  return `${value < 0n ? "−" : ""}${Number(digits.slice(0, -8)).toLocaleString("en-US")}.${tail}`;
}
