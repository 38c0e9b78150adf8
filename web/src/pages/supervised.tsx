import { type FormEvent, type ReactNode, useState } from "react";
import { asked, byToken, post, withPassword } from "../api";
import { SchemaForm, type Values, typed } from "../schema";
import { useGet } from "../store";
import type { Checkpoint, Schema, Supervised } from "../types";
import { Act, Age, Fault, Mark, Panel, Sure, Table, useForbidden } from "../ui";

const EVERY_MS = 2_000;

interface Document {
  components: { schemas: Record<string, Schema> };
}

export function SupervisedPage(): ReactNode {
  const shown = useGet<Supervised[]>("/supervised", { kinds: ["process", "started"], every: EVERY_MS });
  return (
    <>
      <div className="head">
        <h1>Supervised sessions</h1>
        <span className="faint">
          what is wanted stands here; <span className="mono">qframe supervise</span> does it, and starts again what dies
        </span>
      </div>
      <Panel title="Wanted, and how far" of={shown}>
        {shown.data !== null && (
          <Table
            caption="Supervised sessions"
            rows={shown.data}
            id={(one) => one.name}
            empty="None is supervised; start one below."
            columns={[
              { name: "Name", left: true, cell: (one) => (one.session ? <a href={`#/session/${one.session}`}>{one.name}</a> : one.name) },
              { name: "Wanted", left: true, cell: (one) => one.desired.toLowerCase() },
              {
                name: "State",
                left: true,
                cell: (one) => (
                  <>
                    <Mark state={one.state} />
                    {one.why !== "" && <span className="text"> {one.why}</span>}
                  </>
                ),
              },
              { name: "For", wide: true, cell: (one) => <Age ns={one.since_ns} word="" /> },
              { name: "Checkpoint", left: true, wide: true, cell: (one) => one.spec.checkpoint },
              { name: "Process", wide: true, cell: (one) => one.pid ?? "–" },
              { name: "Acts", unnamed: true, cell: (one) => <Deeds row={one} done={shown.again} /> },
            ]}
          />
        )}
      </Panel>
      <NewSession done={shown.again} />
    </>
  );
}

function Deeds({ row, done }: { row: Supervised; done: () => void }): ReactNode {
  const want = async (desired: string, password?: string): Promise<void> => {
    const body = withPassword({ desired }, password);
    await asked("PUT", `/supervised/${row.name}/desired`, body, { "if-match": `"${row.revision}"` });
    done();
  };
  if (row.desired === "RUNNING") {
    return (
      <Act
        deed={{
          name: "Stop",
          scope: "trade",
          what: (
            <>
              <p>The process of {row.name} ends after the bar under way. What it holds stays open, and nobody watches it.</p>
              <p>Flatten it first where that is not wanted. Its journal stays; it can be started again and goes on there.</p>
            </>
          ),
          act: () => want("STOPPED"),
        }}
      />
    );
  }
  return (
    <span className="row">
      <Act
        deed={{
          name: "Start",
          scope: "trade",
          password: !byToken(),
          what: <p>{row.name} runs again and goes on where its journal ends; it may trade at its next bar.</p>,
          act: (password) => want("RUNNING", password),
        }}
      />
      <Act
        deed={{
          name: "Forget",
          scope: "trade",
          danger: true,
          word: row.name,
          what: <p>{row.name} is supervised no more. Its folder and its journal stay.</p>,
          act: async () => {
            await asked("DELETE", `/supervised/${row.name}`);
            done();
          },
        }}
      />
    </span>
  );
}

function NewSession({ done }: { done: () => void }): ReactNode {
  const why = useForbidden("trade");
  const [open, setOpen] = useState(false);
  const [name, setName] = useState("");
  const [checkpoint, setCheckpoint] = useState("");
  const [values, setValues] = useState<Values>({});
  const [sure, setSure] = useState(false);
  const document = useGet<Document>(open ? "/openapi.json" : null, { every: 3_600_000 });
  const checkpoints = useGet<Checkpoint[]>(open ? "/checkpoints" : null, { every: 60_000 });
  const defs = document.data?.components.schemas ?? {};
  const schema = defs.SupervisedSpec;
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    setSure(true);
  };
  const feed = values.feed ?? "ccxt";
  return (
    <section className="panel" aria-label="A new session">
      <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary className="pad">Start a session{why === null ? "" : `: ${why}`}</summary>
        <form className="pad" onSubmit={submit}>
          <div className="fields">
            <label>
              Name
              <input value={name} onChange={(event) => setName(event.target.value)} pattern="[0-9a-z_\-]{1,64}" required spellCheck={false} />
              <span className="hint">0-9, a-z, _ and -</span>
            </label>
            <label>
              Checkpoint
              <select value={checkpoint} onChange={(event) => setCheckpoint(event.target.value)} required>
                <option value="">choose…</option>
                {(checkpoints.data ?? [])
                  .filter((one) => one.broken === null)
                  .map((one) => (
                    <option key={one.id} value={one.id}>
                      {one.id}: {one.agent} on {one.symbols.slice(0, 2).join(", ")}
                    </option>
                  ))}
              </select>
            </label>
          </div>
          {document.problem && <Fault problem={document.problem} />}
          {schema && <SchemaForm prefix="spec" schema={schema} defs={defs} values={values} change={setValues} leave={["checkpoint"]} />}
          <div className="buttons">
            <button type="submit" className="main" disabled={why !== null || schema === undefined}>
              Start it
            </button>
          </div>
        </form>
      </details>
      {sure && schema && (
        <Sure
          close={() => setSure(false)}
          deed={{
            name: "Start it",
            scope: "trade",
            password: !byToken(),
            what: (
              <>
                <p>
                  {name} begins with {checkpoint} on {feed === "replay" ? "recorded bars" : "an exchange's bars"}, orders{" "}
                  {values.orders === "testnet" ? "to the exchange's test environment" : "on paper"}; the supervisor keeps it running.
                </p>
                <p>It stops when it is stopped here, or when it has failed five times in ten minutes.</p>
              </>
            ),
            act: async (password, key) => {
              const spec = { checkpoint, ...typed(schema, defs, values) };
              await post("/sessions", withPassword({ name, spec }, password), key);
              setOpen(false);
              done();
            },
          }}
        />
      )}
    </section>
  );
}
