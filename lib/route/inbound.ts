import type { MeshView } from "#mesh";
import type { InboundAsk, InboundPlan } from "./plan.ts";
export function planInbound(_view: MeshView, _ask: InboundAsk): InboundPlan {
  throw new Error("not written");
}
