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
  day_start: number | null;
  alerts_waiting: number | null;
  ill: string | null;
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
