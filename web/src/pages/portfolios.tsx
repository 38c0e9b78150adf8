import { type FormEvent, type ReactNode, useMemo, useState } from "react";
import { asked, byToken, post } from "../api";
import { Chart, type Line } from "../charts";
import { figure, money, ms, percent, share, units } from "../format";
import { Report } from "../reports";
import { SchemaForm, type Values, typed } from "../schema";
import { useGet, useValue } from "../store";
import { colour, shade } from "../theme";
import type { Entry, Member, Portfolio, Position, Risk, Schema, Supervised, Transfer, WorthPoint } from "../types";
import { Act, Age, type Deed, Empty, Fault, Mark, Meter, Panel, Stat, Sure, Table, Tabs, Time, useForbidden } from "../ui";

const MOVES = ["settled", "state", "transfer"] as const;
const LEAST = { kinds: MOVES, least: 1_000, every: 5_000 };
const LATE_MS = 30_000;
const TABS = ["Members", "Positions", "Transfers", "Ledger"] as const;

/** What the supervisor looked at last; when it does not run, all figures are old. */
export function looked(row: Portfolio, now: number): boolean {
  const at = ms(row.looked_ns);
  return at !== null && now - at < LATE_MS;
}

export function PortfoliosPage(): ReactNode {
  const shown = useGet<Portfolio[]>("/portfolios", LEAST);
  return (
    <>
      <div className="head">
        <h1>Portfolios</h1>
        <span className="faint">capital over sessions, with limits over all of them; money moves by the ledger alone</span>
      </div>
      <Panel title="All portfolios" of={shown}>
        {shown.data !== null && (
          <Table
            caption="Portfolios"
            rows={shown.data}
            id={(one) => one.id}
            rowClass={(one) => (looked(one, Date.now()) ? undefined : "late")}
            empty="There is none; make one below."
            columns={[
              { name: "Portfolio", left: true, cell: (one) => <a href={`#/portfolio/${one.id}`}>{one.id}</a> },
              { name: "State", left: true, cell: (one) => <Mark state={one.state} /> },
              { name: "Equity", cell: (one) => money(one.equity) },
              { name: "Currency", left: true, wide: true, cell: (one) => one.currency },
              { name: "Paid in", wide: true, cell: (one) => units(one.contributions) },
              { name: "Unallocated", wide: true, cell: (one) => units(one.unallocated) },
              { name: "Members", cell: (one) => one.members.length },
              { name: "Looked at", cell: (one) => <Age ns={one.looked_ns} /> },
            ]}
          />
        )}
      </Panel>
      <NewPortfolio done={shown.again} />
    </>
  );
}

export function PortfolioPage({ id }: { id: string }): ReactNode {
  const shown = useGet<Portfolio>(`/portfolios/${id}`, LEAST);
  const risk = useGet<Risk>(`/portfolios/${id}/risk`, LEAST);
  const [tab, setTab] = useState<string>("Members");
  const row = shown.data;
  if (row === null) {
    return (
      <>
        <h1>Portfolio</h1>
        {shown.problem ? <Fault problem={shown.problem} /> : <Empty>asking…</Empty>}
      </>
    );
  }
  const again = (): void => {
    shown.again();
    risk.again();
  };
  return (
    <>
      <div className="head">
        <h1>{row.id}</h1>
        <Mark state={row.state} />
        {row.why.length > 0 && <span className="text">{row.why.join("; ")}</span>}
        <span className="room" />
        <Report path={`/portfolios/${id}/report`} file={`portfolio-${id}.html`}>
          Report
        </Report>
        <Report path={`/portfolios/${id}/report.pdf`} file={`portfolio-${id}.pdf`}>
          PDF
        </Report>
        <Commands row={row} done={again} />
      </div>
      {!looked(row, Date.now()) && (
        <Fault problem={new Error("No supervisor has looked at its members for half a minute: these figures are old. qframe supervise does.")} />
      )}
      {row.members.some((one) => one.mark !== "") && <Marked rows={row.members.filter((one) => one.mark !== "")} />}
      <Panel title="Capital" of={shown}>
        <dl className="stats">
          <Stat name="Equity" value={money(row.equity)} under={row.currency} />
          <Stat name="Worth" value={money(row.worth)} under="without what was paid in or out" />
          <Stat name="Paid in" value={units(row.contributions)} under="less what was taken out" />
          <Stat name="Unallocated" value={units(row.unallocated)} under="of the portfolio itself" />
          <Stat name="In transit" value={units(row.in_transit)} under="asked, not settled" />
          <Stat name="Drawdown" value={risk.data === null ? "–" : percent(-Math.abs(risk.data.drawdown))} under={`peak ${money(risk.data?.peak)}`} />
          <Stat name="Looked at" value={<Age ns={row.looked_ns} />} under="by the supervisor" />
        </dl>
      </Panel>
      <div className="grid">
        <div className="c8">
          <Curve id={id} members={row.members} />
        </div>
        <div className="c4">
          <Limits shown={risk} />
        </div>
      </div>
      <section className="panel" aria-label="Books">
        <Tabs names={TABS} chosen={tab} choose={setTab} label="Books" />
        <div role="tabpanel" aria-labelledby={`tab-${tab}`}>
          {tab === "Members" && <Members row={row} done={again} />}
          {tab === "Positions" && <Positions id={id} />}
          {tab === "Transfers" && <Transfers row={row} done={again} />}
          {tab === "Ledger" && <Ledger id={id} />}
        </div>
      </section>
    </>
  );
}

function Marked({ rows }: { rows: readonly Member[] }): ReactNode {
  return (
    <p className="fault" role="alert">
      ✕ Old figures of {rows.map((one) => `${one.name} (${one.mark}${one.why === "" ? "" : `: ${one.why}`})`).join(", ")}: their last ones are
      counted, none is dropped.
    </p>
  );
}

const WORDS: Record<string, [string, string, Partial<Deed>]> = {
  halt: ["Halt", "No member sends an order any more, until somebody says resume. What is held stays open.", {}],
  reduce: ["Reduce only", "Of each order only the part goes out that makes a position smaller.", {}],
  flatten: ["Flatten", "All that the members hold is closed at the market, with the costs of it; then they are halted.", { word: "FLATTEN", danger: true }],
  resume: ["Resume", "Its members may trade again as their agents ask; this may raise risk.", { scope: "trade", password: true }],
};

function Commands({ row, done }: { row: Portfolio; done: () => void }): ReactNode {
  return (
    <div className="row">
      {Object.entries(WORDS).map(([word, [name, what, more]]) => (
        <Act
          key={word}
          deed={{
            name,
            scope: "operate",
            what: (
              <>
                <p>
                  {row.id}, {row.members.length} members: {row.members.map((one) => one.name).join(", ") || "none"}.
                </p>
                <p>{what}</p>
              </>
            ),
            act: async (password, key) => {
              await post(`/portfolios/${row.id}/commands`, password === undefined ? { word } : { word, password }, key);
              done();
            },
            ...more,
            password: more.password === true && !byToken(),
          }}
        />
      ))}
    </div>
  );
}

function Curve({ id, members }: { id: string; members: readonly Member[] }): ReactNode {
  const dark = useValue(shade);
  const shown = useGet<WorthPoint[]>(`/portfolios/${id}/equity?points=1500`, { ...LEAST, least: 3_000 });
  const lines = useMemo((): Line[] => {
    const rows = shown.data ?? [];
    const times = rows.map((one) => (ms(one.time_ns) ?? 0) / 1000);
    let peak = 0;
    const falls = rows.map((one) => {
      peak = Math.max(peak, one.worth);
      return peak > 0 ? one.worth / peak - 1 : 0;
    });
    const points = (values: readonly number[]): [number, number | null][] =>
      [...new Map(times.map((time, k) => [time, values[k] ?? null] as const))].sort((a, b) => a[0] - b[0]);
    return [
      { name: "Equity", pane: 0, colour: colour("series"), points: points(rows.map((one) => one.equity)), format: (v) => money(v) },
      { name: "Worth", pane: 1, colour: colour("good"), points: points(rows.map((one) => one.worth)), format: (v) => money(v) },
      { name: "Drawdown", pane: 2, colour: colour("bad"), points: points(falls), format: (v) => share(v) },
    ];
  }, [shown.data, dark]);
  return (
    <Panel
      title="Equity, worth without what was paid in or out, drawdown"
      of={shown}
      side={
        members.some((one) => one.session) && (
          <a href={`#/compare?of=${members.flatMap((one) => (one.session ? [`session:${one.session}`] : [])).join(",")}`}>members side by side</a>
        )
      }
    >
      {shown.data !== null && shown.data.length > 0 ? (
        <Chart label="Equity, worth and drawdown of the portfolio" height={380} panes={[2, 1.2, 0.9]} lines={lines} of={id} />
      ) : (
        <Empty>{shown.data === null ? "asking…" : "No close was counted yet: the supervisor does that."}</Empty>
      )}
    </Panel>
  );
}

function Limits({ shown }: { shown: ReturnType<typeof useGet<Risk>> }): ReactNode {
  const risk = shown.data;
  return (
    <Panel title="Limits and exposure" of={shown}>
      {risk !== null && (
        <>
          <dl className="pairs">
            <dt>Gross</dt>
            <dd>
              {money(risk.gross)}, leverage {figure(risk.leverage)}
            </dd>
            <dt>Today</dt>
            <dd>{percent(risk.day_start > 0 ? risk.equity / risk.day_start - 1 : null)}</dd>
            {Object.entries(risk.net).map(([pair, value]) => (
              <Pair key={pair} name={`Net ${pair}`}>
                {money(value)}
              </Pair>
            ))}
          </dl>
          <div className="pad meters">
            {risk.limits.length === 0 && <span className="faint">No limit binds.</span>}
            {risk.limits.map((one) => (
              <Meter key={one.name} name={one.name.replaceAll("_", " ")} used={one.used} words={`${number(one.now)} of ${number(one.bound)}`} />
            ))}
          </div>
        </>
      )}
    </Panel>
  );
}

function number(value: number): string {
  return Math.abs(value) < 10 ? figure(value, 4) : money(value);
}

function Pair({ name, children }: { name: string; children: ReactNode }): ReactNode {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}

function Members({ row, done }: { row: Portfolio; done: () => void }): ReactNode {
  const supervised = useGet<Supervised[]>("/supervised", { every: 30_000 });
  const [chosen, setChosen] = useState("");
  const others = (supervised.data ?? []).filter((one) => !row.members.some((member) => member.name === one.name));
  const changed = (what: ReactNode, body: Record<string, unknown>, name: string, danger = false): Deed => ({
    name,
    scope: "trade",
    danger,
    password: !byToken(),
    what,
    act: async (password) => {
      const given = password === undefined ? body : { ...body, password };
      await asked("PATCH", `/portfolios/${row.id}`, given, { "if-match": `"${row.revision}"` });
      done();
    },
  });
  return (
    <>
      <Table
        caption="Members"
        rows={row.members}
        id={(one) => one.name}
        rowClass={(one) => (one.mark === "" ? undefined : "late")}
        empty="It has no member; supervised sessions can come in below."
        columns={[
          { name: "Member", left: true, cell: (one) => (one.session ? <a href={`#/session/${one.session}`}>{one.name}</a> : one.name) },
          { name: "State", left: true, cell: (one) => (one.mark === "" ? <Mark state={one.state} /> : <Mark state="broken">{one.mark}</Mark>) },
          { name: "Equity", cell: (one) => money(one.equity) },
          { name: "Weight", cell: (one) => share(one.weight) },
          { name: "Share by hand", wide: true, cell: (one) => (one.share === null ? "–" : share(one.share)) },
          { name: "Gross", wide: true, cell: (one) => money(one.gross) },
          { name: "Given", wide: true, cell: (one) => units(one.settled) },
          { name: "Last bar, UTC", wide: true, cell: (one) => <Time ns={one.time_ns} /> },
          {
            name: "Acts",
            unnamed: true,
            cell: (one) => (
              <Act
                deed={changed(
                  <p>
                    {one.name} leaves {row.id} with what it owns ({money(one.equity)}); its session goes on, under its own limits alone.
                  </p>,
                  { remove: [one.name] },
                  "Let go",
                  true,
                )}
              />
            ),
          },
        ]}
      />
      <div className="pad row">
        <label className="inline">
          Supervised session
          <select value={chosen} onChange={(event) => setChosen(event.target.value)}>
            <option value="">{others.length === 0 ? "there is no other" : "choose…"}</option>
            {others.map((one) => (
              <option key={one.name}>{one.name}</option>
            ))}
          </select>
        </label>
        {chosen !== "" && (
          <Act
            deed={changed(
              <p>
                {chosen} joins {row.id} with what it owns; from then on the portfolio's limits hold it too.
              </p>,
              { members: { [chosen]: null } },
              `Let ${chosen} in`,
            )}
          />
        )}
        <Act
          deed={{
            name: "Rebalance now",
            scope: "trade",
            password: !byToken(),
            what: <p>Money moves between members to their shares ({row.method}); each transfer is settled by its member's journal.</p>,
            act: async (password, key) => {
              await post(`/portfolios/${row.id}/rebalance`, password === undefined ? {} : { password }, key);
              done();
            },
          }}
        />
        <span className="faint">
          {row.every === null ? "never by itself" : `every ${row.every}`}
          {row.due_ns !== null && (
            <>
              , next <Time ns={row.due_ns} /> UTC
            </>
          )}
          {row.not_rebalanced !== "" && `; not last time: ${row.not_rebalanced}`}
        </span>
      </div>
    </>
  );
}

function Positions({ id }: { id: string }): ReactNode {
  const shown = useGet<Position[]>(`/portfolios/${id}/positions`, LEAST);
  return (
    <Table
      caption="Positions, none netted with another"
      rows={shown.data ?? []}
      id={(one) => `${one.member} ${one.pair}`}
      empty="Nothing is held."
      columns={[
        { name: "Member", left: true, cell: (one) => one.member },
        { name: "Pair", left: true, cell: (one) => one.pair },
        { name: "Value", cell: (one) => money(one.value) },
        { name: "Weight", cell: (one) => share(one.weight) },
      ]}
    />
  );
}

/** A decimal of a currency as whole units of 1e-8, exactly; null where it is none. */
export function toUnits(text: string): string | null {
  const found = /^(-?)(\d{1,10})(?:\.(\d{1,8}))?$/.exec(text.trim());
  if (found === null) return null;
  const [, sign = "", head = "", tail = ""] = found;
  return (BigInt(`${head}${tail.padEnd(8, "0")}`) * (sign === "-" ? -1n : 1n)).toString();
}

function Transfers({ row, done }: { row: Portfolio; done: () => void }): ReactNode {
  const shown = useGet<Transfer[]>(`/portfolios/${row.id}/transfers`, { ...LEAST, every: 2_000 });
  const [member, setMember] = useState("");
  const [amount, setAmount] = useState("");
  const whole = toUnits(amount);
  const out = whole?.startsWith("-") === true;
  const said = whole === null ? "" : units(whole.replace("-", ""));
  const words =
    member === ""
      ? out
        ? `The owners take ${said} ${row.currency} of what is unallocated out.`
        : `The owners pay ${said} ${row.currency} in; it is unallocated at first.`
      : out
        ? `${member} gives ${said} ${row.currency} back at one of its bars; it refuses without so much free cash.`
        : `${said} ${row.currency} of what is unallocated goes to ${member}, which takes it at one of its bars.`;
  return (
    <>
      <Table
        caption="Transfers, newest first"
        rows={shown.data ?? []}
        id={(one) => one.id}
        empty="No money has moved."
        limit={50}
        columns={[
          { name: "Asked, UTC", left: true, cell: (one) => <Time ns={one.asked_ns} /> },
          { name: "Whom", left: true, cell: (one) => one.member ?? "the owners" },
          { name: row.currency, cell: (one) => units(one.units) },
          { name: "Outcome, by the journal", left: true, cell: (one) => <Settled one={one} /> },
          { name: "By", left: true, wide: true, cell: (one) => one.who },
        ]}
      />
      <div className="pad row">
        <label className="inline">
          Whom
          <select value={member} onChange={(event) => setMember(event.target.value)}>
            <option value="">the owners</option>
            {row.members.map((one) => (
              <option key={one.name}>{one.name}</option>
            ))}
          </select>
        </label>
        <label className="inline">
          {row.currency}
          <input value={amount} onChange={(event) => setAmount(event.target.value)} inputMode="decimal" placeholder="1000.00, or −1000.00 out" spellCheck={false} />
        </label>
        {whole !== null && whole !== "0" ? (
          <Act
            deed={{
              name: "Move it",
              scope: "trade",
              word: amount.trim(),
              password: !byToken(),
              danger: true,
              what: <p>{words}</p>,
              act: async (password, key) => {
                const body = { units: whole, member: member === "" ? null : member };
                await post(`/portfolios/${row.id}/transfers`, password === undefined ? body : { ...body, password }, key);
                shown.again();
                done();
              },
            }}
          />
        ) : (
          <span className="faint">with eight digits after the point at most; a minus takes out</span>
        )}
      </div>
    </>
  );
}

function Settled({ one }: { one: Transfer }): ReactNode {
  if (one.state === "SETTLED") {
    return (
      <Mark state="DONE">
        settled <Time ns={one.ended_ns} />
      </Mark>
    );
  }
  if (one.state === "REFUSED") return <Mark state="FAILED">refused: {one.why}</Mark>;
  return <Mark state="QUEUED">{one.sent_ns === null ? "asked, not sent yet" : "sent; the journal does not say yet"}</Mark>;
}

function Ledger({ id }: { id: string }): ReactNode {
  const shown = useGet<Entry[]>(`/portfolios/${id}/ledger?limit=1000`, LEAST);
  const rows = useMemo(() => [...(shown.data ?? [])].reverse(), [shown.data]);
  return (
    <Table
      caption="Ledger, newest first"
      rows={rows}
      id={(one) => String(one.seq)}
      empty="Nothing was posted."
      limit={60}
      columns={[
        { name: "Posting", cell: (one) => one.seq },
        { name: "When, UTC", left: true, cell: (one) => <Time ns={one.time_ns} /> },
        { name: "Kind", left: true, cell: (one) => one.kind },
        { name: "From", left: true, cell: (one) => one.source },
        { name: "To", left: true, cell: (one) => one.target },
        { name: "Amount", cell: (one) => units(one.units) },
        { name: "By", left: true, wide: true, cell: (one) => one.who },
        { name: "Entry", left: true, wide: true, cell: (one) => <span className="mono">{one.entry.slice(0, 16)}</span> },
      ]}
    />
  );
}

function NewPortfolio({ done }: { done: () => void }): ReactNode {
  const why = useForbidden("trade");
  const [open, setOpen] = useState(false);
  const [id, setId] = useState("");
  const [capital, setCapital] = useState("");
  const [limits, setLimits] = useState<Values>({});
  const [sure, setSure] = useState(false);
  const document = useGet<{ components: { schemas: Record<string, Schema> } }>(open ? "/openapi.json" : null, { every: 3_600_000 });
  const defs = document.data?.components.schemas ?? {};
  const schema = defs.PortfolioLimits;
  const whole = capital === "" ? null : toUnits(capital);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    setSure(true);
  };
  return (
    <section className="panel" aria-label="A new portfolio">
      <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary className="pad">Make a portfolio{why === null ? "" : `: ${why}`}</summary>
        <form className="pad" onSubmit={submit}>
          <div className="fields">
            <label>
              Name
              <input value={id} onChange={(event) => setId(event.target.value)} pattern="[0-9a-z_\-]{1,64}" required spellCheck={false} />
            </label>
            <label>
              Paid in, USDT
              <input value={capital} onChange={(event) => setCapital(event.target.value)} inputMode="decimal" placeholder="nothing" />
            </label>
          </div>
          {schema && <SchemaForm prefix="limits" schema={schema} defs={defs} values={limits} change={setLimits} />}
          <div className="buttons">
            <button type="submit" className="main" disabled={why !== null || (capital !== "" && whole === null)}>
              Make it
            </button>
          </div>
        </form>
      </details>
      {sure && (
        <Sure
          close={() => setSure(false)}
          deed={{
            name: "Make it",
            scope: "trade",
            password: !byToken(),
            what: (
              <p>
                {id} begins with {whole === null ? "nothing" : `${units(whole)} USDT`}, unallocated, and no member. Sessions come in later.
              </p>
            ),
            act: async (password, key) => {
              const body = { id, capital: whole, limits: typed(schema ?? {}, defs, limits) };
              await post("/portfolios", password === undefined ? body : { ...body, password }, key);
              setOpen(false);
              done();
            },
          }}
        />
      )}
    </section>
  );
}
