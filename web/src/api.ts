// Requests to the service, and who asks. A pasted token lives as long as its tab; a login is a cookie that no script sees.

export const API = "/api/v1";
const TOKEN = "qframe-token";
const PATIENCE_MS = 15_000;
const SLOW = /\/(strategies|markets|sight|backtest|compare)/;

/** An answer that is an error: one sentence that says what is wrong and how to mend it. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    detail: string,
    readonly needs: string | null = null,
    readonly needsAllow: string | null = null,
  ) {
    super(detail);
  }
}

export interface Me {
  name: string;
  scopes: string[];
  allow: string[];
  expires_ns: string | null;
}

type Listener = () => void;

/** Something that components look at. */
export class Value<T> {
  private listeners = new Set<Listener>();
  constructor(private held: T) {}
  get = (): T => this.held;
  set(next: T): void {
    if (Object.is(next, this.held)) return;
    this.held = next;
    for (const one of [...this.listeners]) one();
  }
  subscribe = (one: Listener): Listener => {
    this.listeners.add(one);
    return () => this.listeners.delete(one);
  };
}

export interface Identity {
  state: "asking" | "in" | "out";
  me: Me | null;
  why: string | null;
}

export const identity = new Value<Identity>({ state: "asking", me: null, why: null });
/** Milliseconds that the service's clock is ahead of this machine's. */
export const skew = new Value(0);

let token: string | null = sessionStorage.getItem(TOKEN);

export function headers(): Record<string, string> {
  return token === null ? {} : { authorization: `Bearer ${token}` };
}

export function byToken(): boolean {
  return token !== null;
}

/** The service's time, ms since 1970. */
export function serviceNow(): number {
  return Date.now() + skew.get();
}

function clocked(answer: Response): void {
  const said = Date.parse(answer.headers.get("date") ?? "");
  // Whole seconds alone are told: less than two of them are no difference.
  if (Number.isFinite(said)) skew.set(Math.abs(said - Date.now()) > 2_000 ? said - Date.now() : 0);
}

export async function problemOf(answer: Response): Promise<Problem> {
  let detail = `the service answered ${answer.status}`;
  let needs: string | null = null;
  let allow: string | null = null;
  try {
    const said = (await answer.json()) as Record<string, unknown>;
    if (typeof said.detail === "string") detail = said.detail;
    if (typeof said.needs === "string") needs = said.needs;
    if (typeof said.needs_allow === "string") allow = said.needs_allow;
  } catch {
    detail = `${detail}, which is no sentence of its own`;
  }
  return new Problem(answer.status, detail, needs, allow);
}

export interface Asked<T> {
  data: T;
  etag: string | null;
}

/** Ask for something; throws a `Problem`, of status 0 where nobody answers. */
export async function asked<T>(
  method: string,
  path: string,
  body?: unknown,
  more: Record<string, string> = {},
): Promise<Asked<T>> {
  const given: Record<string, string> = { ...headers(), ...more };
  if (body !== undefined) given["content-type"] = "application/json";
  let answer: Response;
  try {
    answer = await fetch(`${API}${path}`, {
      method,
      headers: given,
      cache: "no-store",
      signal: AbortSignal.timeout(SLOW.test(path) ? 120_000 : PATIENCE_MS),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new Problem(0, "the service does not answer.");
  }
  clocked(answer);
  if (!answer.ok) {
    const problem = await problemOf(answer);
    if (problem.status === 401 && path !== "/login") leftBehind(problem);
    throw problem;
  }
  const text = answer.status === 204 ? "" : await answer.text();
  return { data: (text === "" ? null : JSON.parse(text)) as T, etag: answer.headers.get("etag") };
}

export async function get<T>(path: string): Promise<T> {
  return (await asked<T>("GET", path)).data;
}

export async function post<T>(path: string, body: unknown, key: string = newKey()): Promise<T> {
  return (await asked<T>("POST", path, body, { "idempotency-key": key })).data;
}

/** With the same key the service does a thing once, however often it is sent. */
/** A body with the password where one was asked for. */
export function withPassword(body: Record<string, unknown>, password: string | undefined): Record<string, unknown> {
  return password === undefined ? body : { ...body, password };
}

export function newKey(): string {
  return crypto.getRandomValues(new Uint8Array(16)).reduce((text, byte) => text + byte.toString(16).padStart(2, "0"), "");
}

export function leftBehind(problem: Problem): void {
  const was = identity.get();
  token = null;
  sessionStorage.removeItem(TOKEN);
  // Several requests may be refused one after the other: the first says why.
  const why = was.state === "in" ? `You are logged out: ${problem.message}` : was.why;
  identity.set({ state: "out", me: null, why });
}

export async function whoAsks(): Promise<void> {
  try {
    identity.set({ state: "in", me: await get<Me>("/me"), why: null });
  } catch (error) {
    const problem = error as Problem;
    if (problem.status !== 401) identity.set({ state: "out", me: null, why: problem.message });
  }
}

export async function login(name: string, password: string): Promise<void> {
  await asked<null>("POST", "/login", { name, password });
  await whoAsks();
}

export async function withToken(given: string): Promise<void> {
  token = given.trim();
  try {
    const me = await get<Me>("/me");
    sessionStorage.setItem(TOKEN, token);
    identity.set({ state: "in", me, why: null });
  } catch (error) {
    token = null;
    throw error;
  }
}

export async function logout(): Promise<void> {
  try {
    await asked<null>("POST", "/logout");
  } finally {
    token = null;
    sessionStorage.removeItem(TOKEN);
    identity.set({ state: "out", me: null, why: null });
  }
}
