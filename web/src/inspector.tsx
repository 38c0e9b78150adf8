// One bar: what the agent saw, what it asked, what risk cut and why, what filled at which price by which rule.
import type { ReactNode } from "react";
import { amount, figure, money, ns, price } from "./format";
import { useGet } from "./store";
import type { Inspected, Order } from "./types";
import { Empty, Fault, Mark, Panel, Time } from "./ui";

interface Features {
  names: string[];
  symbols: string[];
  raw: (number | null)[][];
  scaled: number[][];
  exposure: number[];
  note: string | null;
}

const SETTLED = ["settled"] as const;
const REST_MS = 3_600_000;

export function Inspector(props: { session: string; at: number | null; close: () => void }): ReactNode {
  const at = props.at === null ? null : ns(props.at * 1000);
  const path = at === null ? null : `/sessions/${props.session}/inspect?at=${at}`;
  const shown = useGet<Inspected>(path, { session: props.session, kinds: SETTLED, least: 2_000, every: REST_MS });
  if (at === null) {
    return (
      <Panel title="Decision">
        <Empty>Click a bar, or move to the chart and press ←: what the agent saw, asked and got at that bar.</Empty>
      </Panel>
    );
  }
  const bar = shown.data;
  return (
    <Panel
      title="Decision"
      side={
        <button type="button" className="plain" onClick={props.close} aria-label="Close the decision">
          ✕
        </button>
      }
    >
      {shown.problem && <Fault problem={shown.problem} />}
      {bar !== null && <Story bar={bar} />}
      {bar !== null && bar.seq !== null && <Seen session={props.session} at={bar.time_ns} />}
    </Panel>
  );
}

function Story({ bar }: { bar: Inspected }): ReactNode {
  const cut = bar.reasons.length > 0;
  return (
    <dl className="pairs" data-inspected={bar.time_ns}>
      <dt>Bar closed</dt>
      <dd>
        <Time ns={bar.time_ns} /> UTC
      </dd>
      {bar.bar.map((one) => (
        <Pair key={one.symbol} name={one.symbol}>
          {price(one.open)} → {price(one.close)}, {price(one.low)} to {price(one.high)}
        </Pair>
      ))}
      {bar.account && (
        <Pair name="Account then">
          {money(bar.account.equity)}, cash {money(bar.account.cash)}
        </Pair>
      )}
      {bar.seq === null ? (
        <Pair name="Decision">none: bars before the first decision warm the agent up</Pair>
      ) : (
        <>
          <Pair name="Asked">
            <Orders rows={bar.asked} />
          </Pair>
          <Pair name="Risk">
            {cut ? (
              <>
                <span className="warn">■ cut: {bar.reasons.join("; ")}</span>
                <br />
                sent <Orders rows={bar.sent} />
              </>
            ) : (
              "passed untouched"
            )}
            {bar.state !== null && bar.state !== "ACTIVE" && (
              <>
                {" "}
                while <Mark state={bar.state} />
              </>
            )}
          </Pair>
          <Fills bar={bar} />
        </>
      )}
      {bar.news.map((one) => (
        <Pair key={one.seq} name={`then ${one.kind}`}>
          <span className="mono">{JSON.stringify(one.data).slice(0, 200)}</span>
        </Pair>
      ))}
      {bar.seq !== null && (
        <Pair name="Events">
          {bar.seq}
          {bar.settled !== null && ` to ${bar.settled}`}, sight <span className="mono">{bar.sight.slice(0, 12)}</span>
        </Pair>
      )}
    </dl>
  );
}

function Fills({ bar }: { bar: Inspected }): ReactNode {
  if (bar.settled === null) return <Pair name="Filled">the next bar has not closed yet</Pair>;
  return (
    <Pair name="Filled">
      {bar.fills.length === 0 && "nothing"}
      {bar.fills.map((one, k) => (
        <div key={k}>
          {one.quantity !== 0 && (
            <b>
              {one.quantity > 0 ? "▲ bought" : "▼ sold"} {amount(Math.abs(one.quantity))} {one.symbol} at {price(one.price)}
            </b>
          )}
          <div>{one.rule}</div>
          <div className="faint">
            fee {figure(one.fee, 4)}, spread {figure(one.spread, 4)}, impact {figure(one.impact, 4)}
            {one.funding !== 0 && `, funding ${figure(one.funding, 4)}`}
            {one.cancelled !== 0 && `, ${amount(one.cancelled)} not filled`}
          </div>
        </div>
      ))}
      {bar.after && (
        <div>
          then equity {money(bar.after.equity)} at <Time ns={bar.settled_ns} />
        </div>
      )}
    </Pair>
  );
}

function Orders({ rows }: { rows: readonly Order[] }): ReactNode {
  if (rows.length === 0) return <>nothing</>;
  return (
    <>
      {rows.map((one) => (
        <span key={one.symbol}>
          {one.quantity > 0 ? "buy" : "sell"} {amount(Math.abs(one.quantity))} {one.symbol}
          {one.limit === null ? "" : `, limit ${price(one.limit)}`}
          {one.stop === null ? "" : `, stop ${price(one.stop)}`}{" "}
        </span>
      ))}
    </>
  );
}

/** Features by name, as the checkpoint's own interface makes them of the bars on record. */
function Seen({ session, at }: { session: string; at: string }): ReactNode {
  const shown = useGet<Features>(`/sessions/${session}/sight?at=${at}`, { every: REST_MS });
  const seen = shown.data;
  return (
    <div className="scroll tall" tabIndex={0} role="group" aria-label="Features">
      {shown.problem && <Fault problem={shown.problem} />}
      {seen === null && !shown.problem && <Empty>What it saw is worked out from the record…</Empty>}
      {seen !== null && seen.note !== null && <Empty>{seen.note}</Empty>}
      {seen !== null && seen.names.length > 0 && (
        <table data-features="">
          <caption className="hidden">What the agent saw, by feature</caption>
          <thead>
            <tr>
              <th scope="col" className="left">
                It saw
              </th>
              {seen.symbols.map((symbol) => (
                <th key={symbol} scope="col" colSpan={2}>
                  {symbol}: value, scaled
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {seen.names.map((name, f) => (
              <tr key={name}>
                <td className="left mono">{name}</td>
                {seen.symbols.map((symbol, a) => (
                  <Values key={symbol} raw={seen.raw[a]?.[f] ?? null} scaled={seen.scaled[a]?.[f] ?? null} />
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </div>
  );
}

function Values(props: { raw: number | null; scaled: number | null }): ReactNode {
  return (
    <>
      <td>{props.raw === null ? "–" : Number(props.raw.toPrecision(4))}</td>
      <td>{figure(props.scaled, 2)}</td>
    </>
  );
}

function Pair({ name, children }: { name: string; children: ReactNode }): ReactNode {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}
