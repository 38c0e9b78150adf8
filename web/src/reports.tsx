// Reports are asked for with whatever one is logged in by, and kept as files.
import { type ReactNode, useState } from "react";
import { API, headers, problemOf } from "./api";
import { Fault } from "./ui";

export function Report({ path, file, children }: { path: string; file: string; children: ReactNode }): ReactNode {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Error | null>(null);
  const keep = async (): Promise<void> => {
    setBusy(true);
    setProblem(null);
    try {
      const answer = await fetch(`${API}${path}`, { headers: headers(), cache: "no-store" });
      if (!answer.ok) throw await problemOf(answer);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await answer.blob());
      link.download = file;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    } catch (error) {
      setProblem(error as Error);
    }
    setBusy(false);
  };
  return (
    <>
      <button type="button" onClick={() => void keep()} disabled={busy}>
        {busy ? "being made…" : children}
      </button>
      {problem && <Fault problem={problem} />}
    </>
  );
}
