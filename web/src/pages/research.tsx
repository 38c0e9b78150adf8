import type { ReactNode } from "react";
import { figure, whole } from "../format";
import { useGet } from "../store";
import type { Checkpoint, RunRow, Trials } from "../types";
import { Fault, Mark, Panel, Table } from "../ui";
import { timeframe } from "../format";

const SLOWLY_MS = 15_000;

export function ResearchPage(): ReactNode {
  const runs = useGet<RunRow[]>("/runs", { every: SLOWLY_MS });
  const checkpoints = useGet<Checkpoint[]>("/checkpoints", { every: SLOWLY_MS });
  return (
    <>
      <div className="head">
        <h1>Research</h1>
        <span className="room" />
        <a className="button" href="#/jobs">
          Train, evaluate, tune
        </a>
      </div>
      <Panel title="Runs, newest first" of={runs}>
        {runs.data !== null && (
          <Table
            caption="Runs"
            rows={runs.data}
            id={(one) => one.id}
            empty="No run lies below the folders that are served: qframe train makes one, or a job."
            limit={30}
            columns={[
              { name: "Run", left: true, cell: (one) => <a href={`#/run/${one.id}`}>{one.id}</a> },
              { name: "Kind", left: true, cell: (one) => one.kind },
              { name: "Folder", left: true, wide: true, cell: (one) => one.name },
            ]}
          />
        )}
      </Panel>
      <Panel title="Checkpoints" of={checkpoints}>
        {checkpoints.data !== null && (
          <Table
            caption="Checkpoints"
            rows={checkpoints.data}
            id={(one) => one.id}
            empty="No checkpoint lies below the folders that are served."
            limit={30}
            columns={[
              { name: "Checkpoint", left: true, cell: (one) => <span className="text">{one.id}</span> },
              { name: "Agent", left: true, wide: true, cell: (one) => one.agent ?? <span className="bad">✕ {one.broken}</span> },
              { name: "Market", left: true, wide: true, cell: (one) => one.market ?? "–" },
              { name: "Symbols", left: true, wide: true, cell: (one) => one.symbols.slice(0, 3).join(", ") || "–" },
              { name: "Bars", wide: true, cell: (one) => timeframe(one.bar_ns) },
              { name: "Verdict", left: true, cell: (one) => <Promoted promoted={one.promoted} /> },
              {
                name: "Curve",
                left: true,
                wide: true,
                cell: (one) => <a href={`#/compare?of=checkpoint:${one.id}`}>compare</a>,
              },
            ]}
          />
        )}
      </Panel>
      <LedgerOfTrials />
    </>
  );
}

export function Promoted({ promoted }: { promoted: boolean | null }): ReactNode {
  if (promoted === null) return <span className="faint">not judged</span>;
  return promoted ? <Mark state="DONE">passed the test for deployment</Mark> : <Mark state="HALTED">did not pass it</Mark>;
}

/** Everything that was ever tried on a data set counts against the best of it. */
function LedgerOfTrials(): ReactNode {
  const shown = useGet<Trials[]>("/trials", { every: 60_000 });
  return (
    <Panel title="Trials on the ledger" of={shown}>
      {shown.problem && shown.data === null && <Fault problem={shown.problem} />}
      {shown.data !== null && (
        <Table
          caption="Trials by data set"
          rows={shown.data}
          id={(one) => one.fingerprint}
          empty="Nothing was ever scored by this user."
          limit={20}
          columns={[
            { name: "Data", left: true, cell: (one) => <span className="text">{one.dataset}</span> },
            { name: "Trials", cell: (one) => whole(one.trials) },
            { name: "Worth", wide: true, cell: (one) => (one.effective === null ? "–" : figure(one.effective, 1)) },
            { name: "Best", left: true, cell: (one) => one.best },
            { name: "Its ratio × √bars", wide: true, cell: (one) => figure(one.best_ratio) },
            { name: "Luck alone", wide: true, cell: (one) => figure(one.luck_ratio) },
            { name: "In words", left: true, cell: (one) => <Lucky row={one} /> },
          ]}
        />
      )}
    </Panel>
  );
}

function Lucky({ row }: { row: Trials }): ReactNode {
  if (row.best_ratio === null) return "nothing moved";
  return row.best_ratio > row.luck_ratio
    ? "above what luck alone would show; its DSR says how surely"
    : "no more than luck alone would show";
}
