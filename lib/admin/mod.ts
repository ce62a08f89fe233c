/**
 * The servers for operators and their tools: readiness, metrics, and the admin interface.
 *
 * Owns: HTTP, the config dump, the readiness tasks. Never: reaching in; what it shows it asks for. Runs on: control.
 *
 * @module
 */
export type { AdminSources } from "./admin.ts";
export type { DumpSources } from "./config_dump.ts";
export type { HttpServer, HttpServerOptions, ListenAddress } from "./http_server.ts";
export { startAdminServer } from "./admin.ts";
export { ADMIN_LIMITS } from "./limits.ts";
export { type FollowedTask, Readiness, startReadinessServer } from "./readiness.ts";
export { startStatsServer } from "./stats.ts";
