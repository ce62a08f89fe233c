/**
 * Every way in which a connection can fail, as data. The texts in `describeFailure` are what the `error`
 * field of an access line says; phrases that operators grep for are ztunnel's (behaviour.md 15.1).
 * @module
 */
import type { Ip } from "./ip.ts";
import { SocketAddress } from "./socket_address.ts";

export type Failure =
  | { readonly kind: "io"; readonly cause: string }
  | { readonly kind: "network_policy"; readonly hop: SocketAddress }
  | { readonly kind: "send"; readonly cause: string }
  | { readonly kind: "receive"; readonly cause: string }
  | { readonly kind: "application_connect"; readonly cause: string }
  | { readonly kind: "denied"; readonly reason: string }
  | { readonly kind: "policy_changed" }
  | { readonly kind: "revoked" }
  | { readonly kind: "pool_draining" }
  | { readonly kind: "http2_handshake"; readonly cause: string }
  | { readonly kind: "http2"; readonly cause: string }
  | { readonly kind: "http_status"; readonly status: number }
  | { readonly kind: "not_connect"; readonly method: string }
  | { readonly kind: "bad_authority"; readonly authority: string }
  | { readonly kind: "tls_handshake"; readonly cause: string }
  | { readonly kind: "tls_config"; readonly cause: string }
  | { readonly kind: "identity"; readonly cause: string }
  | { readonly kind: "unknown_workload"; readonly workload: string; readonly cause: string }
  | { readonly kind: "no_service"; readonly target: SocketAddress }
  | { readonly kind: "no_hostname"; readonly hostname: string }
  | { readonly kind: "no_port"; readonly hostname: string; readonly port: number }
  | { readonly kind: "not_told"; readonly name: string }
  | { readonly kind: "no_healthy_upstream"; readonly target: SocketAddress }
  | { readonly kind: "no_valid_destination"; readonly workload: string }
  | { readonly kind: "unsupported"; readonly feature: string; readonly target: string }
  | { readonly kind: "self_call" }
  | { readonly kind: "ip_mismatch"; readonly connected: Ip; readonly authority: Ip }
  | { readonly kind: "socks"; readonly cause: string }
  | { readonly kind: "half_closed"; readonly quietMs: number }
  | { readonly kind: "idle"; readonly quietMs: number }
  | { readonly kind: "drained" };

interface Consequence {
  /** `response_flags` in metrics (behaviour.md 13.7). */
  readonly flag: "-" | ResponseFlag;
  /** The answer to a CONNECT (behaviour.md 8.2). */
  readonly status: number;
  /** Whose doing it was, for whoever is paged. */
  readonly side: "client" | "server" | "us";
}
type ResponseFlag =
  | "DENY"
  | "CONNECT"
  | "TLS_FAILURE"
  | "H2_HANDSHAKE_FAILURE"
  | "NETWORK_POLICY"
  | "IDENTITY_ERROR"
  | "CERT_REVOKED";

/** One row per way to fail; a new kind of Failure does not compile until it has a row. */
export const CONSEQUENCES = {
  io: { flag: "CONNECT", status: 503, side: "server" },
  network_policy: { flag: "NETWORK_POLICY", status: 503, side: "server" },
  send: { flag: "CONNECT", status: 503, side: "server" },
  receive: { flag: "CONNECT", status: 503, side: "server" },
  application_connect: { flag: "CONNECT", status: 503, side: "server" },
  denied: { flag: "DENY", status: 401, side: "client" },
  policy_changed: { flag: "DENY", status: 401, side: "us" },
  revoked: { flag: "CERT_REVOKED", status: 401, side: "client" },
  pool_draining: { flag: "CONNECT", status: 503, side: "us" },
  http2_handshake: { flag: "H2_HANDSHAKE_FAILURE", status: 503, side: "server" },
  http2: { flag: "H2_HANDSHAKE_FAILURE", status: 503, side: "server" },
  http_status: { flag: "CONNECT", status: 503, side: "server" },
  not_connect: { flag: "CONNECT", status: 400, side: "client" },
  bad_authority: { flag: "CONNECT", status: 400, side: "client" },
  // As ztunnel (behaviour.md 18.3): a failed outbound handshake is CONNECT; TLS_FAILURE is our own configuration.
  tls_handshake: { flag: "CONNECT", status: 503, side: "server" },
  tls_config: { flag: "TLS_FAILURE", status: 503, side: "us" },
  identity: { flag: "IDENTITY_ERROR", status: 503, side: "us" },
  unknown_workload: { flag: "CONNECT", status: 503, side: "us" },
  no_service: { flag: "CONNECT", status: 503, side: "us" },
  no_hostname: { flag: "CONNECT", status: 503, side: "client" },
  no_port: { flag: "CONNECT", status: 503, side: "client" },
  not_told: { flag: "CONNECT", status: 503, side: "us" },
  no_healthy_upstream: { flag: "CONNECT", status: 503, side: "server" },
  no_valid_destination: { flag: "CONNECT", status: 503, side: "server" },
  unsupported: { flag: "CONNECT", status: 503, side: "us" },
  self_call: { flag: "CONNECT", status: 503, side: "client" },
  ip_mismatch: { flag: "CONNECT", status: 400, side: "client" },
  socks: { flag: "CONNECT", status: 503, side: "client" },
  // As ztunnel (behaviour.md 18.2): dashboards count drained connections as closed, not as failed.
  drained: { flag: "-", status: 503, side: "us" },
  // Likewise: it had served its time.
  half_closed: { flag: "-", status: 503, side: "us" },
  idle: { flag: "-", status: 503, side: "us" },
} as const satisfies Record<Failure["kind"], Consequence>;

/** An operating failure on its way to whoever logs it. Anything else that is thrown is a bug. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  constructor(readonly failure: Failure) {
    super(describeFailure(failure));
  }

  /** The failure inside `error`; an error that is not ours is an I/O failure with its message. */
  static failureOf(error: unknown): Failure {
    if (error instanceof Refusal) return error.failure;
    return { kind: "io", cause: error instanceof Error ? error.message : String(error) };
  }
}

/** One line for the `error` field: what happened, and with what. */
export function describeFailure(failure: Failure): string {
  switch (failure.kind) {
    case "io":
      return `io error: ${failure.cause}`;
    case "network_policy":
      return `connection timed out, maybe a NetworkPolicy is blocking HBONE port ${failure.hop.port}: ` +
        `cannot dial ${SocketAddress.format(failure.hop)}`;
    case "send":
      return `send: ${failure.cause}`;
    case "receive":
      return `receive: ${failure.cause}`;
    case "application_connect":
      return `connection failed: ${failure.cause}`;
    case "denied":
      return `connection closed due to policy rejection: ${failure.reason}`;
    case "policy_changed":
      return "connection closed due to policy change";
    case "revoked":
      return "connection closed: a certificate of the peer was revoked";
    case "pool_draining":
      return "cannot open a tunnel: the tunnel pool is draining";
    case "http2_handshake":
      return `http2 handshake failed: ${failure.cause}`;
    case "http2":
      return `http2 error: ${failure.cause}`;
    case "http_status":
      return `http status: ${failure.status}${reasonOf(failure.status)}`;
    default:
      return describeRefused(failure);
  }
}

function describeRefused(failure: Exclude<Failure, { kind: FailureInTransit }>): string {
  switch (failure.kind) {
    case "not_connect":
      return `cannot serve method "${failure.method}": only CONNECT is`;
    case "bad_authority":
      return `cannot use authority "${failure.authority}": neither ip:port nor host:port`;
    case "tls_handshake":
      return `tls handshake failed: ${failure.cause}`;
    case "tls_config":
      return `cannot set up tls: ${failure.cause}`;
    case "identity":
      return `cannot get our own certificate: ${failure.cause}`;
    case "unknown_workload":
      return `unknown source workload: ${failure.workload}: ${failure.cause}`;
    case "no_service":
      return `no service for ${SocketAddress.format(failure.target)}`;
    case "no_hostname":
      return `no service named "${failure.hostname}" is visible here`;
    case "no_port":
      return `service "${failure.hostname}" has no usable port ${failure.port}`;
    case "not_told":
      return `the control plane did not say in time who has ${failure.name}`;
    case "no_healthy_upstream":
      return `no healthy upstream: ${SocketAddress.format(failure.target)}`;
    case "no_valid_destination":
      return `workload "${failure.workload}" has no usable address`;
    case "unsupported":
      return `cannot reach ${failure.target}: ${failure.feature} is not supported by this build yet`;
    case "self_call":
      return "attempted recursive call to ourselves";
    case "ip_mismatch":
      return `ip mismatch: ${failure.connected} != ${failure.authority}`;
    case "socks":
      return `socks5: ${failure.cause}`;
    case "half_closed":
      return `connection closed: half-closed, and no byte for ${failure.quietMs / 1_000} s`;
    case "idle":
      return `connection closed: no byte for ${failure.quietMs / 1_000} s`;
    case "drained":
      return "connection closed due to connection drain";
  }
}

type FailureInTransit =
  | "io"
  | "network_policy"
  | "send"
  | "receive"
  | "application_connect"
  | "denied"
  | "policy_changed"
  | "revoked"
  | "pool_draining"
  | "http2_handshake"
  | "http2"
  | "http_status";

function reasonOf(status: number): string {
  const reasons: Readonly<Record<number, string>> = {
    400: " Bad Request",
    401: " Unauthorized",
    403: " Forbidden",
    404: " Not Found",
    502: " Bad Gateway",
    503: " Service Unavailable",
    504: " Gateway Timeout",
  };
  return reasons[status] ?? "";
}
