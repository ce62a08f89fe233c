/**
 * L4 authorization: may this connection live?
 *
 * Owns: the compiled form of policies and the evaluation order. Never: I/O, clocks, await. Runs on: data threads.
 *
 * @module
 */
export { authorize } from "./authorize.ts";
export type { ConnectionFacts, PolicyNote, Verdict } from "./verdict.ts";
