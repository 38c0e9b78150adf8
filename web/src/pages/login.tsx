import { type FormEvent, type ReactNode, useState } from "react";
import { identity, login, withToken } from "../api";
import { useValue } from "../store";
import { Fault } from "../ui";
import { Logo } from "../shell";

export function LoginPage(): ReactNode {
  const { why } = useValue(identity);
  const [problem, setProblem] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const tried = (way: () => Promise<void>) => async (): Promise<void> => {
    setBusy(true);
    setProblem(null);
    try {
      await way();
    } catch (error) {
      setProblem(error as Error);
    } finally {
      setBusy(false);
    }
  };
  const given = (event: FormEvent<HTMLFormElement>): Record<string, string> => {
    event.preventDefault();
    return Object.fromEntries([...new FormData(event.currentTarget)].map(([name, text]) => [name, String(text)]));
  };
  return (
    <main className="gate">
      <div>
        <h1>
          <Logo /> QFrame
        </h1>
        <div className="panel">
          <form
            onSubmit={(event) => {
              const { name = "", password = "" } = given(event);
              void tried(() => login(name, password))();
            }}
          >
            <label>
              User
              <input name="name" autoComplete="username" autoCapitalize="none" spellCheck={false} required autoFocus />
            </label>
            <label>
              Password
              <input name="password" type="password" autoComplete="current-password" required />
            </label>
            {(problem ?? why) && <Fault problem={problem ?? new Error(why ?? "")} />}
            <button type="submit" className="main" disabled={busy}>
              {busy ? "asking…" : "Log in"}
            </button>
          </form>
          <details>
            <summary>With a token instead</summary>
            <form
              onSubmit={(event) => {
                const { token = "" } = given(event);
                void tried(() => withToken(token))();
              }}
            >
              <label>
                Token
                <input name="token" type="password" autoComplete="off" spellCheck={false} placeholder="qfr_…" required />
              </label>
              <p className="hint">
                It is forgotten when this tab is closed. <span className="mono">qframe token make NAME --scopes read</span>{" "}
                makes one, <span className="mono">qframe token user NAME</span> a user.
              </p>
              <button type="submit" disabled={busy}>
                Use it
              </button>
            </form>
          </details>
        </div>
      </div>
    </main>
  );
}
