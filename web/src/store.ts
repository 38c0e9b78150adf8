// What is shown, with the time at which it was asked for. Nothing outlives the component that shows it: what is seen
// again is asked for again.
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { Problem, type Value, get } from "./api";
import { link, onEvents, onReset } from "./live";

export function useValue<T>(value: Value<T>): T {
  return useSyncExternalStore(value.subscribe, value.get);
}

const ticks = new Set<() => void>();
let now = Date.now();
setInterval(() => {
  now = Date.now();
  for (const one of [...ticks]) one();
}, 1_000);

/** This machine's time, a second old at the most. */
export function useNow(): number {
  return useSyncExternalStore(
    (one) => {
      ticks.add(one);
      return () => ticks.delete(one);
    },
    () => now,
  );
}

export interface Shown<T> {
  data: T | null;
  /** When it was asked for, ms since 1970; 0 = not yet. */
  at: number;
  problem: Problem | null;
  again: () => void;
}

export interface Watched {
  /** Sessions whose events change it; none named = every session. */
  session?: string | undefined;
  /** Kinds of events that change it; none named = no event does. */
  kinds?: readonly string[];
  /** Asked for again after so long in any case, ms. */
  every?: number;
  /** Not asked for more often, ms. */
  least?: number;
}

const EVERY_MS = 10_000;
const LEAST_MS = 500;

/** What a route answers; null = do not ask. */
export function useGet<T>(path: string | null, watched: Watched = {}): Shown<T> {
  const { session, kinds, every = EVERY_MS, least = LEAST_MS } = watched;
  const [shown, setShown] = useState<{ path: string | null; data: T | null; at: number; problem: Problem | null }>({
    path,
    data: null,
    at: 0,
    problem: null,
  });
  const state = useRef({ busy: false, due: false, began: 0, timer: 0, gone: false });
  const ask = useCallback(() => {
    const own = state.current;
    if (path === null || own.gone) return;
    if (own.busy || own.timer !== 0) {
      own.due = own.due || own.busy;
      return;
    }
    const wait = own.began + least - performance.now();
    if (wait > 0) {
      own.timer = window.setTimeout(() => {
        own.timer = 0;
        ask();
      }, wait);
      return;
    }
    own.busy = true;
    own.began = performance.now();
    const at = Date.now();
    const done = (data: T | null, problem: Problem | null): void => {
      own.busy = false;
      if (own.gone) return;
      setShown((was) => {
        const same = was.path === path;
        return problem === null
          ? { path, data, at, problem: null }
          : { path, data: same ? was.data : null, at: same ? was.at : 0, problem };
      });
      if (own.due) {
        own.due = false;
        ask();
      }
    };
    get<T>(path).then(
      (data) => done(data, null),
      (error: unknown) => done(null, error instanceof Problem ? error : new Problem(0, String(error))),
    );
  }, [path, least]);
  useEffect(() => {
    const own = { busy: false, due: false, began: -1e9, timer: 0, gone: false };
    state.current = own;
    ask();
    const timer = setInterval(() => document.visibilityState === "visible" && ask(), every);
    const back = (): void => {
      if (document.visibilityState === "visible") ask();
    };
    document.addEventListener("visibilitychange", back);
    const resets = onReset(ask);
    return () => {
      own.gone = true;
      clearTimeout(own.timer);
      clearInterval(timer);
      document.removeEventListener("visibilitychange", back);
      resets();
    };
  }, [ask, every]);
  const wanted = kinds?.join(",") ?? "";
  useEffect(() => {
    if (wanted === "") return;
    const names = new Set(wanted.split(","));
    return onEvents((changes) => {
      for (const [one, moved] of changes) {
        if ((session === undefined || one === session) && [...moved].some((kind) => names.has(kind))) {
          ask();
          return;
        }
      }
    });
  }, [ask, session, wanted]);
  const fits = shown.path === path;
  return { data: fits ? shown.data : null, at: fits ? shown.at : 0, problem: fits ? shown.problem : null, again: ask };
}

const LATE_MS = 30_000;

/** Whether what is shown may not be what is so: nobody answers, or it is old. */
export function useStale(shown: Shown<unknown>): boolean {
  const time = useNow();
  const { state } = useValue(link);
  return state === "lost" || shown.problem !== null || (shown.at > 0 && time - shown.at > LATE_MS);
}

/** A choice that this browser remembers; it is no figure. */
export function useKept(name: string, first: string): [string, (next: string) => void] {
  const key = `qframe-${name}`;
  const [held, setHeld] = useState(() => localStorage.getItem(key) ?? first);
  return [
    held,
    (next) => {
      localStorage.setItem(key, next);
      setHeld(next);
    },
  ];
}

export function usePlace(): string {
  return useSyncExternalStore(
    (one) => {
      window.addEventListener("hashchange", one);
      return () => window.removeEventListener("hashchange", one);
    },
    () => location.hash.replace(/^#/, "") || "/",
  );
}
