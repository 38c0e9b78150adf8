// What pages of portfolios share: what they are told by, how old their figures may be, money as text.
import { serviceNow } from "./api";
import { ms } from "./format";
import type { Portfolio } from "./types";

const MOVES = ["settled", "state", "transfer"] as const;
export const LEAST = { kinds: MOVES, least: 1_000, every: 5_000 };
const LATE_MS = 30_000;

/** What the supervisor looked at last; when it does not run, all figures are old. */
export function looked(row: Portfolio): boolean {
  const at = ms(row.looked_ns);
  return at !== null && serviceNow() - at < LATE_MS;
}

/** A decimal of a currency as whole units of 1e-8, exactly, also with the minus that figures here have; null where it is none. */
export function toUnits(text: string): string | null {
  const found = /^([-−]?)(\d{1,10})(?:\.(\d{1,8}))?$/.exec(text.trim());
  if (found === null) return null;
  const [, sign = "", head = "", tail = ""] = found;
  return (BigInt(`${head}${tail.padEnd(8, "0")}`) * (sign === "" ? 1n : -1n)).toString();
}
