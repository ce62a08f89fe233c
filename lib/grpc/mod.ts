/**
 * A grpc-js channel to the control plane, whose server we verify ourselves before it gets a single header.
 *
 * Owns: channel credentials and options. Never: xDS words, tokens. Runs on: the control thread.
 *
 * @module
 */
export { channelCredentials, channelOptions, type ServerTrust } from "./channel.ts";
