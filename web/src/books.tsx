// The books of a portfolio: its members, positions, transfers, what happened to it, its ledger.
import { type ReactNode, useMemo, useState } from "react";
import { byToken, post, withPassword } from "./api";
import { LEAST, toUnits } from "./capital";
import { money, share, units } from "./format";
import { Ramp, changes } from "./steering";
import { useGet } from "./store";
import type { Entry, Notice, Portfolio, Position, Supervised, Transfer } from "./types";
import { Act, type Deed, Mark, Table, Time } from "./ui";

export function Members({ row, done }: { row: Portfolio; done: () => void }): ReactNode {
  const supervised = useGet<Supervised[]>("/supervised", { every: 30_000 });
  const [chosen, setChosen] = useState("");
  const others = (supervised.data ?? []).filter((one) => !row.members.some((member) => member.name === one.name));
  const changed = (what: ReactNode, body: Record<string, unknown>, name: string, danger = false): Deed =>
    changes(row, { name, what, danger }, body, done);
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
          { name: "Ramp", left: true, wide: true, cell: (one) => <Ramp of={one.ramp} /> },
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
              await post(`/portfolios/${row.id}/rebalance`, withPassword({}, password), key);
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

export function Positions({ id }: { id: string }): ReactNode {
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

export function Transfers({ row, done }: { row: Portfolio; done: () => void }): ReactNode {
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
                await post(`/portfolios/${row.id}/transfers`, withPassword(body, password), key);
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
  if (one.waiting_ns !== null) {
    return (
      <Mark state="BACKOFF">
        waiting for {one.member}, which does not run, since <Time ns={one.waiting_ns} />
      </Mark>
    );
  }
  return <Mark state="QUEUED">{one.sent_ns === null ? "asked, not sent yet" : "sent; the journal does not say yet"}</Mark>;
}

export function Notices({ id }: { id: string }): ReactNode {
  const shown = useGet<Notice[]>(`/portfolios/${id}/events?limit=200`, LEAST);
  return (
    <Table
      caption="Events, newest first"
      rows={shown.data ?? []}
      id={(one) => String(one.seq)}
      empty="Nothing has happened to it."
      limit={50}
      columns={[
        { name: "When, UTC", left: true, cell: (one) => <Time ns={one.time_ns} /> },
        { name: "Kind", left: true, cell: (one) => one.rule },
        { name: "What", left: true, cell: (one) => <span className="text">{one.text}</span> },
        {
          name: "Alert", left: true, wide: true,
          cell: (one) => (!one.alert ? "" : one.sent_ns === null ? "not sent" : <>sent <Time ns={one.sent_ns} /></>),
        },
      ]}
    />
  );
}

export function Ledger({ id }: { id: string }): ReactNode {
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
