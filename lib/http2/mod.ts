/**
 * HTTP/2 over any ByteStream: CONNECT and other requests, client and server.
 *
 * Owns: the connection, its settings, flow control and limits. Never: HBONE words. Runs on: every thread.
 *
 * @module
 */
export type {
  ClientConnection,
  ConnectAnswer,
  ConnectHead,
  Exchange,
  Headers,
  Http2Settings,
  IncomingConnect,
  IncomingRequest,
  RequestHead,
  ServerConnection,
} from "./types.ts";
export type { FloodKind, FloodViolation, OnFlood } from "./flood.ts";
export { shareWindowGrowth, WINDOW_GROWTH_BYTES_MAX } from "./window.ts";
export { connect } from "./client.ts";
export { serve } from "./server.ts";
export { Http2Error } from "./error.ts";
