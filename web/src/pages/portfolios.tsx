import { type FormEvent, type ReactNode, useState } from "react";
import { byToken, post, withPassword } from "../api";
import { LEAST, looked, toUnits } from "../capital";
import { money, units } from "../format";
import { SchemaForm, type Values, typed } from "../schema";
import { useGet } from "../store";
import type { Portfolio, Schema } from "../types";
import { Age, Mark, Panel, Sure, Table, useForbidden } from "../ui";

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
            rowClass={(one) => (looked(one) ? undefined : "late")}
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
              await post("/portfolios", withPassword(body, password), key);
              setOpen(false);
              done();
            },
          }}
        />
      )}
    </section>
  );
}
