import type { ReactNode } from "react";
import { useGet } from "../store";
import type { Alert } from "../types";
import { Panel } from "../ui";
import { AlertTable } from "./overview";

export function AlertsPage(): ReactNode {
  const shown = useGet<Alert[]>("/alerts?limit=500", { kinds: ["state", "settled"], least: 2_000 });
  return (
    <>
      <div className="head">
        <h1>Alerts</h1>
      </div>
      <Panel title="All sessions, newest first" of={shown}>
        {shown.data !== null && <AlertTable rows={shown.data} />}
      </Panel>
    </>
  );
}
