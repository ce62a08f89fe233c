/**
 * Users' connections: in by a listener, through a decision, out by a stream.
 *
 * Owns: outbound (15001), inbound (15008), inbound plaintext (15006), SOCKS5 (15080); the connection table; the
 * access line. Never: parsing the wire, deciding. Runs on: data threads.
 *
 * @module
 */
export type { ProxySettings } from "./parts.ts";
export { DataThread, type DataThreadDeps, type Ground } from "./data_thread.ts";
export type { InstanceOptions } from "./instance.ts";
