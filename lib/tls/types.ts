import type { TLSSocket } from "node:tls";
import type { ByteStream } from "#stream";
import type { SpiffeId } from "#values";

/** A workload's certificate, its key and what it trusts. Plain data: it crosses threads, and nothing prints it. */
export interface CertBundle {
  readonly identity: SpiffeId;
  /** PEM, leaf first, then intermediates, never the root. */
  readonly chainPem: string;
  /** PKCS#8 PEM. */
  readonly privateKeyPem: string;
  /** PEM, one or more. */
  readonly rootsPem: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Who is at the other end of a verified connection. */
export interface Peer {
  /** All SPIFFE ids of the leaf, in its order, read from the DER. */
  readonly identities: readonly SpiffeId[];
  /** The first of them; absent for a trusted certificate without a SPIFFE name (behaviour.md 7.3). */
  readonly identity: SpiffeId | undefined;
  /** DER of the verified path: leaf, then intermediates, without the root. */
  readonly path: readonly Uint8Array[];
  /** DER of the root that the path leads to. */
  readonly anchor: Uint8Array;
  /** Whether a certificate of the path was revoked since the handshake; the connection has been aborted for it. */
  readonly isRevoked: boolean;
}

export interface Secured {
  readonly stream: ByteStream;
  readonly peer: Peer;
}

/** The CRL's seat: says which certificate of a verified path is revoked, now and later. */
export interface RevocationCheck {
  /** Throws a CertificateError for a revoked certificate. `path` is leaf, intermediates, root. */
  check(path: readonly Uint8Array[]): void;
  /** Told of each peer that `check` refused, by what it is to us. */
  refused?(peer: "client" | "server"): void;
  /** Calls `end` if a later list revokes the path of a live connection; disposed when that is over. */
  follow?(path: readonly Uint8Array[], peer: "client" | "server", end: () => void): Disposable;
}

/** Whom to take for the server that a host name stands for. */
export interface ServerTrust {
  /** PEM, one or more; never the system's, never those an environment variable points to. */
  readonly rootsPem: string;
  /** The server's certificate must be for one of these: the host that is dialled, and its alternative if any. */
  readonly hostnames: readonly string[];
  /** SNI; none where the host is an IP address. It decides nothing. */
  readonly serverName?: string;
  /** Also TLS 1.2 (TLS12_ENABLED). */
  readonly allowTls12?: boolean;
}

export interface TlsOptions {
  /** Also TLS 1.2 (TLS12_ENABLED). */
  readonly allowTls12?: boolean;
  readonly revocation?: RevocationCheck;
  readonly handshakeTimeoutMs?: number;
  /** Told once when this runtime's sockets can only be used by their public interface, which is slower. */
  readonly onFallback?: (message: string) => void;
  /** Says what a socket lacks for the fast road; for tests. */
  readonly missingIn?: (socket: TLSSocket) => string | undefined;
}

/** Owns `stream` from the call on: a failed handshake aborts it. Rejects with a Refusal (tls_handshake, tls_config). */
export interface Tls {
  /** At least one of the peer's SPIFFE ids must be among `expected` (behaviour.md 7.2). */
  client(
    stream: ByteStream,
    bundle: CertBundle,
    expected: readonly SpiffeId[],
  ): Promise<Secured>;
  /** At least one of the peer's SPIFFE ids must have our trust domain (behaviour.md 7.3). */
  server(stream: ByteStream, bundle: CertBundle): Promise<Secured>;
}
