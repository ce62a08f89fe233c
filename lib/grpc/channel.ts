import { Buffer } from "node:buffer";
import { type ChannelCredentials, type ChannelOptions, credentials } from "@grpc/grpc-js";
import type { Clock } from "#system";
import {
  anonymousContext,
  CertificateError,
  matchesHost,
  parseCertificate,
  trustRoots,
  verifyPeer,
} from "#tls";
import { Ip, Refusal } from "#values";

/** Whom a channel talks to. */
export interface ServerTrust {
  /** PEM, one or more; never the system's, never those an environment variable points to. */
  readonly rootsPem: string;
  /** The server's certificate must be for one of these: the host that is dialled, and its alternative if any. */
  readonly hostnames: readonly string[];
  /** Also TLS 1.2 (TLS12_ENABLED). */
  readonly allowTls12?: boolean;
}

/** behaviour.md 3.1. */
const PING_INTERVAL_MS = 30_000;
const PING_TIMEOUT_MS = 10_000;
/** istiod sends its first snapshot as one message. */
const MESSAGE_BYTES_MAX = 200 * 1024 * 1024;

/** Sent where a server is known by its IP address only; it decides nothing. */
const SNI_OF_AN_ADDRESS = "localhost";

/** One more than `verifyPeer` takes, so that it is the one to refuse a longer chain. */
const CHAIN_WALK_MAX = 9;

/**
 * Credentials that accept a server only if its chain leads to `rootsPem` and its certificate is for one of
 * `hostnames`, by our own reading of it (runtime.md S1: node:tls accepts forged ones, and grpc-js stands on it).
 * It is refused before call metadata, so before a bearer token, is sent. Throws a Refusal (`tls_config`) for
 * unusable roots.
 */
export function channelCredentials(trust: ServerTrust, clock: Clock): ChannelCredentials {
  const roots = usableRoots(trust.rootsPem);
  const context = anonymousContext(roots, trust.allowTls12 ?? false);
  return credentials.createFromSecureContext(context, {
    rejectUnauthorized: true,
    checkServerIdentity(_host: string, certificate: LinkedCertificate) {
      try {
        const chain = presentedChain(certificate);
        verifyPeer(chain, roots, { role: "server", nowMs: clock.nowMs() });
        assertNamed(chain[0]!, trust.hostnames);
        return undefined;
      } catch (error) {
        return error instanceof Error ? error : new Error(String(error));
      }
    },
  });
}

/**
 * Options that belong to these credentials: no proxy from the environment, no DNS TXT lookups, pings, large
 * snapshots, and a name for SNI, because the runtime refuses to dial an IP address with its own name.
 */
export function channelOptions(trust: ServerTrust): ChannelOptions {
  const sni = trust.hostnames.find((host) => Ip.parse(host) === undefined) ?? SNI_OF_AN_ADDRESS;
  return {
    "grpc.ssl_target_name_override": sni,
    "grpc.enable_http_proxy": 0,
    "grpc.service_config_disable_resolution": 1,
    "grpc.keepalive_time_ms": PING_INTERVAL_MS,
    "grpc.keepalive_timeout_ms": PING_TIMEOUT_MS,
    "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
  };
}

function usableRoots(pem: string) {
  try {
    return trustRoots(pem);
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    throw new Refusal({ kind: "tls_config", cause: error.message });
  }
}

/** The names of RFC 6125 in the leaf's DER; its subject counts for nothing. */
function assertNamed(leafDer: Uint8Array, hostnames: readonly string[]): void {
  const leaf = parseCertificate(leafDer);
  const isNamed = (host: string): boolean => {
    const ip = Ip.parse(host);
    if (ip === undefined) return matchesHost(leaf.dnsNames, host);
    const bytes = Ip.toBytes(ip);
    return leaf.ips.some((name) => Buffer.compare(name, bytes) === 0);
  };
  if (hostnames.some(isNamed)) return;
  const names = leaf.dnsNames.join(", ").slice(0, 200) || "no host name";
  throw new CertificateError(
    "untrusted",
    `the server's certificate is for ${names}, expected ${hostnames.join(" or ")}`,
  );
}

/** What node:tls tells of a peer; the last certificate links to itself or to nothing. */
interface LinkedCertificate {
  readonly raw?: Uint8Array;
  readonly issuerCertificate?: LinkedCertificate;
}

function presentedChain(leaf: LinkedCertificate): Uint8Array[] {
  const chain: Uint8Array[] = [];
  let next: LinkedCertificate | undefined = leaf;
  while (next?.raw !== undefined && chain.length < CHAIN_WALK_MAX) {
    chain.push(next.raw);
    next = next.issuerCertificate === next ? undefined : next.issuerCertificate;
  }
  return chain;
}
