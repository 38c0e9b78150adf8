// Forms from JSON Schema: one field for each property that is a plain value, with its bounds, its default and its words.
import type { ReactNode } from "react";
import type { Schema } from "./types";

export type Values = Record<string, string>;

interface Plain {
  kind: "number" | "integer" | "boolean" | "string" | "choice";
  choices: string[];
  of: Schema;
}

function plain(schema: Schema, defs: Record<string, Schema>): Plain | null {
  if (schema.$ref !== undefined) {
    const found = defs[schema.$ref.split("/").pop() ?? ""];
    return found === undefined ? null : plain(found, defs);
  }
  if (schema.anyOf !== undefined) {
    const some = schema.anyOf.filter((one) => one.type !== "null");
    const only = some[0];
    return some.length === 1 && only !== undefined ? plain({ ...only, ...without(schema) }, defs) : null;
  }
  if (schema.enum !== undefined) return { kind: "choice", choices: schema.enum.map(String), of: schema };
  const { type } = schema;
  if (type === "number" || type === "integer" || type === "boolean" || type === "string") return { kind: type, choices: [], of: schema };
  return null;
}

function without({ anyOf: _, ...rest }: Schema): Schema {
  return rest;
}

export function SchemaForm(props: {
  schema: Schema;
  defs: Record<string, Schema>;
  values: Values;
  change: (next: Values) => void;
  prefix: string;
  leave?: readonly string[];
}): ReactNode {
  const required = new Set(props.schema.required ?? []);
  const fields = Object.entries(props.schema.properties ?? {}).filter(([name]) => !(props.leave ?? []).includes(name));
  return (
    <div className="fields">
      {fields.map(([name, schema]) => {
        const found = plain(schema, props.defs);
        if (found === null) return null;
        return (
          <Field
            key={name}
            name={name}
            id={`${props.prefix}-${name}`}
            plain={found}
            about={schema.description ?? found.of.description ?? ""}
            fallback={schema.default}
            required={required.has(name)}
            value={props.values[name] ?? ""}
            change={(value) => {
              const next = { ...props.values };
              if (value === "") delete next[name];
              else next[name] = value;
              props.change(next);
            }}
          />
        );
      })}
    </div>
  );
}

function Field(props: {
  name: string;
  id: string;
  plain: Plain;
  about: string;
  fallback: unknown;
  required: boolean;
  value: string;
  change: (value: string) => void;
}): ReactNode {
  const { plain: found, fallback } = props;
  const said = fallback === undefined || fallback === null ? "" : typeof fallback === "object" ? JSON.stringify(fallback) : String(fallback);
  const hint = [props.about, bounds(found.of)].filter(Boolean).join(" ");
  const common = { id: props.id, required: props.required, "aria-describedby": hint === "" ? undefined : `${props.id}-hint` };
  const choices = found.kind === "boolean" ? ["true", "false"] : found.choices;
  return (
    <div>
      <label htmlFor={props.id}>{props.name.replaceAll("_", " ")}</label>
      {choices.length > 0 ? (
        <select {...common} value={props.value} onChange={(event) => props.change(event.target.value)}>
          <option value="">{said === "" ? "–" : `${said} (default)`}</option>
          {choices.map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
      ) : (
        <input
          {...common}
          value={props.value}
          placeholder={said}
          onChange={(event) => props.change(event.target.value)}
          inputMode={found.kind === "string" ? "text" : "decimal"}
          spellCheck={false}
          autoComplete="off"
          {...(found.of.pattern === undefined ? {} : { pattern: found.of.pattern.replace(/^\^|\$$/g, "") })}
        />
      )}
      {hint !== "" && (
        <p id={`${props.id}-hint`} className="hint">
          {hint}
        </p>
      )}
    </div>
  );
}

function bounds(schema: Schema): string {
  const low = schema.minimum ?? schema.exclusiveMinimum;
  const high = schema.maximum ?? schema.exclusiveMaximum;
  if (low === undefined && high === undefined) return "";
  return `(${low === undefined ? "" : `from ${low}`}${high === undefined ? "" : ` to ${high}`})`;
}

/** Values as their schema has them; a text that is no number stays one, and the service says what is wrong with it. */
export function typed(schema: Schema, defs: Record<string, Schema>, values: Values): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => {
      const kind = plain(schema.properties?.[name] ?? {}, defs)?.kind;
      if (kind === "number" || kind === "integer") return [name, Number.isFinite(Number(value)) ? Number(value) : value];
      return [name, kind === "boolean" ? value === "true" : value];
    }),
  );
}
