import { type ReactNode, StrictMode, useEffect } from "react";
import { createRoot } from "react-dom/client";
import "./style.css";
import "./theme";
import { identity, whoAsks } from "./api";
import "./live";
import { AlertsPage } from "./pages/alerts";
import { ComparePage } from "./pages/compare";
import { JobPage, JobsPage } from "./pages/jobs";
import { LoginPage } from "./pages/login";
import { OverviewPage } from "./pages/overview";
import { PortfolioPage } from "./pages/portfolio";
import { PortfoliosPage } from "./pages/portfolios";
import { ResearchPage } from "./pages/research";
import { RunPage } from "./pages/run";
import { SessionPage } from "./pages/session";
import { SettingsPage } from "./pages/settings";
import { SupervisedPage } from "./pages/supervised";
import { Frame } from "./shell";
import { usePlace, useValue } from "./store";
import { Empty } from "./ui";

function page(place: string): [string, ReactNode] {
  const [path = "/", query = ""] = place.split("?");
  const [, room = "", id = ""] = path.split("/");
  if (room === "") return ["Overview", <OverviewPage />];
  if (room === "session") return ["Session", <SessionPage key={id} id={id} at={Number(new URLSearchParams(query).get("at")) || null} />];
  if (room === "portfolios") return ["Portfolios", <PortfoliosPage />];
  if (room === "portfolio") return ["Portfolio", <PortfolioPage key={id} id={id} />];
  if (room === "compare") return ["Compare", <ComparePage query={query} />];
  if (room === "research") return ["Research", <ResearchPage />];
  if (room === "run") return ["Run", <RunPage key={id} id={id} />];
  if (room === "jobs") return ["Jobs", <JobsPage key={query} query={query} />];
  if (room === "job") return ["Job", <JobPage key={id} id={id} />];
  if (room === "supervised") return ["Supervised", <SupervisedPage />];
  if (room === "alerts") return ["Alerts", <AlertsPage />];
  if (room === "settings") return ["Settings", <SettingsPage />];
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
