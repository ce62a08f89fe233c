import type { Policy } from "#mesh";
import type { ConnectionFacts, Verdict } from "./verdict.ts";
export function authorize(_policies: readonly Policy[], _facts: ConnectionFacts): Verdict {
  throw new Error("not written");
}
