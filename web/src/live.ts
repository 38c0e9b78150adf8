// The one stream of events: read as it comes, silent for too long it is given up and taken up where it broke.
import { API, Problem, Value, headers, identity, leftBehind, problemOf } from "./api";

export interface JournalEvent {
  session: string;
  seq: number;
  kind: string;
  at: string;
  time_ns: string;
  data: Record<string, unknown>;
}

export interface Link {
  state: "off" | "joining" | "live" | "lost" | "resting";
  /** When the first byte of this connection came, or when it broke; ms since 1970. */
  since: number;
  why: string | null;
  taken: number;
  doubled: number;
  missing: number;
  resets: number;
}

/** A comment comes every 15 s; this long without a byte, and nobody is there. */
const SILENCE_MS = 17_000;
const LOOK_MS = 1_000;
const HIDDEN_MS = 60_000;
const WAITS_MS = [250, 1_000, 2_000, 4_000];

type Told = (changes: Map<string, Set<string>>) => void;

const listeners = new Set<Told>();
const resetters = new Set<() => void>();
const last = new Map<string, number>();
let cursor: string | null = null;
let heard = 0;
let abort: AbortController | null = null;
let running = false;
/** Which loop is the present one: a tab may log out and in again while one waits. */
let turn = 0;
let waiting: Map<string, Set<string>> | null = null;
let counts = { taken: 0, doubled: 0, missing: 0, resets: 0 };

export const link = new Value<Link>({ state: "off", since: Date.now(), why: null, ...counts });

function say(state: Link["state"], why: string | null = null): void {
  const was = link.get();
  const since = was.state === state ? was.since : Date.now();
  link.set({ state, since, why, ...counts });
}

/** Be told, at most once a frame, in which sessions events of which kinds came. */
export function onEvents(told: Told): () => void {
  listeners.add(told);
  return () => listeners.delete(told);
}

/** Be told to read anew what is shown. */
export function onReset(told: () => void): () => void {
  resetters.add(told);
  return () => resetters.delete(told);
}

function reset(): void {
  for (const one of [...resetters]) one();
}

function taken(event: JournalEvent): void {
  const before = last.get(event.session);
  if (before !== undefined && event.seq <= before) {
    counts.doubled += 1;
    return;
  }
  if (before !== undefined && event.seq > before + 1) counts.missing += event.seq - before - 1;
  last.set(event.session, event.seq);
  counts.taken += 1;
  if (waiting === null) {
    waiting = new Map();
    setTimeout(flush, 16);
  }
  const kinds = waiting.get(event.session) ?? new Set<string>();
  kinds.add(event.kind);
  waiting.set(event.session, kinds);
}

function flush(): void {
  const changes = waiting ?? new Map<string, Set<string>>();
  waiting = null;
  for (const one of [...listeners]) one(changes);
  say(link.get().state, link.get().why);
}

function message(lines: string[]): void {
  let event = "";
  let data = "";
  let id: string | null = null;
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const name = line.slice(0, colon);
    const value = line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") event = value;
    else if (name === "data") data = value;
    else if (name === "id") id = value;
  }
  if (event === "journal") taken(JSON.parse(data) as JournalEvent);
  else if (event === "reset") {
    counts.resets += 1;
    last.clear();
    reset();
  }
  if (id !== null) cursor = id;
}

async function listen(): Promise<void> {
  abort = new AbortController();
  const given: Record<string, string> = { ...headers(), accept: "text/event-stream" };
  if (cursor !== null) given["last-event-id"] = cursor;
  heard = performance.now();
  const answer = await fetch(`${API}/events`, { headers: given, cache: "no-store", signal: abort.signal });
  if (!answer.ok || answer.body === null) throw await problemOf(answer);
  heard = performance.now();
  say("live");
  reset();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Problem(0, "the service closed the stream.");
    heard = performance.now();
    const parts = (rest + value).split("\n\n");
    rest = parts.pop() ?? "";
    for (const part of parts) message(part.split("\n"));
  }
}

async function run(): Promise<void> {
  const mine = ++turn;
  for (let failed = 0; running && turn === mine; ) {
    const began = performance.now();
    try {
      await listen();
    } catch (error) {
      if (!running || turn !== mine) return;
      const problem = error instanceof Problem ? error : new Problem(0, "the service does not answer.");
      if (problem.status === 401) return leftBehind(problem);
      if (link.get().state !== "resting") say("lost", problem.message);
    }
    failed = performance.now() - began > 10_000 ? 0 : failed + 1;
    await pause(WAITS_MS[Math.min(failed, WAITS_MS.length - 1)] ?? 4_000);
    while (running && link.get().state === "resting") await pause(LOOK_MS);
  }
}

let wake: (() => void) | null = null;

function pause(ms: number): Promise<void> {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    wake = () => {
      clearTimeout(timer);
      done();
    };
  });
}

function watch(): void {
  if (link.get().state === "live" && performance.now() - heard > SILENCE_MS) {
    say("lost", `nothing came for ${Math.round(SILENCE_MS / 1000)} s.`);
    abort?.abort();
  }
}

let hidden: ReturnType<typeof setTimeout> | undefined;

/** A tab that nobody sees for a minute hangs up: a browser has six connections to a service for all its tabs. */
function seen(): void {
  clearTimeout(hidden);
  if (document.visibilityState === "hidden") {
    hidden = setTimeout(() => {
      say("resting");
      abort?.abort();
    }, HIDDEN_MS);
  } else if (link.get().state === "resting") {
    say("joining");
    wake?.();
  }
}

function offline(): void {
  say("lost", "this machine has no network.");
  abort?.abort();
}

export function start(): void {
  if (running) return;
  running = true;
  counts = { taken: 0, doubled: 0, missing: 0, resets: 0 };
  cursor = null;
  last.clear();
  say("joining");
  void run();
}

export function stop(): void {
  running = false;
  abort?.abort();
  wake?.();
  say("off");
}

setInterval(watch, LOOK_MS);
document.addEventListener("visibilitychange", seen);
window.addEventListener("offline", offline);
window.addEventListener("online", () => wake?.());
identity.subscribe(() => (identity.get().state === "in" ? start() : stop()));
