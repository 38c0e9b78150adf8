import { type FormEvent, type ReactNode, useState } from "react";
import { asked, byToken, identity, logout, post } from "../api";
import { link } from "../live";
import { useGet, useValue } from "../store";
import { type Theme, choose, theme } from "../theme";
import type { Audit, Health, Token, User } from "../types";
import { Act, Age, type Column, type Deed, Fault, Panel, Table, Time, useForbidden } from "../ui";

const SCOPES: [string, string][] = [
  ["read", "see sessions, events, runs, checkpoints, the catalogue, bars"],
  ["operate", "what lessens risk: halt, flatten, reduce, and the kill switch"],
  ["trade", "what may raise it: resume, start and stop sessions, move capital"],
  ["jobs", "work: train, evaluate, tune, report, download"],
  ["admin", "tokens, users, the audit"],
];

export function SettingsPage(): ReactNode {
  const { me } = useValue(identity);
  const admin = me?.scopes.includes("admin") === true;
  const health = useGet<Health>("/health", { every: 10_000 });
  return (
    <>
      <div className="head">
        <h1>Settings</h1>
        <span className="room" />
        <button type="button" onClick={() => void logout()}>
          Log out
        </button>
      </div>
      <div className="grid">
        <div className="c6">
          <Panel title="Who may do what">
            <Table
              caption="Scopes"
              rows={SCOPES}
              id={([scope]) => scope}
              empty=""
              columns={[
                { name: "Scope", left: true, cell: ([scope]) => scope },
                { name: "Opens", left: true, cell: ([, about]) => <span className="text">{about}</span> },
                { name: `${me?.name ?? "you"} here`, left: true, cell: ([scope]) => <Allowed scope={scope} /> },
              ]}
            />
          </Panel>
        </div>
        <div className="c6">
          <Panel title="This page" of={health}>
            <dl className="pairs">
              <dt>Theme</dt>
              <dd>
                <Themes />
              </dd>
              <dt>Logged in</dt>
              <dd>
                {me?.name}, {byToken() ? "with a token, until this tab is closed" : "with a password"}
                {me?.expires_ns && (
                  <>
                    , until <Time ns={me.expires_ns} /> UTC
                  </>
                )}
              </dd>
              <dt>Connection</dt>
              <dd>
                <Connection />
              </dd>
              <dt>Service</dt>
              <dd>
                version {health.data?.version ?? "–"}, {health.data?.sessions ?? "–"} sessions, {health.data?.broken ?? "–"} of
                them broken, {health.data?.listeners ?? "–"} open pages
              </dd>
              <dt>Programs</dt>
              <dd>
                <a href="/docs">routes of the API</a>
              </dd>
              <dt>Made with</dt>
              <dd>
                React; charts by{" "}
                <a href="https://www.tradingview.com/" rel="noreferrer noopener" target="_blank">
                  TradingView
                </a>{" "}
                Lightweight Charts; <a href="/licences.txt">licences</a>
              </dd>
            </dl>
          </Panel>
        </div>
      </div>
      {admin ? <Administration /> : <p className="faint">Tokens, users and the audit are for the scope admin.</p>}
    </>
  );
}

function Allowed({ scope }: { scope: string }): ReactNode {
  const why = useForbidden(scope);
  return why === null ? <span className="good">✓ allowed</span> : <span className="text faint">✕ {why}</span>;
}

function Themes(): ReactNode {
  const now = useValue(theme);
  return (
    <span className="row" role="radiogroup" aria-label="Theme">
      {(["system", "light", "dark"] as Theme[]).map((one) => (
        <label key={one} className="inline">
          <input type="radio" name="theme" checked={now === one} onChange={() => choose(one)} />
          {one === "system" ? "as the machine" : one}
        </label>
      ))}
    </span>
  );
}

function Connection(): ReactNode {
  const { state, taken, missing, doubled, resets } = useValue(link);
  return (
    <>
      {state}; {taken} events taken, {missing} missing, {doubled} sent twice, begun anew {resets} times
    </>
  );
}

function Administration(): ReactNode {
  const tokens = useGet<Token[]>("/tokens");
  const users = useGet<User[]>("/users");
  const audit = useGet<Audit[]>("/audit?limit=200");
  const again = (): void => {
    tokens.again();
    users.again();
    audit.again();
  };
  return (
    <>
      <Panel title="Tokens" of={tokens}>
        {tokens.data !== null && (
          <Table
            caption="Tokens"
            rows={tokens.data}
            id={(one) => one.id}
            empty="There is none."
            limit={30}
            columns={[
              { name: "Name", left: true, cell: (one) => (one.owner === null ? one.name : `${one.owner}, in a browser`) },
              { name: "Scopes", left: true, cell: (one) => one.scopes.join(", ") },
              { name: "Made, UTC", left: true, wide: true, cell: (one) => <Time ns={one.made_ns} /> },
              { name: "Ends, UTC", left: true, wide: true, cell: (one) => (one.expires_ns === null ? "never" : <Time ns={one.expires_ns} />) },
              deletes<Token>(
                (one) => `/tokens/${one.id}`,
                (one) => <p>Whoever uses {one.name} is let in no more, at once. It cannot be brought back; another can be made.</p>,
                again,
              ),
            ]}
          />
        )}
        <NewToken done={again} />
      </Panel>
      <Panel title="Users" of={users}>
        {users.data !== null && (
          <Table
            caption="Users"
            rows={users.data}
            id={(one) => one.name}
            empty="There is none."
            columns={[
              { name: "Name", left: true, cell: (one) => one.name },
              { name: "Scopes", left: true, cell: (one) => one.scopes.join(", ") },
              deletes<User>(
                (one) => `/users/${one.name}`,
                (one) => <p>{one.name} is logged out everywhere and can log in no more.</p>,
                again,
                (one) => one.name,
              ),
            ]}
          />
        )}
        <NewUser done={again} />
      </Panel>
      <Panel title="Audit, newest first" of={audit}>
        {audit.data !== null && (
          <Table
            caption="Audit"
            rows={audit.data}
            id={(one) => String(one.id)}
            empty="Nobody has done anything."
            limit={40}
            columns={[
              { name: "When", left: true, cell: (one) => <Age ns={one.time_ns} /> },
              { name: "Who", left: true, cell: (one) => one.who },
              { name: "What", left: true, cell: (one) => one.what },
              { name: "On", left: true, wide: true, cell: (one) => <span className="text">{one.on_what}</span> },
              { name: "Outcome", left: true, cell: (one) => <span className="text">{one.outcome}</span> },
            ]}
          />
        )}
      </Panel>
    </>
  );
}

function Scopes({ chosen, change }: { chosen: readonly string[]; change: (next: string[]) => void }): ReactNode {
  return (
    <fieldset className="row">
      <legend className="hidden">Scopes</legend>
      {SCOPES.map(([scope]) => (
        <label key={scope} className="inline">
          <input
            type="checkbox"
            checked={chosen.includes(scope)}
            onChange={(event) => change(event.target.checked ? [...chosen, scope] : chosen.filter((one) => one !== scope))}
          />
          {scope}
        </label>
      ))}
    </fieldset>
  );
}

/** The column with a button that deletes a row. */
function deletes<T>(path: (row: T) => string, what: (row: T) => ReactNode, done: () => void, word?: (row: T) => string): Column<T> {
  const deed = (row: T): Deed => ({
    name: "Delete",
    scope: "admin",
    danger: true,
    what: what(row),
    act: async () => {
      await asked("DELETE", path(row));
      done();
    },
  });
  return { name: "Acts", unnamed: true, cell: (one) => <Act deed={word === undefined ? deed(one) : { ...deed(one), word: word(one) }} /> };
}

function NewToken({ done }: { done: () => void }): ReactNode {
  const [hours, setHours] = useState("");
  return (
    <Made
      title="Make a token"
      make={async (name, scopes) => {
        const body = { name, scopes, hours: hours === "" ? null : Number(hours) };
        const { token } = await post<{ token: string }>("/tokens", body);
        done();
        return (
          <>
            Shown once: <span className="mono">{token}</span>
          </>
        );
      }}
    >
      <label>
        Hours
        <input value={hours} onChange={(event) => setHours(event.target.value)} inputMode="decimal" placeholder="until it is deleted" />
      </label>
    </Made>
  );
}

function NewUser({ done }: { done: () => void }): ReactNode {
  const [password, setPassword] = useState("");
  return (
    <Made
      title="Make a user, or give one another password"
      make={async (name, scopes) => {
        await post("/users", { name, password, scopes });
        setPassword("");
        done();
        return `${name} can log in now.`;
      }}
    >
      <label>
        Password
        <input type="password" value={password} onChange={(event) => setPassword(event.target.value)} required minLength={10} autoComplete="new-password" />
        <span className="hint">10 characters at least</span>
      </label>
    </Made>
  );
}

/** A form that makes something with a name and scopes, and says what came of it. */
function Made(props: {
  title: string;
  make: (name: string, scopes: readonly string[]) => Promise<ReactNode>;
  children: ReactNode;
}): ReactNode {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState(["read"]);
  const [said, setSaid] = useState<ReactNode>(null);
  const [problem, setProblem] = useState<Error | null>(null);
  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setProblem(null);
    setSaid(null);
    try {
      setSaid(await props.make(name, scopes));
    } catch (error) {
      setProblem(error as Error);
    }
  };
  return (
    <details>
      <summary className="pad">{props.title}</summary>
      <form className="pad" onSubmit={(event) => void submit(event)}>
        <div className="fields">
          <label>
            Name
            <input value={name} onChange={(event) => setName(event.target.value)} required autoComplete="off" spellCheck={false} />
          </label>
          {props.children}
        </div>
        <Scopes chosen={scopes} change={setScopes} />
        {problem && <Fault problem={problem} />}
        {said !== null && <p role="status">{said}</p>}
        <div className="buttons">
          <button type="submit">Make it</button>
        </div>
      </form>
    </details>
  );
}
