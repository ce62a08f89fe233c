/**
 * HBONE: TCP inside HTTP/2 CONNECT inside mutual TLS.
 *
 * Owns: the tunnel pool, the tunnel server, the headers `baggage`, `forwarded`, `traceparent`. Never: routing,
 * policies. Runs on: data threads.
 *
 * @module
 */
export type { PoolOptions, TunnelKey, TunnelRequest, TunnelStream } from "./pool.ts";
export type { InnerTunnel } from "./inner.ts";
export { TunnelPool } from "./pool.ts";
export { type Baggage, Headings } from "./headings.ts";
export { serveTunnels, type TunnelServer, type TunnelServerOptions } from "./server.ts";
export type { FloodViolation, IncomingConnect as IncomingTunnel } from "#http2";
