// What may be done to a session, in words, and what its journal says became of it.
import type { ReactNode } from "react";
import { byToken, post, withPassword } from "./api";
import { useGet } from "./store";
import type { Command, Session } from "./types";
import { Act, type Deed, Table, Time } from "./ui";

const KINDS = ["command", "state"] as const;

/** Words for sessions and portfolios: the button, what happens in words, and what it takes. */
export type Words = Record<string, [string, ReactNode, Partial<Deed>]>;

/** Buttons of words that a session, or all members of a portfolio, can be told. */
export function WordActs({ words, path, done }: { words: Words; path: string; done: () => void }): ReactNode {
  return (
    <div className="row">
      {Object.entries(words).map(([word, [name, what, more]]) => (
        <Act
          key={word}
          deed={{
            name,
            scope: "operate",
            what,
            act: async (password, key) => {
              await post(path, withPassword({ word }, password), key);
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

function wordsOf(one: Session): Words {
  const idle = !one.running && <p>Its process does not run: it hears this when it is started again.</p>;
  return {
    halt: [
      "Halt",
      (
        <>
          <p>{one.name} sends no order any more, until somebody says resume.</p>
          <p>What it holds ({held(one)}) stays open and moves with the market.</p>
          {idle}
        </>
      ),
      { scope: "operate" },
    ],
    reduce: [
      "Reduce only",
      (
        <>
          <p>Of each order of {one.name} only the part goes out that makes a position smaller.</p>
          <p>What it holds ({held(one)}) stays open until its agent closes it.</p>
          {idle}
        </>
      ),
      { scope: "operate" },
    ],
    flatten: [
      "Flatten",
      (
        <>
          <p>
            All that {one.name} holds ({held(one)}) is closed at the market, with the costs of it; then it is halted.
          </p>
          <p>On paper and in replays that happens at its next bar, on an exchange at once.</p>
          {idle}
        </>
      ),
      { scope: "operate", word: "FLATTEN", danger: true },
    ],
    resume: [
      "Resume",
      (
        <>
          <p>{one.name} trades again as its agent asks; this may raise risk.</p>
          {idle}
        </>
      ),
      { scope: "trade", password: true },
    ],
  };
}

export function held(session: Session): string {
  const parts = session.symbols
    .map((symbol, k) => [symbol, session.position[k] ?? 0] as const)
    .filter(([, quantity]) => quantity !== 0)
    .map(([symbol, quantity]) => `${quantity} ${symbol}`);
  return parts.join(", ") || "nothing";
}

/** Buttons of a session's commands. */
export function Acts({ session, done }: { session: Session; done: () => void }): ReactNode {
  return <WordActs words={wordsOf(session)} path={`/sessions/${session.id}/commands`} done={done} />;
}

/** What a session was told, and what its journal says became of it. */
export function Outcomes({ commands }: { commands: readonly Command[] }): ReactNode {
  return (
    <Table
      caption="Commands, newest first"
      rows={commands}
      id={(one) => `${one.number} ${one.obeyed}`}
      empty="Nobody has told it anything."
      limit={20}
      columns={[
        { name: "Command", left: true, cell: (one) => one.word },
        { name: "Asked", left: true, cell: (one) => <Time ns={one.asked_ns} /> },
        { name: "Outcome, by the journal", left: true, cell: (one) => <Outcome command={one} /> },
        { name: "By", left: true, wide: true, cell: (one) => one.by ?? "" },
      ]}
    />
  );
}

function Outcome({ command }: { command: Command }): ReactNode {
  if (command.obeyed === null) return <span className="warn">◌ asked; the journal does not say obeyed yet</span>;
  if (command.refused !== null) return <span className="bad">✕ refused: {command.refused}</span>;
  return (
    <span className="good">
      ✓ obeyed{" "}
      {command.obeyed_at_ns === null ? "before its first bar" : <>at bar <Time ns={command.obeyed_at_ns} /></>}, event{" "}
      {command.obeyed}
    </span>
  );
}

/** How a session was told to halt: by inbox, file, signal, or why by none of them. */
export interface ToldSession {
  session: string;
  ways: string[];
  number?: string;
  failed?: string;
}

/** After a kill: of each session that it was asked, and then that it obeyed. */
export function Told(props: {
  told: readonly ToldSession[];
  sessions: readonly Session[];
}): ReactNode {
  if (props.told.length === 0) return <p>There is no session.</p>;
  return (
    <dl className="pairs">
      {props.told.map((one) => (
        <ToldOne key={one.session} told={one} session={props.sessions.find((s) => s.id === one.session)} />
      ))}
    </dl>
  );
}

function ToldOne(props: { told: ToldSession; session: Session | undefined }): ReactNode {
  const { told } = props;
  const path = told.failed === undefined ? `/sessions/${told.session}/commands` : null;
  const shown = useGet<Command[]>(path, { session: told.session, kinds: KINDS, every: 1_000 });
  const found = shown.data?.find((one) => one.number === told.number);
  return (
    <>
      <dt>{props.session?.name ?? told.session}</dt>
      <dd>
        {told.failed !== undefined && <span className="bad">✕ {told.failed}</span>}
        {told.failed === undefined && found !== undefined && <Outcome command={found} />}
        {told.failed === undefined && found === undefined && "asked"}
        {told.failed === undefined && <span className="faint"> (told by {told.ways.join(", ")})</span>}
        {props.session?.running === false && found?.obeyed === null && " (its process does not run)"}
      </dd>
    </>
  );
}
