import { type FormEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { asked, get, newKey, post } from "../api";
import { SchemaForm, type Values } from "../schema";
import { useGet } from "../store";
import type { Catalogued, Checkpoint, Job, RunRow } from "../types";
import { Act, Age, Empty, Fault, Mark, Panel, Table, Time, useForbidden } from "../ui";

const EVERY_MS = 2_000;
const KINDS: Record<string, string> = {
  train: "Trains strategies, chooses one by its validation bars, and scores all on test bars.",
  evaluate: "Judges strategies or checkpoints through time.",
  tune: "Searches for the parameters of one strategy.",
  report: "Makes the page and the PDF of runs.",
  download: "Fetches bars of an exchange into the worker's store.",
};

export function JobsPage({ query }: { query: string }): ReactNode {
  const shown = useGet<Job[]>("/jobs", { every: EVERY_MS });
  const rows = shown.data ?? [];
  return (
    <>
      <div className="head">
        <h1>Jobs</h1>
        <span className="faint">
          a worker does them, one after another: <span className="mono">qframe worker</span>
        </span>
      </div>
      <NewJob query={query} done={shown.again} />
      <Panel title="Newest first" of={shown}>
        {shown.data !== null && (
          <Table
            caption="Jobs"
            rows={rows}
            id={(one) => one.id}
            empty="Nobody has asked for any."
            limit={50}
            columns={[
              { name: "Job", left: true, cell: (one) => <a href={`#/job/${one.id}`}>{one.id}</a> },
              { name: "State", left: true, cell: (one) => <JobState job={one} /> },
              { name: "Kind", left: true, cell: (one) => one.spec.kind },
              { name: "Of what", left: true, cell: (one) => <span className="text">{one.spec.names.join(", ") || one.spec.symbols || "–"}</span> },
              { name: "Asked, UTC", left: true, wide: true, cell: (one) => <Time ns={one.asked_ns} /> },
              { name: "Ended", wide: true, cell: (one) => (one.ended_ns === null ? "–" : <Age ns={one.ended_ns} />) },
              { name: "By", left: true, wide: true, cell: (one) => one.who },
            ]}
          />
        )}
      </Panel>
    </>
  );
}

function JobState({ job }: { job: Job }): ReactNode {
  const word = job.cancel && job.state === "RUNNING" ? "being cancelled" : job.state.toLowerCase();
  return (
    <>
      <Mark state={job.state}>{word}</Mark>
      {job.tries > 1 && <span className="faint"> try {job.tries}</span>}
      {job.why !== "" && <span className="text"> {job.why}</span>}
    </>
  );
}

function NewJob({ query, done }: { query: string; done: () => void }): ReactNode {
  const given = new URLSearchParams(query);
  const why = useForbidden("jobs");
  const [kind, setKind] = useState(given.get("kind") ?? "train");
  const [names, setNames] = useState<string[]>((given.get("names") ?? "").split(",").filter(Boolean));
  const [symbols, setSymbols] = useState("");
  const [options, setOptions] = useState<Values>({});
  const [settings, setSettings] = useState<Record<string, Values>>({});
  const [problem, setProblem] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const [open, setOpen] = useState(given.has("kind"));
  const key = useRef(newKey());
  const kinds = useGet<Record<string, string[]>>(open ? "/job-kinds" : null, { every: 3_600_000 });
  const strategies = useGet<Catalogued[]>(open ? "/strategies" : null, { every: 3_600_000 });
  const runs = useGet<RunRow[]>(open ? "/runs" : null, { every: 60_000 });
  const checkpoints = useGet<Checkpoint[]>(open ? "/checkpoints" : null, { every: 60_000 });
  const agents = (strategies.data ?? []).map((one) => one.name);
  const ids = (checkpoints.data ?? []).map((one) => one.id);
  const choices =
    kind === "report" ? [...(runs.data ?? []).map((one) => one.id), ...ids] : kind === "evaluate" ? [...agents, ...ids] : agents;
  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    const plain = Object.fromEntries(
      names.flatMap((name) => Object.entries(settings[name] ?? {}).map(([field, value]) => [`agent.${name}.${field}`, value])),
    );
    const spec = { kind, names, symbols: symbols === "" ? null : symbols, options, settings: plain };
    try {
      const job = await post<Job>("/jobs", spec, key.current);
      key.current = newKey();
      done();
      location.hash = `/job/${job.id}`;
    } catch (error) {
      key.current = newKey();
      setProblem(error as Error);
      setBusy(false);
    }
  };
  return (
    <section className="panel" aria-label="A new job">
      <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary className="pad">Ask for a job{why === null ? "" : `: ${why}`}</summary>
        <form className="pad" onSubmit={(event) => void submit(event)}>
          <div className="fields">
            <label>
              What
              <select
                value={kind}
                onChange={(event) => {
                  setKind(event.target.value);
                  setNames([]);
                  setOptions({});
                }}
              >
                {Object.keys(KINDS).map((one) => (
                  <option key={one}>{one}</option>
                ))}
              </select>
              <span className="hint">{KINDS[kind]}</span>
            </label>
            {kind !== "download" && (
              <label>
                Add {kind === "report" ? "a run or a checkpoint" : "a strategy"}
                <select value="" onChange={(event) => setNames([...new Set([...names, event.target.value])])}>
                  <option value="">{choices.length > 0 ? "choose…" : strategies.problem ? "cannot be read" : "asking…"}</option>
                  {choices.map((one) => (
                    <option key={one}>{one}</option>
                  ))}
                </select>
                <span className="hint">{names.length === 0 ? "none chosen" : `${names.length} chosen`}</span>
              </label>
            )}
            {kind !== "report" && (
              <label>
                Symbols
                <input value={symbols} onChange={(e) => setSymbols(e.target.value)} placeholder="BTC/USDT,ETH/USDT" spellCheck={false} />
                <span className="hint">of the worker's store; empty = as the data option says</span>
              </label>
            )}
          </div>
          {names.length > 0 && (
            <div className="row">
              {names.map((name) => (
                <button key={name} type="button" onClick={() => setNames(names.filter((one) => one !== name))} aria-label={`Leave ${name} out`}>
                  {name} ✕
                </button>
              ))}
            </div>
          )}
          <div className="fields">
            {(kinds.data?.[kind] ?? []).map((name) => (
              <label key={name}>
                {name}
                <input
                  value={options[name] ?? ""}
                  placeholder={PLACEHOLDERS[name] ?? ""}
                  spellCheck={false}
                  onChange={(event) => {
                    const { [name]: _, ...rest } = options;
                    setOptions(event.target.value === "" ? rest : { ...rest, [name]: event.target.value });
                  }}
                />
              </label>
            ))}
          </div>
          {kind !== "report" &&
            (strategies.data ?? [])
              .filter((one) => names.includes(one.name))
              .map((one) => (
                <details key={one.name}>
                  <summary>Parameters of {one.name}</summary>
                  <p className="hint">{one.about.replaceAll("`", "")}</p>
                  <SchemaForm
                    prefix={one.name}
                    schema={one.schema}
                    defs={one.schema.$defs ?? {}}
                    values={settings[one.name] ?? {}}
                    change={(next) => setSettings({ ...settings, [one.name]: next })}
                  />
                </details>
              ))}
          {problem && <Fault problem={problem} />}
          <div className="buttons">
            <button type="submit" className="main" disabled={busy || why !== null}>
              {busy ? "asking…" : `Queue this ${kind}`}
            </button>
          </div>
        </form>
      </details>
    </section>
  );
}

const PLACEHOLDERS: Record<string, string> = {
  preset: "quick",
  timeframe: "1h",
  from: "2023-01-01",
  to: "2024-01-01",
  seeds: "3",
  seed: "0",
  env: "spot",
  bars: "6000",
  data: "synthetic:regimes",
  exchange: "binance",
  budget: "20",
};

export function JobPage({ id }: { id: string }): ReactNode {
  const shown = useGet<Job>(`/jobs/${id}`, { every: EVERY_MS });
  const job = shown.data;
  const ended = job !== null && job.ended_ns !== null;
  return (
    <>
      <div className="head">
        <h1>Job {id}</h1>
        {job && <JobState job={job} />}
        <span className="room" />
        {job && !ended && (
          <Act
            deed={{
              name: "Cancel",
              scope: "jobs",
              danger: true,
              what: (
                <p>
                  This {job.spec.kind} ends; {job.state === "QUEUED" ? "it has not begun." : "what it has done so far stays in its folder."}
                </p>
              ),
              act: async () => {
                await asked("DELETE", `/jobs/${id}`);
                shown.again();
              },
            }}
          />
        )}
      </div>
      {shown.problem && <Fault problem={shown.problem} />}
      {job && (
        <Panel title="What was asked" of={shown}>
          <dl className="pairs">
            <dt>Kind</dt>
            <dd>{job.spec.kind}</dd>
            <dt>Names</dt>
            <dd>{job.spec.names.join(", ") || "none"}</dd>
            <dt>Symbols</dt>
            <dd>{job.spec.symbols ?? "as the options say"}</dd>
            <dt>Options</dt>
            <dd className="mono">{said(job.spec.options)}</dd>
            <dt>Settings</dt>
            <dd className="mono">{said(job.spec.settings)}</dd>
            <dt>Asked</dt>
            <dd>
              <Time ns={job.asked_ns} /> UTC by {job.who}
            </dd>
            <dt>Ended</dt>
            <dd>
              <Time ns={job.ended_ns} />
            </dd>
          </dl>
        </Panel>
      )}
      <Log id={id} ended={ended} />
    </>
  );
}

function said(values: Record<string, string>): string {
  return Object.entries(values).map(([name, value]) => `${name}=${value}`).join(" ") || "none";
}

/** What it says, as it says it. */
function Log({ id, ended }: { id: string; ended: boolean }): ReactNode {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState<Error | null>(null);
  const place = useRef<HTMLPreElement>(null);
  const next = useRef(0);
  useEffect(() => {
    let gone = false;
    const more = async (): Promise<void> => {
      try {
        const found = await get<{ text: string; next: number }>(`/jobs/${id}/log?after=${next.current}`);
        if (gone) return;
        next.current = found.next;
        setProblem(null);
        if (found.text !== "") setText((was) => (was + found.text).slice(-400_000));
      } catch (error) {
        if (!gone) setProblem(error as Error);
      }
    };
    void more();
    const timer = setInterval(() => void more(), ended ? 30_000 : 1_000);
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [id, ended]);
  useEffect(() => {
    const log = place.current;
    if (log !== null) log.scrollTop = log.scrollHeight;
  }, [text]);
  return (
    <Panel title="Log">
      {problem && <Fault problem={problem} />}
      {text === "" ? (
        <Empty>{ended ? "It said nothing." : "It has said nothing yet: a worker begins it when it is free."}</Empty>
      ) : (
        <pre ref={place} className="mono" tabIndex={0} aria-label="Log">
          {text}
        </pre>
      )}
    </Panel>
  );
}
