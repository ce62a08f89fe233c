/**
 * gRPC to the control plane over our own HTTP/2 and TLS: a server is verified before it gets a single header.
 *
 * Owns: channels, calls and streams of bytes, the token and the roots of each attempt. Never: xDS words, messages,
 * reconnecting. Runs on: the control thread.
 *
 * @module
 */
export { type Endpoint, readRoots, type RootsSource, type TokenSource } from "./endpoint.ts";
export { CONTROL_KEEPALIVE, type Network } from "./connect.ts";
export { connectChannel, type GrpcChannel } from "./channel.ts";
export type { GrpcMessage, GrpcStream } from "./call.ts";
export { GrpcError } from "./status.ts";
