import type { MeshView } from "#mesh";
import type { Rng } from "#system";
import type { OutboundAsk, OutboundPlan } from "./plan.ts";
export function planOutbound(_view: MeshView, _ask: OutboundAsk, _rng: Rng): OutboundPlan {
  throw new Error("not written");
}
