/**
 * The words of the house: addresses, identities and the ways to fail.
 *
 * Owns: their canonical text and their parsing. Never: I/O, state, clocks. Runs on: every thread.
 *
 * @module
 */
export { Cidr, Ip } from "./ip.ts";
export { SocketAddress } from "./socket_address.ts";
export { SpiffeId } from "./spiffe.ts";
export { CONSEQUENCES, describeFailure, type Failure, Refusal } from "./failure.ts";
