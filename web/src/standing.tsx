// How a session stands beside its account: what of each instrument it may do, who follows it, and which model it goes on with.
import type { ReactNode } from "react";
import { held } from "./acts";
import { byToken, post, withPassword } from "./api";
import { amount, figure, whole } from "./format";
import type { Session, Shadow } from "./types";
import { Act, Stat, Table, Time } from "./ui";

interface Instrument {
  symbol: string;
  holds: number;
  locked: boolean;
  paused: boolean;
}

function instruments(of: Session): Instrument[] {
  return of.symbols.map((symbol, k) => ({
    symbol,
    holds: of.position[k] ?? 0,
    locked: of.locked.includes(symbol),
    paused: of.paused.some((said) => said.startsWith("all ") || said.includes(`${symbol} `)),
  }));
}

/** Locks of a session in a few words; empty where it has none. */
export function locks(of: Session): string {
  const parts = [
    ...(of.locked.length > 0 ? [`${of.locked.length} closed by hand`] : []),
    ...(of.paused.length > 0 ? [`${of.paused.length} paused`] : []),
  ];
  return parts.join(", ");
}

/** Each instrument: what is held, what locks it, and the hand on it. */
export function Instruments({ session, done }: { session: Session; done: () => void }): ReactNode {
  return (
    <>
      {session.paused.length > 0 && <p className="pad warn">◌ {session.paused.join("; ")}</p>}
      <Table
        caption="Instruments"
        rows={instruments(session)}
        id={(one) => one.symbol}
        empty="It trades nothing yet."
        limit={50}
        columns={[
          { name: "Symbol", left: true, cell: (one) => one.symbol },
          { name: "Holds", cell: (one) => amount(one.holds) },
          { name: "Trades", left: true, cell: (one) => <Trades one={one} /> },
          { name: "By hand", left: true, cell: (one) => <Hand session={session} one={one} done={done} /> },
        ]}
      />
    </>
  );
}

function Trades({ one }: { one: Instrument }): ReactNode {
  if (one.locked) return <span className="warn">■ closed by hand, until it is released</span>;
  if (one.paused) return <span className="warn">◌ paused by a protection</span>;
  return <span className="good">✓ as its agent asks</span>;
}

function Hand(props: { session: Session; one: Instrument; done: () => void }): ReactNode {
  const { session, one } = props;
  const told = (word: string) => async (password: string | undefined, key: string): Promise<void> => {
    const body = withPassword({ word, symbol: one.symbol }, password);
    await post(`/sessions/${session.id}/commands`, body, key);
    props.done();
  };
  const idle = !session.running && <p>Its process does not run: it hears this when it is started again.</p>;
  if (one.locked) {
    return (
      <Act
        deed={{
          name: "Release",
          scope: "trade",
          password: !byToken(),
          what: (
            <>
              <p>
                {session.name} trades {one.symbol} again as its agent asks; this may raise risk.
              </p>
              {idle}
            </>
          ),
          act: told("resume"),
        }}
      />
    );
  }
  return (
    <Act
      deed={{
        name: "Close and lock",
        scope: "operate",
        word: one.symbol,
        danger: true,
        what: (
          <>
            <p>
              What {session.name} holds of {one.symbol} ({amount(one.holds)}) is closed at the market, with the costs of it, and the
              instrument stays flat until somebody releases it. Of all it holds {held(session)}; the rest goes on.
            </p>
            {idle}
          </>
        ),
        act: told("flatten"),
      }}
    />
  );
}

const SIGN = { ahead: "▲ ahead", behind: "▼ behind", open: "◌ open" } as const;

/** Sessions that follow this one with accounts of their own; what is told of them holds however often one looks. */
export function Shadows({ session }: { session: Session }): ReactNode {
  const rows = Object.entries(session.shadows).map(([name, one]) => ({ name, ...one }));
  const bp = (value: number | null): string => (value === null ? "–" : figure(value * 1e4, 3));
  return (
    <Table
      caption="Shadows: log growth of a bar more than the session's, basis points"
      rows={rows}
      id={(one) => one.name}
      empty="No shadow follows it."
      columns={[
        { name: "Shadow", left: true, cell: (one) => one.name },
        { name: "Stands", left: true, cell: (one) => <Stands of={one} /> },
        { name: "Bars of both", cell: (one) => whole(one.bars) },
        { name: "bp more a bar", cell: (one) => bp(one.mean) },
        { name: "At least", wide: true, cell: (one) => bp(one.low) },
        { name: "At most", wide: true, cell: (one) => bp(one.high) },
      ]}
    />
  );
}

function Stands({ of }: { of: Shadow }): ReactNode {
  if (of.gone) return <span className="bad">✕ its account is gone</span>;
  return <span className={of.answer === "ahead" ? "good" : undefined}>{SIGN[of.answer]}</span>;
}

/** The last exchange of models; nothing where it trades no procedure. */
export function Model({ session }: { session: Session }): ReactNode {
  const one = session.model;
  if (one === null) return null;
  return (
    <Stat
      name="Model"
      value={`${one.number} ${one.state}`}
      tone={one.state === "taken" ? undefined : "down"}
      under={
        one.state === "taken" ? (
          <>
            trained until <Time ns={one.until_ns} />
          </>
        ) : (
          `${one.reason || "no reason is on record"}: the one before goes on`
        )
      }
    />
  );
}
