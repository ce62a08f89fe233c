/**
 * Where a connection goes, decided in one turn from the mesh alone.
 *
 * Owns: the outbound and inbound decision trees, load balancing. Never: await, sockets. Runs on: data threads.
 *
 * @module
 */
export type * from "./plan.ts";
export { attributeService } from "./attribution.ts";
export { missingAddress } from "./on_demand.ts";
export { planInbound } from "./inbound.ts";
export { planOutbound } from "./outbound.ts";
