// What the API answers, as far as the page reads it.

export interface Session {
  id: string;
  name: string;
  state: string;
  running: boolean;
  agent: string | null;
  orders: string | null;
  environment: string | null;
  symbols: string[];
  position: (number | null)[];
  equity: number | null;
  peak: number | null;
  bars: number | null;
  time_ns: string | null;
  decided_ns: string | null;
  bar_ns: string | null;
  drift_bps: number | null;
  promise: { answer: "inside" | "below" | "too early"; sharpe: number | null; low: number; high: number } | null;
  locked: string[];
  paused: string[];
  shadows: Record<string, Shadow>;
  model: Model | null;
  day_start: number | null;
  alerts_waiting: number | null;
  ill: string | null;
}

export interface Shadow {
  answer: "ahead" | "behind" | "open";
  bars: number;
  mean: number | null;
  low: number | null;
  high: number | null;
  gone: boolean;
}

export interface Model {
  number: number;
  state: "taken" | "refused" | "late" | "failed";
  time_ns: string;
  until_ns: string;
  digest: string;
  reason: string;
}

export interface EquityPoint {
  seq: number;
  time_ns: string;
  equity: number;
  cash: number;
  gross: number;
  net: number;
}

export interface Fill {
  seq: number;
  time_ns: string;
  symbol: string;
  quantity: number;
  price: number;
  fee: number;
  cost: number;
  forced: boolean;
}

export interface Bars {
  symbol: string;
  symbols: string[];
  bar_ns: string;
  n: number;
  time_ns: string[];
  open: (number | null)[];
  high: (number | null)[];
  low: (number | null)[];
  close: (number | null)[];
  volume: (number | null)[];
  bought: number[];
  sold: number[];
  cuts: number[];
}

export interface Order {
  symbol: string;
  quantity: number;
  limit: number | null;
  stop: number | null;
}

export interface Account {
  cash: number;
  equity: number;
  position: (number | null)[];
  mark: (number | null)[];
}

export interface Inspected {
  time_ns: string;
  symbols: string[];
  bar: { symbol: string; open: number; high: number; low: number; close: number; volume: number }[];
  seq: number | null;
  account: Account | null;
  asked: Order[];
  sent: Order[];
  reasons: string[];
  state: string | null;
  sight: string;
  settled: number | null;
  settled_ns: string | null;
  after: Account | null;
  fills: (Order & {
    price: number | null;
    rule: string;
    fee: number;
    spread: number;
    impact: number;
    funding: number;
    cancelled: number;
  })[];
  news: { seq: number; kind: string; data: Record<string, unknown> }[];
}

export interface Command {
  number: string;
  word: string;
  asked_ns: string | null;
  by: string | null;
  obeyed: number | null;
  obeyed_at_ns: string | null;
  refused: string | null;
}

export interface Alert {
  id: number;
  session: string;
  name: string;
  time_ns: string;
  rule: string;
  text: string;
  tries: number;
  sent_ns: string | null;
}

export interface StoredEvent {
  seq: number;
  kind: string;
  time_ns: string;
  data: Record<string, unknown>;
}

export interface Chain {
  holds: boolean;
  why: string | null;
  events: number | null;
  head: string | null;
}

export interface Health {
  ok: boolean;
  version: string;
  allow: string[];
  sessions: number;
  broken: number;
  listeners: number;
}

export interface RunRow {
  id: string;
  kind: string;
  name: string;
}

export interface ScoreRow {
  agent: string;
  split: string;
  verdict: string;
  final_equity: number;
  initial_equity: number;
  sharpe: number;
  sharpe_low: number;
  sharpe_high: number;
  excess_sharpe: number;
  psr: number;
  dsr: number;
  max_drawdown: number;
  exposure: number;
  turnover: number;
  trades: number;
  trials: number;
  costs: number;
  [more: string]: unknown;
}

export interface Run extends RunRow {
  under_way: boolean;
  leaderboard: ScoreRow[];
  verdict: { headline: string; tone: string; reasons: string[] } | null;
  choice: { agent: string; promoted: boolean; forced: boolean; reason: string } | null;
  data: Record<string, unknown> | null;
  experiment: { agents?: string[]; seeds?: number; agent?: Record<string, Record<string, unknown>> } | null;
  records: { name: string; bars: number }[];
  trained: string[];
  reports: string[];
}

export interface Curve {
  tag: string;
  steps: number[];
  values: number[];
  walls: number[];
}

export interface Trials {
  dataset: string;
  fingerprint: string;
  rows: number;
  trials: number;
  effective: number | null;
  agents: string[];
  best: string;
  best_ratio: number | null;
  luck_ratio: number;
  since: string;
  until: string;
  bars: number;
}

export interface Compared {
  of: string;
  name: string;
  problem: string | null;
  bars: number;
  window: number;
  time_ns: string[];
  growth: number[];
  drawdown: number[];
  exposure: number[];
  sharpe: (number | null)[];
  sharpe_low: (number | null)[];
  sharpe_high: (number | null)[];
  first: number;
  last: number;
  max_drawdown: number;
}

export interface AgainstBacktest {
  time_ns: string[];
  live: number[];
  backtest: number[];
  drift_bps: number[];
  last_bps: number;
  worst_bps: number;
  bars: number;
  identical: boolean;
  fills: number;
}

export interface Checkpoint {
  id: string;
  name: string;
  agent: string | null;
  market: string | null;
  symbols: string[];
  bar_ns: string | null;
  promoted: boolean | null;
  broken: string | null;
}

export interface Job {
  id: string;
  spec: { kind: string; names: string[]; symbols: string | null; options: Record<string, string>; settings: Record<string, string>; hours: number };
  state: string;
  who: string;
  asked_ns: string;
  ended_ns: string | null;
  tries: number;
  cancel: boolean;
  why: string;
}

export interface Supervised {
  name: string;
  session: string | null;
  spec: Record<string, unknown> & { checkpoint: string };
  desired: string;
  revision: number;
  state: string;
  pid: number | null;
  since_ns: string;
  why: string;
}

export interface Token {
  id: string;
  name: string;
  owner: string | null;
  scopes: string[];
  made_ns: string;
  expires_ns: string | null;
  browser: boolean;
}

export interface User {
  name: string;
  scopes: string[];
}

export interface Audit {
  id: number;
  time_ns: string;
  who: string;
  what: string;
  on_what: string;
  outcome: string;
}

export interface Schema {
  title?: string;
  description?: string;
  type?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  $ref?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  pattern?: string;
  $defs?: Record<string, Schema>;
}

export interface Catalogued {
  name: string;
  about: string;
  schema: Schema;
  problem?: boolean;
}

export interface Member {
  name: string;
  session: string | null;
  share: number | null;
  joined: boolean;
  equity: number;
  weight: number;
  gross: number;
  positions: Record<string, number>;
  state: string;
  time_ns: string;
  mark: string;
  why: string;
  settled: string;
  ramp: RampState | null;
}

export interface RampState {
  steps: string;
  step: number;
  share: number;
  served_ns: string;
  moving: boolean;
  why: string;
}

export interface Waiting {
  transfer: string;
  member: string;
  units: string;
  since_ns: string;
  why: string;
}

export interface Notice {
  seq: number;
  time_ns: string;
  rule: string;
  text: string;
  alert: boolean;
  sent_ns: string | null;
}

export interface Benchmark {
  symbols: string[];
  time_ns: string[];
  worth: number[];
}

export interface Portfolio {
  id: string;
  currency: string;
  revision: number;
  state: string;
  why: string[];
  equity: number;
  worth: number;
  contributions: string;
  unallocated: string;
  in_transit: string;
  method: string;
  every: string | null;
  band: number;
  limits: Record<string, number | string | null>;
  due_ns: string | null;
  rebalancing: boolean;
  not_rebalanced: string;
  waiting: Waiting[];
  looked_ns: string | null;
  members: Member[];
}

export interface Position {
  member: string;
  pair: string;
  value: number;
  weight: number;
}

export interface WorthPoint {
  time_ns: string;
  equity: number;
  worth: number;
  gross: number;
  unallocated: string;
  in_transit: string;
}

export interface Risk {
  state: string;
  why: string[];
  equity: number;
  peak: number;
  day_start: number;
  drawdown: number;
  daily_loss: number;
  gross: number;
  leverage: number;
  net: Record<string, number>;
  limits: { name: string; bound: number; now: number; used: number }[];
  marked: string[];
}

export interface Entry {
  seq: number;
  time_ns: string;
  entry: string;
  kind: string;
  source: string;
  target: string;
  units: string;
  who: string;
}

export interface Transfer {
  id: string;
  member: string | null;
  units: string;
  state: string;
  why: string;
  who: string;
  asked_ns: string;
  sent_ns: string | null;
  ended_ns: string | null;
  waiting_ns: string | null;
}
