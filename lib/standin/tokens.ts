import { Buffer } from "node:buffer";
import { createHmac, timingSafeEqual } from "node:crypto";
import type { Clock, Rng } from "#system";

/** Whom a token speaks for. */
export interface Caller {
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Where the pod runs, if the token says so. */
  readonly node?: string;
}

export interface TokenRequest extends Caller {
  /** An hour if absent; one that is not positive makes a token that has expired. */
  readonly lifetimeMs?: number;
  /** `istio-ca` if absent. */
  readonly audience?: string;
}

export type TokenCheck = { readonly caller: Caller } | { readonly refused: string };

const LIFETIME_MS = 3_600_000;
const AUDIENCE = "istio-ca";
const KEY_BYTES = 32;
const HEADER = encode({ alg: "HS256", typ: "JWT" });

/**
 * Stands for Kubernetes' TokenRequest and TokenReview: service account tokens with the claims of real ones, signed with
 * a secret instead of a key pair, since whoever issues them here is who checks them.
 */
export class Tokens {
  readonly #key: Uint8Array;

  constructor(private readonly clock: Clock, rng: Rng) {
    this.#key = rng.bytes(KEY_BYTES);
  }

  issue(request: TokenRequest): string {
    const { namespace, serviceAccount, node, lifetimeMs = LIFETIME_MS, audience = AUDIENCE } =
      request;
    const nowMs = this.clock.nowMs();
    const claims = {
      aud: [audience],
      exp: Math.floor((nowMs + lifetimeMs) / 1_000),
      iat: Math.floor(nowMs / 1_000),
      sub: `system:serviceaccount:${namespace}:${serviceAccount}`,
      "kubernetes.io": {
        namespace,
        serviceaccount: { name: serviceAccount },
        ...(node !== undefined && { node: { name: node } }),
      },
    };
    const body = `${HEADER}.${encode(claims)}`;
    return `${body}.${this.#sign(body)}`;
  }

  /** `authorization` is the call's metadata of that name, as it came. */
  check(authorization: string | undefined): TokenCheck {
    if (authorization === undefined) return { refused: "no authorization came with the call" };
    const token = /^Bearer (\S+)$/.exec(authorization)?.[1];
    if (token === undefined) return { refused: "the authorization is no bearer token" };
    const dot = token.lastIndexOf(".");
    const [body, signature] = [token.slice(0, Math.max(dot, 0)), token.slice(dot + 1)];
    const expected = Buffer.from(this.#sign(body));
    const given = Buffer.from(signature);
    if (expected.length !== given.length || !timingSafeEqual(expected, given)) {
      return { refused: "the token is not one of ours" };
    }
    const claims = claimsOf(body);
    if (!claims.aud.includes(AUDIENCE)) {
      return { refused: `the token is for ${claims.aud.join(", ")}, not for ${AUDIENCE}` };
    }
    if (claims.exp * 1_000 <= this.clock.nowMs()) {
      return { refused: `the token has expired at ${new Date(claims.exp * 1_000).toISOString()}` };
    }
    const { namespace, serviceaccount, node } = claims["kubernetes.io"];
    return {
      caller: {
        namespace,
        serviceAccount: serviceaccount.name,
        ...(node !== undefined && { node: node.name }),
      },
    };
  }

  #sign(body: string): string {
    return createHmac("sha256", this.#key).update(body).digest("base64url");
  }
}

interface Claims {
  readonly aud: readonly string[];
  readonly exp: number;
  readonly "kubernetes.io": {
    readonly namespace: string;
    readonly serviceaccount: { readonly name: string };
    readonly node?: { readonly name: string };
  };
}

/** Only after the signature was checked: what we signed is what we wrote. */
function claimsOf(body: string): Claims {
  return JSON.parse(Buffer.from(body.slice(body.indexOf(".") + 1), "base64url").toString());
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
