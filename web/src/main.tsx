import { type ReactNode, StrictMode, useEffect } from "react";
import { createRoot } from "react-dom/client";
import "./style.css";
import "./theme";
import { identity, whoAsks } from "./api";
import "./live";
import { AlertsPage } from "./pages/alerts";
import { LoginPage } from "./pages/login";
import { OverviewPage } from "./pages/overview";
import { SessionPage } from "./pages/session";
import { Frame } from "./shell";
import { usePlace, useValue } from "./store";
import { Empty } from "./ui";

function page(place: string): [string, ReactNode] {
  const [path = "/", query = ""] = place.split("?");
  const [, room = "", id = ""] = path.split("/");
  void query;
  if (room === "") return ["Overview", <OverviewPage />];
  if (room === "session") return ["Session", <SessionPage key={id} id={id} />];
  if (room === "alerts") return ["Alerts", <AlertsPage />];
  return ["Nothing here", <Empty>There is no such page.</Empty>];
}

function Cockpit(): ReactNode {
  const { state } = useValue(identity);
  const place = usePlace();
  const [title, shown] = page(place);
  useEffect(() => {
    document.title = state === "in" ? `${title} · QFrame` : "QFrame";
  }, [title, state]);
  if (state === "asking") return <Empty>asking who you are…</Empty>;
  return state === "out" ? <LoginPage /> : <Frame>{shown}</Frame>;
}

const root = document.getElementById("root");
if (root !== null) {
  createRoot(root).render(
    <StrictMode>
      <Cockpit />
    </StrictMode>,
  );
}
void whoAsks();
if ("serviceWorker" in navigator) void navigator.serviceWorker.register("/sw.js");
