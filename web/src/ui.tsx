// The few parts that all pages are made of.
import {
  type FormEvent,
  type ReactNode,
  useEffect,
  useId,
  useRef,
  useState,
} from "react";
import { Problem, identity, newKey, serviceNow } from "./api";
import { clock, moment, ms, span } from "./format";
import { type Shown, useNow, useStale, useValue } from "./store";

export function classes(...names: (string | false | null | undefined)[]): string {
  return names.filter(Boolean).join(" ");
}

/** A part of a page, with its name, when its figures were asked for, and greyed where they are late. */
export function Panel(props: {
  title: string;
  of?: Shown<unknown> | undefined;
  side?: ReactNode;
  bare?: boolean;
  className?: string;
  children: ReactNode;
}): ReactNode {
  const id = useId();
  return (
    <section className={classes("panel", props.className)} aria-labelledby={id}>
      <header>
        <h2 id={id}>{props.title}</h2>
        {props.side}
        {props.of && <Asked of={props.of} />}
      </header>
      {props.of ? <Aged of={props.of}>{props.children}</Aged> : props.children}
    </section>
  );
}

const NEVER: Shown<unknown> = { data: null, at: 0, problem: null, again: () => undefined };

/** Greys what is in it while it may not be what is so. */
export function Aged(props: { of?: Shown<unknown>; children: ReactNode }): ReactNode {
  const of = props.of ?? NEVER;
  const stale = useStale(of);
  return (
    <>
      {of.problem && <Fault problem={of.problem} />}
      <div className={classes("figures", stale && "late")} data-late={stale || undefined}>
        {props.children}
      </div>
    </>
  );
}

/** When figures were asked for. */
export function Asked({ of }: { of: Shown<unknown> }): ReactNode {
  const stale = useStale(of);
  if (of.at === 0) return <span className="asked">{of.problem ? "not shown" : "asking…"}</span>;
  return (
    <time className={classes("asked", stale && "warn")} dateTime={new Date(of.at).toISOString()}>
      {stale ? `old: as of ${clock(of.at)} UTC` : `${clock(of.at)} UTC`}
    </time>
  );
}

export function Fault({ problem }: { problem: Problem | Error }): ReactNode {
  return (
    <p className="fault" role="alert">
      <span aria-hidden="true">✕ </span>
      {problem.message}
    </p>
  );
}

export function Empty({ children }: { children: ReactNode }): ReactNode {
  return <p className="empty">{children}</p>;
}

const STATES: Record<string, [string, string]> = {
  ACTIVE: ["●", "good"],
  RUNNING: ["●", "good"],
  DONE: ["✓", "good"],
  STARTING: ["◔", "note"],
  QUEUED: ["◌", "note"],
  STOPPING: ["◕", "note"],
  REDUCE_ONLY: ["◐", "warn"],
  FLATTEN: ["▼", "warn"],
  BACKOFF: ["↻", "warn"],
  HALTED: ["■", "bad"],
  FAILED: ["✕", "bad"],
  broken: ["✕", "bad"],
  CANCELLED: ["○", "faint"],
  STOPPED: ["○", "faint"],
};

/** A state by its sign and its word, and by its colour besides. */
export function Mark({ state, children }: { state: string; children?: ReactNode }): ReactNode {
  const [sign, tone] = STATES[state] ?? ["○", "faint"];
  return (
    <span className={`mark ${tone}`}>
      <span aria-hidden="true">{sign}</span> {children ?? state.replace("_", " ").toLowerCase()}
    </span>
  );
}

/** How old something is, counting. */
export function Age({ ns, word = "ago" }: { ns: string | null | undefined; word?: string }): ReactNode {
  useNow();
  const at = ms(ns);
  if (at === null) return <span className="faint">–</span>;
  return (
    <time dateTime={new Date(at).toISOString()} title={`${moment(at)} UTC`}>
      {span(serviceNow() - at)} {word}
    </time>
  );
}

export function Time({ ns }: { ns: string | null | undefined }): ReactNode {
  const at = ms(ns);
  // Nothing is as old as the clock: 0 stands for what has not been.
  return at === null || at === 0 ? <span className="faint">–</span> : <time dateTime={new Date(at).toISOString()}>{moment(at)}</time>;
}

/** A figure with its name. */
export function Stat(props: { name: string; value: ReactNode; under?: ReactNode; tone?: string | undefined }): ReactNode {
  return (
    <div className="stat">
      <dt>{props.name}</dt>
      <dd className={props.tone}>{props.value}</dd>
      {props.under !== undefined && <dd className="under">{props.under}</dd>}
    </div>
  );
}

export function tone(value: number | null | undefined): string | undefined {
  return !value ? undefined : value > 0 ? "up" : "down";
}

export interface Column<T> {
  name: string;
  /** Left or right; numbers stand right. */
  left?: boolean;
  /** Its name is for those who do not see the column alone. */
  unnamed?: boolean;
  /** Not shown on a phone. */
  wide?: boolean;
  cell: (row: T) => ReactNode;
}

export function Table<T>(props: {
  caption: string;
  columns: Column<T>[];
  rows: readonly T[];
  id: (row: T) => string;
  rowClass?: (row: T) => string | undefined;
  empty: ReactNode;
  limit?: number;
}): ReactNode {
  const [more, setMore] = useState(1);
  const limit = props.limit ?? 200;
  if (props.rows.length === 0) return <Empty>{props.empty}</Empty>;
  const shown = props.rows.slice(0, limit * more);
  return (
    <>
      <div className="scroll" tabIndex={0} role="group" aria-label={props.caption}>
        <table>
          <caption className="hidden">{props.caption}</caption>
          <thead>
            <tr>
              {props.columns.map((column) => (
                <th key={column.name} scope="col" className={classes(column.left && "left", column.wide && "wide")}>
                  {column.unnamed ? <span className="hidden">{column.name}</span> : column.name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((row) => (
              <tr key={props.id(row)} className={props.rowClass?.(row)}>
                {props.columns.map((column) => (
                  <td key={column.name} className={classes(column.left && "left", column.wide && "wide")}>
                    {column.cell(row)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {shown.length < props.rows.length && (
        <button type="button" className="more" onClick={() => setMore(more + 1)}>
          {props.rows.length - shown.length} more
        </button>
      )}
    </>
  );
}

/** Why somebody may not do something here; null = he may. */
export function useForbidden(scope: string): string | null {
  const { me } = useValue(identity);
  if (me === null) return "log in first";
  if (scope !== "read" && scope !== "admin" && !me.allow.includes(scope)) {
    return `the service allows this to nobody: start it with qframe serve --allow ${scope}`;
  }
  return me.scopes.includes(scope) ? null : `you lack the scope ${scope}: an admin gives it, or qframe token user ${me.name}`;
}

export interface Deed {
  name: string;
  /** What will happen, in words. */
  what: ReactNode;
  scope: string;
  /** To be typed, where it cannot be undone or moves money by itself later. */
  word?: string;
  /** Whether a browser's user gives the password again. */
  password?: boolean;
  danger?: boolean;
  /** The key is the same however often this dialog is sent: the service does it once. */
  act: (password: string | undefined, key: string) => Promise<void>;
}

/** A button for something that has consequences; dead, with what is missing, where it is not allowed. */
export function Act({ deed, className }: { deed: Deed; className?: string }): ReactNode {
  const [open, setOpen] = useState(false);
  const why = useForbidden(deed.scope);
  const id = useId();
  return (
    <>
      <button
        type="button"
        className={classes(deed.danger && "danger", className)}
        aria-disabled={why !== null}
        aria-describedby={why === null ? undefined : id}
        title={why ?? undefined}
        onClick={() => why === null && setOpen(true)}
      >
        {deed.name}
      </button>
      {why !== null && (
        <span id={id} className="hidden">
          Not allowed: {why}
        </span>
      )}
      {open && <Sure deed={deed} close={() => setOpen(false)} />}
    </>
  );
}

export function Sure({ deed, close }: { deed: Deed; close: () => void }): ReactNode {
  const { me } = useValue(identity);
  const key = useRef(newKey());
  const [typed, setTyped] = useState("");
  const [password, setPassword] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Error | null>(null);
  const ready = !busy && (deed.word === undefined || typed === deed.word) && (!deed.password || password !== "");
  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    if (!ready) return;
    setBusy(true);
    try {
      await deed.act(deed.password ? password : undefined, key.current);
      close();
    } catch (error) {
      setBusy(false);
      setProblem(error as Error);
    }
  };
  return (
    <Dialog title={deed.name} close={close}>
      <form onSubmit={(event) => void submit(event)}>
        <div className="what">{deed.what}</div>
        {deed.word !== undefined && (
          <label>
            {deed.danger ? "This cannot be undone. " : ""}Type {deed.word}
            <input value={typed} onChange={(e) => setTyped(e.target.value)} autoComplete="off" spellCheck={false} autoFocus />
          </label>
        )}
        {deed.password && (
          <label>
            Password of {me?.name}
            <input
              type="password"
              value={password}
              onChange={(e) => setPassword(e.target.value)}
              autoComplete="current-password"
              autoFocus={deed.word === undefined}
            />
          </label>
        )}
        {problem && <Fault problem={problem} />}
        <div className="buttons">
          <button type="button" onClick={close}>
            Cancel
          </button>
          <button type="submit" className={deed.danger ? "danger" : "main"} disabled={!ready}>
            {busy ? "asking…" : deed.name}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

export function Dialog(props: { title: string; close: () => void; children: ReactNode }): ReactNode {
  const own = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = own.current;
    if (dialog !== null && !dialog.open) dialog.showModal();
  }, []);
  return (
    <dialog ref={own} aria-labelledby={id} onClose={props.close} onCancel={props.close}>
      <h2 id={id}>{props.title}</h2>
      {props.children}
    </dialog>
  );
}

/** A small curve, for a row of a table; what it shows stands beside it in figures. */
export function Spark({ values, label }: { values: readonly number[]; label: string }): ReactNode {
  if (values.length < 2) return <span className="faint">–</span>;
  const low = Math.min(...values);
  const high = Math.max(...values);
  const scale = high > low ? 20 / (high - low) : 0;
  const step = 100 / (values.length - 1);
  const points = values.map((v, k) => `${(k * step).toFixed(1)},${(22 - (v - low) * scale).toFixed(1)}`).join(" ");
  return (
    <svg className="spark" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label={label}>
      <polyline points={points} vectorEffect="non-scaling-stroke" />
    </svg>
  );
}

export function Tabs(props: { names: readonly string[]; chosen: string; choose: (name: string) => void; label: string }): ReactNode {
  const { names, chosen } = props;
  const move = (by: number): void => {
    const next = names[(names.indexOf(chosen) + by + names.length) % names.length];
    if (next === undefined) return;
    props.choose(next);
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <div className="tabs" role="tablist" aria-label={props.label}>
      {names.map((name) => (
        <button
          key={name}
          id={`tab-${name}`}
          type="button"
          role="tab"
          aria-selected={name === chosen}
          tabIndex={name === chosen ? 0 : -1}
          onClick={() => props.choose(name)}
          onKeyDown={(event) => {
            if (event.key === "ArrowRight") move(1);
            else if (event.key === "ArrowLeft") move(-1);
          }}
        >
          {name}
        </button>
      ))}
    </div>
  );
}

/** How much of a limit is used: in words, and as a bar besides. */
export function Meter({ name, used, words }: { name: string; used: number; words: string }): ReactNode {
  const level = used >= 1 ? "bad" : used >= 0.8 ? "warn" : "";
  const said = used >= 1 ? "✕ reached" : used >= 0.8 ? "⚠ near" : "";
  return (
    <div className={`meter ${level}`}>
      <span>
        {name}: {words}, {Math.round(used * 100)}% {said}
      </span>
      <div className="track" aria-hidden="true">
        <div style={{ width: `${Math.max(0, Math.min(100, used * 100))}%` }} />
      </div>
    </div>
  );
}
