// What is changed about a portfolio: the limits of all its members, and how a member earns its capital.
import { type ReactNode, useState } from "react";
import { asked, byToken, withPassword } from "./api";
import { share, span } from "./format";
import { SchemaForm, type Values, typed } from "./schema";
import { useGet } from "./store";
import type { Portfolio, RampState, Schema } from "./types";
import { Act, type Deed, Table } from "./ui";

/** A change of a portfolio as it was seen: one that somebody else has changed meanwhile is refused. */
export function changes(
  row: Portfolio,
  deed: Omit<Deed, "scope" | "act">,
  body: Record<string, unknown>,
  done: (now: Portfolio) => void,
): Deed {
  return {
    scope: "trade",
    password: !byToken(),
    ...deed,
    act: async (password) => {
      const match = { "if-match": `"${row.revision}"` };
      done((await asked<Portfolio>("PATCH", `/portfolios/${row.id}`, withPassword(body, password), match)).data);
    },
  };
}

/** How far a member is on its way to its share. */
export function Ramp({ of }: { of: RampState | null }): ReactNode {
  if (of === null) return "–";
  return (
    <span className="text" title={of.why}>
      {share(of.share)} of its share for {span(Number(BigInt(of.served_ns) / 1_000_000n))}
      {of.moving ? ", its money is on the way" : ""}
    </span>
  );
}

/** Ramps of all members, and a change of one; its outcome is what the service answers. */
export function Ramps({ row, done }: { row: Portfolio; done: () => void }): ReactNode {
  const [member, setMember] = useState("");
  const [steps, setSteps] = useState("");
  const [said, setSaid] = useState("");
  const chosen = row.members.find((one) => one.name === member);
  const put = (name: string, what: ReactNode, text: string | null): Deed =>
    changes(row, { name, what, word: member }, { ramps: { [member]: text } }, (now) => {
      const ramp = now.members.find((one) => one.name === member)?.ramp ?? null;
      setSaid(`✓ revision ${now.revision}: ${member} ${ramp === null ? "has no ramp any more" : `is on the ramp ${ramp.steps}, at ${share(ramp.share)} of its share`}.`);
      done();
    });
  return (
    <>
      <Table
        caption="Ramps"
        rows={row.members.filter((one) => one.ramp !== null)}
        id={(one) => one.name}
        empty="No member has a ramp: each has all of its share at once."
        columns={[
          { name: "Member", left: true, cell: (one) => one.name },
          { name: "Steps", left: true, cell: (one) => <span className="mono">{one.ramp?.steps}</span> },
          { name: "Now", left: true, cell: (one) => <Ramp of={one.ramp} /> },
          { name: "Last decision", left: true, wide: true, cell: (one) => <span className="text">{one.ramp?.why}</span> },
        ]}
      />
      <div className="pad row">
        <label className="inline">
          Member
          <select value={member} onChange={(event) => setMember(event.target.value)}>
            <option value="">choose…</option>
            {row.members.map((one) => (
              <option key={one.name}>{one.name}</option>
            ))}
          </select>
        </label>
        <label className="inline">
          Steps
          <input value={steps} onChange={(event) => setSteps(event.target.value)} placeholder="5%:14d,25%:30d,100%" spellCheck={false} />
        </label>
        {member !== "" && steps.trim() !== "" && (
          <Act
            deed={put(
              "Set the ramp",
              <>
                <p>
                  {member} gets its share of {row.id} in the steps {steps.trim()}, from the first one on: each after so long inside its
                  promise, and a step back at the first bar outside.
                </p>
                <p>What it has beyond the first step goes back to what is unallocated.</p>
              </>,
              steps.trim(),
            )}
          />
        )}
        {chosen?.ramp && (
          <Act
            deed={put(
              "End the ramp",
              <p>
                {member} gets all of its share with the next rebalance, whether it keeps its promise or not; this may raise risk.
              </p>,
              null,
            )}
          />
        )}
      </div>
      {said !== "" && (
        <p className="pad good" role="status">
          {said}
        </p>
      )}
    </>
  );
}

/** The limits of all members together, as a form of their schema; a field that is empty binds nothing. */
export function NewLimits({ row, done }: { row: Portfolio; done: () => void }): ReactNode {
  const [open, setOpen] = useState(false);
  const [values, setValues] = useState<Values>({});
  const [said, setSaid] = useState("");
  const document = useGet<{ components: { schemas: Record<string, Schema> } }>(open ? "/openapi.json" : null, { every: 3_600_000 });
  const defs = document.data?.components.schemas ?? {};
  const schema = defs.PortfolioLimits;
  const now = Object.fromEntries(Object.entries(row.limits).flatMap(([name, value]) => (value === null ? [] : [[name, String(value)]])));
  const names = Object.keys(schema?.properties ?? {});
  const moved = names.filter((name) => (values[name] ?? "") !== (now[name] ?? ""));
  const limits = schema === undefined ? {} : typed(schema, defs, values);
  return (
    <details
      open={open}
      onToggle={(event) => {
        if (event.target !== event.currentTarget) return; // the dialog in it opened
        setOpen(event.currentTarget.open);
        if (event.currentTarget.open) setValues(now);
      }}
    >
      <summary className="pad">Change the limits</summary>
      <div className="pad">
        {schema && <SchemaForm prefix="limits" schema={schema} defs={defs} values={values} change={setValues} />}
        {moved.length > 0 && (
          <Act
            deed={changes(
              row,
              {
                name: "Change the limits",
                word: row.id,
                what: (
                  <>
                    <p>All members of {row.id} together are held to these from the supervisor's next look on:</p>
                    <ul>
                      {moved.map((name) => (
                        <li key={name}>
                          {name.replaceAll("_", " ")}: {now[name] ?? "no limit"} → {values[name] ?? "no limit"}
                        </li>
                      ))}
                    </ul>
                    <p>A wider limit may raise risk; one that is tighter than what is held lets the portfolio reduce at once.</p>
                  </>
                ),
              },
              { limits },
              (after) => {
                setSaid(`✓ revision ${after.revision}: the limits are as asked.`);
                done();
              },
            )}
          />
        )}
        {said !== "" && (
          <p className="good" role="status">
            {said}
          </p>
        )}
      </div>
    </details>
  );
}
