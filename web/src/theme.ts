// Light, dark, or as the machine has it.
import { Value } from "./api";

export type Theme = "system" | "light" | "dark";
const KEY = "qframe-theme";
const asked = matchMedia("(prefers-color-scheme: dark)");

function chosen(): Theme {
  const kept = localStorage.getItem(KEY);
  return kept === "light" || kept === "dark" ? kept : "system";
}

export const theme = new Value<Theme>(chosen());
/** What is shown; moves when the machine's own does. */
export const shade = new Value<"light" | "dark">("light");

function apply(): void {
  const now = theme.get() === "system" ? (asked.matches ? "dark" : "light") : theme.get();
  document.documentElement.dataset.theme = now;
  shade.set(now === "dark" ? "dark" : "light");
}

export function choose(next: Theme): void {
  localStorage.setItem(KEY, next);
  theme.set(next);
  apply();
}

asked.addEventListener("change", apply);
apply();

/** A colour of the style sheet. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
