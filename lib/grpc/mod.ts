/**
 * gRPC to the control plane, whose server we verify ourselves before it gets a single header.
 *
 * Owns: channel credentials and options, the token and the roots of each attempt, calls and streams of bytes. Never:
 * xDS words, messages, reconnecting. Runs on: the control thread.
 *
 * @module
 */
export { channelCredentials, channelOptions, type ServerTrust } from "./channel.ts";
export { type Endpoint, readRoots, type RootsSource, type TokenSource } from "./endpoint.ts";
export { connectChannel, type GrpcChannel, GrpcError, type GrpcStream } from "./calls.ts";
