import { connect, type SecureContext, TLSSocket } from "node:tls";
import type { ByteStream } from "#stream";
import type { Clock } from "#system";
import { Refusal, SpiffeId } from "#values";
import { CertificateError } from "./error.ts";
import {
  handleOf,
  markSecured,
  missingIn,
  presentedChain,
  type TlsHandle,
  watchForCut,
} from "./handle.ts";
import { anonymousContext, type Materials, materialsOf, usableRoots } from "./materials.ts";
import { assertNamed } from "./names.ts";
import { TlsStream } from "./tls_stream.ts";
import { type Transport, transportOf } from "./transport.ts";
import type { CertBundle, Peer, Secured, ServerTrust, Tls, TlsOptions } from "./types.ts";
import { verifyPeer } from "./verify.ts";

/** From TCP to a verified peer; a peer that says nothing holds a socket for so long. */
const HANDSHAKE_TIMEOUT_MS = 15_000;
const ALPN = "h2";

/** behaviour.md 7.1. The runtime ignores `ciphers` (runtime.md S4), so we look at what came out. */
const SUITES_TLS13 = ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"];
const SUITES_TLS12 = [
  "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
  "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
  "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
  "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES128-GCM-SHA256",
];

/**
 * Mutual TLS by node:tls, which does the cryptography; who the peer is and whether we trust it is decided here,
 * on every connection, resumed or not, from the chain exactly as presented (behaviour.md 7.1 to 7.3).
 */
export function createTls(clock: Clock, options: TlsOptions): Tls {
  return new NodeTls(clock, options);
}

/**
 * TLS to a server that is known by its host name, ourselves without a certificate: nothing is said on `stream` before
 * the server is verified. Owns `stream` from the call on. Rejects with a Refusal (tls_handshake; tls_config for roots
 * that cannot be used).
 */
export function connectTls(
  stream: ByteStream,
  trust: ServerTrust,
  clock: Clock,
): Promise<Secured> {
  return new NodeTls(clock, { allowTls12: trust.allowTls12 ?? false }).anonymous(stream, trust);
}

class NodeTls implements Tls {
  readonly #materials = new WeakMap<CertBundle, Materials>();
  readonly #suites: readonly string[];
  #isFlowless = false;

  constructor(private readonly clock: Clock, private readonly options: TlsOptions) {
    this.#suites = options.allowTls12 ? [...SUITES_TLS13, ...SUITES_TLS12] : SUITES_TLS13;
  }

  async client(
    stream: ByteStream,
    bundle: CertBundle,
    expected: readonly SpiffeId[],
  ): Promise<Secured> {
    const { forClient, roots } = this.#prepare(stream, bundle);
    const judge = (socket: TLSSocket): Peer => {
      const peer = this.#verify(handleOf(socket), roots, "server");
      assertRuntimeAgrees(socket);
      if (peer.identities.some((identity) => expected.includes(identity))) return peer;
      throw new CertificateError(
        "untrusted",
        `the server is ${describe(peer)}, expected ${expected.join(" or ") || "nobody"}`,
      );
    };
    const open = ({ socket }: Transport): TLSSocket =>
      connect({
        socket,
        secureContext: forClient as SecureContext,
        // So that we can say what is wrong with a certificate: the runtime judges too, but only says yes or no.
        // It asks for the certificate's private key all the same, and its no is final (`assertRuntimeAgrees`).
        rejectUnauthorized: false,
        ALPNProtocols: [ALPN],
        // No servername: that is no SNI. Host names do not matter (behaviour.md 7.2); who it is, `judge` says.
        checkServerIdentity: () => undefined,
      });
    return this.#follow(
      await this.#handshake(stream, open, "secureConnect", judge),
      "server",
    );
  }

  async anonymous(stream: ByteStream, trust: ServerTrust): Promise<Secured> {
    const allowTls12 = this.options.allowTls12 ?? false;
    let materials: { readonly roots: Materials["roots"]; readonly context: SecureContext };
    try {
      const roots = usableRoots(trust.rootsPem);
      materials = { roots, context: anonymousContext(roots, allowTls12) };
    } catch (error) {
      stream.abort();
      throw error;
    }
    const judge = (socket: TLSSocket): Peer => {
      const peer = this.#verify(handleOf(socket), materials.roots, "server");
      assertRuntimeAgrees(socket);
      assertNamed(peer.path[0]!, trust.hostnames);
      return peer;
    };
    const { serverName } = trust;
    const open = ({ socket }: Transport): TLSSocket =>
      connect({
        socket,
        secureContext: materials.context,
        // As in `client`; the names are `judge`'s.
        rejectUnauthorized: false,
        ALPNProtocols: [ALPN],
        checkServerIdentity: () => undefined,
        ...(serverName !== undefined && { servername: serverName }),
      });
    return await this.#handshake(stream, open, "secureConnect", judge);
  }

  async server(stream: ByteStream, bundle: CertBundle): Promise<Secured> {
    const { forServer, roots } = this.#prepare(stream, bundle);
    const { trustDomain } = SpiffeId.parts(bundle.identity);
    const judge = (socket: TLSSocket): Peer => {
      const peer = this.#verify(handleOf(socket), roots, "client");
      const isOurs = (id: SpiffeId) => SpiffeId.parts(id).trustDomain === trustDomain;
      if (peer.identities.some(isOurs)) return peer;
      throw new CertificateError(
        "untrusted",
        `the client is ${describe(peer)}, not of trust domain "${trustDomain}"`,
      );
    };
    const open = (transport: Transport): TLSSocket =>
      new TLSSocket(transport.socket, {
        isServer: true,
        secureContext: forServer,
        requestCert: true,
        rejectUnauthorized: true,
        // A list, as in `connect`; one of the two sets of declarations about node:tls knows only wire bytes here.
        ALPNProtocols: [ALPN] as never,
      });
    return this.#follow(await this.#handshake(stream, open, "secure", judge), "client");
  }

  #prepare(stream: ByteStream, bundle: CertBundle): Materials {
    let materials = this.#materials.get(bundle);
    if (materials !== undefined) return materials;
    try {
      materials = materialsOf(bundle, this.options.allowTls12 ?? false);
    } catch (error) {
      stream.abort();
      throw error;
    }
    this.#materials.set(bundle, materials);
    return materials;
  }

  #verify(
    handle: TlsHandle | undefined,
    roots: Materials["roots"],
    role: "client" | "server",
  ): Peer {
    const { revocation } = this.options;
    try {
      return verifyPeer(presentedChain(handle), roots, {
        role,
        nowMs: this.clock.nowMs(),
        revocation,
      });
    } catch (error) {
      if (error instanceof CertificateError && error.code === "revoked") {
        revocation?.refused?.(role);
      }
      throw error;
    }
  }

  /** A list that comes later ends the connection too. */
  #follow({ stream, peer }: Secured, role: "client" | "server"): Secured {
    const { revocation } = this.options;
    if (revocation?.follow === undefined) return { stream, peer };
    const standing = { ...peer, isRevoked: false };
    const following = revocation.follow([...peer.path, peer.anchor], role, () => {
      standing.isRevoked = true;
      stream.abort();
    });
    void stream.closed.then(() => following[Symbol.dispose]());
    return { stream, peer: standing };
  }

  /** Runs what `open` starts until `event`, then lets `judge` decide; a failure resets the connection. */
  async #handshake(
    stream: ByteStream,
    open: (transport: Transport) => TLSSocket,
    event: "secure" | "secureConnect",
    judge: (socket: TLSSocket) => Peer,
  ): Promise<Secured> {
    const transport = transportOf(stream, this.clock);
    const timeoutMs = this.options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS;
    const done = Promise.withResolvers<Secured>();
    let socket: TLSSocket | undefined;
    const fail = (error: unknown): void => {
      // Aborted first, so that the peer sees a reset and no orderly end.
      stream.abort();
      socket?.destroy();
      done.reject(refusalOf(error));
    };
    const closed = () => fail(new Error("the peer closed the connection"));
    let onCut = closed;
    const timer = this.clock.after(timeoutMs, () => {
      const error = new Error(`no handshake within ${timeoutMs} ms`);
      // For whoever counts silent peers: it is the refusal's cause.
      error.name = "TimeoutError";
      fail(error);
    });
    try {
      // On a socket that is gone already nothing would ever happen.
      if (transport.socket.destroyed) {
        throw new Error("the connection was closed before its handshake");
      }
      const opened = socket = open(transport);
      opened.allowHalfOpen = true;
      opened.on("error", fail);
      opened.on("close", closed);
      // Without this a peer that leaves in mid-handshake is only noticed when its time is over.
      watchForCut(opened, () => onCut());
      opened.once(event, () => {
        try {
          this.#assertProtocol(opened);
          const peer = judge(opened);
          markSecured(opened);
          const secured = new TlsStream(opened, transport, stream, this.#mayFlow(opened));
          onCut = () => secured.noteCut();
          done.resolve({ stream: secured, peer });
          opened.off("error", fail).off("close", closed);
        } catch (error) {
          fail(error);
        }
      });
    } catch (error) {
      fail(error);
    }
    try {
      return await done.promise;
    } finally {
      timer.cancel();
    }
  }

  /** Whether `socket` can be read and written by its private side; told once if the runtime lacks something. */
  #mayFlow(socket: TLSSocket): boolean {
    if (this.#isFlowless || !handleOf(socket)?._nativeTcpHandle) return false;
    const missing = (this.options.missingIn ?? missingIn)(socket);
    if (missing === undefined) return true;
    this.#isFlowless = true;
    this.options.onFallback?.(
      `TLS sockets of this runtime have no ${missing}: they are read and written by their public interface, ` +
        "which is slower and takes more memory",
    );
    return false;
  }

  #assertProtocol(socket: TLSSocket): void {
    if (socket.alpnProtocol !== ALPN) {
      throw new Error(
        `the peer does not speak ${ALPN}: ALPN is ${socket.alpnProtocol || "absent"}`,
      );
    }
    const suite = socket.getCipher()?.name;
    if (!this.#suites.includes(suite)) throw new Error(`cipher suite ${suite} is not allowed`);
  }
}

function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  const refusal = new Refusal({ kind: "tls_handshake", cause: causeOf(error) });
  // For whoever counts revoked peers: a CertificateError says so by its code.
  refusal.cause = error;
  return refusal;
}

function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as { code?: unknown };
  if (code === "UNABLE_TO_VERIFY_LEAF_SIGNATURE") {
    return "the TLS library cannot see that the server has its certificate's private key";
  }
  if (error instanceof CertificateError || typeof code !== "string") return error.message;
  return `${error.message} (${code})`;
}

/** The second opinion on a server: never enough (runtime.md S1), but never overruled either. */
function assertRuntimeAgrees(socket: TLSSocket): void {
  if (socket.authorized) return;
  throw new CertificateError(
    "untrusted",
    `the TLS library refuses the server's certificate: ${socket.authorizationError}`,
  );
}

function describe(peer: Peer): string {
  return peer.identities.join(" and ") || "without a SPIFFE identity";
}
