// What stands round every page: where one is, whether the figures are live, and the kill switch.
import { type ReactNode, useEffect, useState } from "react";
import { get, identity, post, serviceNow } from "./api";
import { clock, span } from "./format";
import { Told, type ToldSession } from "./acts";
import { link } from "./live";
import { useNow, usePlace, useValue } from "./store";
import type { Session } from "./types";
import { Dialog, classes, useForbidden, Sure } from "./ui";

export const PLACES = [
  ["/", "Overview", "o"],
  ["/portfolios", "Portfolios", "p"],
  ["/compare", "Compare", "c"],
  ["/research", "Research", "r"],
  ["/jobs", "Jobs", "j"],
  ["/supervised", "Supervised", "s"],
  ["/alerts", "Alerts", "a"],
  ["/settings", "Settings", "e"],
] as const;

/** The others are reached from those. */
const ON_A_PHONE: ReadonlySet<string> = new Set(["/", "/portfolios", "/research", "/alerts"]);

export function Logo(): ReactNode {
  return (
    <svg viewBox="0 0 512 512" aria-hidden="true">
      <path d="M70 70h372v372H70z" fill="none" stroke="var(--accent)" strokeWidth="44" />
      <path d="M70 350l110-100 92 66 170-158" fill="none" stroke="currentColor" strokeWidth="46" strokeLinejoin="round" />
    </svg>
  );
}

function isHere(place: string, path: string): boolean {
  if (path === "/") return place === "/" || place.startsWith("/session/");
  if (path === "/research") return place.startsWith("/research") || place.startsWith("/run/");
  if (path === "/portfolios") return place.startsWith("/portfolio");
  if (path === "/jobs") return place.startsWith("/job");
  return place.startsWith(path);
}

export function Frame({ children }: { children: ReactNode }): ReactNode {
  const place = usePlace();
  const { me } = useValue(identity);
  const [help, setHelp] = useState(false);
  useKeys(() => setHelp(true));
  return (
    <>
      <a className="hidden" href="#content" onClick={skip}>
        To the content
      </a>
      <div className="frame">
        <header className="bar">
          <a className="brand" href="#/" aria-label="QFrame, overview">
            <Logo /> <span>QFrame</span>
          </a>
          <LinkState />
          <div className="room" />
          <span className="faint who">{me?.name}</span>
          <button type="button" className="plain" onClick={() => setHelp(true)} aria-label="Keys">
            ?
          </button>
          <Kill />
        </header>
        <div className="side">
          <nav aria-label="Pages">
            {PLACES.map(([path, name, key]) => (
              <a key={path} href={`#${path}`} aria-current={isHere(place, path) ? "page" : undefined}>
                {name} <kbd aria-hidden="true">{key}</kbd>
              </a>
            ))}
          </nav>
        </div>
        <main id="content" tabIndex={-1}>
          <Lost />
          {children}
        </main>
        <nav className="thumb" aria-label="Pages, on a phone">
          {PLACES.filter(([path]) => ON_A_PHONE.has(path)).map(([path, name]) => (
            <a key={path} href={`#${path}`} aria-current={isHere(place, path) ? "page" : undefined}>
              {name}
            </a>
          ))}
          <button type="button" onClick={() => setHelp(true)}>
            More
          </button>
        </nav>
      </div>
      {help && <Keys close={() => setHelp(false)} />}
    </>
  );
}

function skip(event: { preventDefault: () => void }): void {
  event.preventDefault();
  document.getElementById("content")?.focus();
}

/** Whether events come, in a sign, a word and a time. */
function LinkState(): ReactNode {
  const { state, since, taken, doubled, missing } = useValue(link);
  const now = useNow();
  const words = { off: "off", joining: "joining…", live: "live", lost: "lost", resting: "resting" }[state];
  const sign = state === "live" ? "●" : state === "lost" ? "✕" : "◌";
  const about = `${taken} events taken, ${missing} missing, ${doubled} sent twice`;
  return (
    <span className="link" role="status" data-link={state} title={about}>
      <span className={classes(state === "live" && "good", state === "lost" && "bad")} aria-hidden="true">
        {sign}
      </span>
      <b className={classes(state === "live" && "good", state === "lost" && "bad")}>{words}</b>
      <span aria-hidden="true">{state === "lost" ? `for ${span(now - since)}` : `${clock(serviceNow())} UTC`}</span>
    </span>
  );
}

function Lost(): ReactNode {
  const { state, since, why } = useValue(link);
  const now = useNow();
  if (state !== "lost") return null;
  return (
    <p className="banner" role="alert">
      ✕ The connection is lost: {why} What is shown is as of {clock(since)} UTC or older; it is tried again, for{" "}
      {span(now - since)}.
    </p>
  );
}

interface Killed {
  told: ToldSession[];
}

function Kill(): ReactNode {
  const why = useForbidden("operate");
  const [sessions, setSessions] = useState<Session[] | null>(null);
  const [told, setTold] = useState<{ rows: Killed["told"]; sessions: Session[] } | null>(null);
  const open = async (): Promise<void> => setSessions(await get<Session[]>("/sessions"));
  const running = sessions?.filter((one) => one.running) ?? [];
  return (
    <>
      <button
        type="button"
        className="danger kill"
        aria-disabled={why !== null}
        title={why ?? "Halt every session"}
        onClick={() => why === null && void open()}
      >
        KILL
      </button>
      {sessions !== null && (
        <Sure
          close={() => setSessions(null)}
          deed={{
            name: "Halt every session",
            scope: "operate",
            word: "KILL",
            danger: true,
            what: (
              <>
                <p>
                  All {sessions.length} sessions are told to halt; {running.length} of them run now:{" "}
                  {running.map((one) => one.name).join(", ") || "none"}.
                </p>
                <p>
                  A halted session sends no order, until somebody says resume. What is held stays open: nothing closes it
                  but flatten.
                </p>
              </>
            ),
            act: async (_, key) => setTold({ rows: (await post<Killed>("/kill", {}, key)).told, sessions }),
          }}
        />
      )}
      {told !== null && (
        <Dialog title="What the journals say" close={() => setTold(null)}>
          <Told told={told.rows} sessions={told.sessions} />
          <div className="buttons">
            <button type="button" onClick={() => setTold(null)}>
              Close
            </button>
          </div>
        </Dialog>
      )}
    </>
  );
}

/** g and a letter go to a page; ? shows the keys. */
function useKeys(help: () => void): void {
  useEffect(() => {
    let going = 0;
    const pressed = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      if (/^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) return;
      if (event.key === "?") return help();
      if (event.key === "g") {
        going = event.timeStamp;
        return;
      }
      const found = PLACES.find(([, , key]) => key === event.key);
      if (found !== undefined && event.timeStamp - going < 1_500) {
        location.hash = found[0];
        going = 0;
      }
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  }, []);
}

function Keys({ close }: { close: () => void }): ReactNode {
  return (
    <Dialog title="Pages and keys" close={close}>
      <dl className="pairs">
        {PLACES.map(([path, name, key]) => (
          <div key={path} style={{ display: "contents" }}>
            <dt>
              <kbd>g</kbd> <kbd>{key}</kbd>
            </dt>
            <dd>
              <a href={`#${path}`} onClick={close}>
                {name}
              </a>
            </dd>
          </div>
        ))}
        <dt>← →</dt>
        <dd>in a chart: the bar before, the bar after</dd>
        <dt>+ − 0</dt>
        <dd>in a chart: nearer, farther, all of it</dd>
        <dt>Esc</dt>
        <dd>close a dialog; nothing is done</dd>
      </dl>
      <div className="buttons">
        <button type="button" onClick={close}>
          Close
        </button>
      </div>
    </Dialog>
  );
}
