import type { Pkcs10CertificateRequest, SubjectAlternativeNameExtension } from "@peculiar/x509";
import type { IstioCertificateRequest } from "#proto/ca_pb.ts";
import { SpiffeId } from "#values";
import { type MeshAuthority, newKeys, pemOf } from "./authority.ts";
import type { Directory } from "./directory.ts";
import type { CaFault } from "./faults.ts";
import type { Caller } from "./tokens.ts";

/** gRPC's status codes, as far as we say them. */
export const GRPC_CODES = {
  invalidArgument: 3,
  resourceExhausted: 8,
  unavailable: 14,
  unauthenticated: 16,
} as const;

export interface CaServiceOptions {
  readonly authority: MeshAuthority;
  readonly trustDomain: string;
  /** `namespace/service account` of those that may ask for others, for pods of their own node (behaviour.md 17.5). */
  readonly nodeProxies: readonly string[];
  readonly lifetimeMsMax: number;
}

export interface CaAnswer {
  readonly chain: readonly string[];
  readonly identity: SpiffeId;
  /** The request's own URI; istiod does not look at it, tests may. */
  readonly requestedUri: string | undefined;
}

export type CaOutcome = CaAnswer | { readonly code: number; readonly refused: string };

/** CreateCertificate as istiod does it (behaviour.md 9.1, 17.5). */
export class CaService {
  constructor(private readonly options: CaServiceOptions) {}

  async create(
    request: IstioCertificateRequest,
    caller: Caller,
    directory: Directory,
    fault: CaFault | undefined,
  ): Promise<CaOutcome> {
    if (fault === "down") return { code: GRPC_CODES.unavailable, refused: "the CA is not ready" };
    const wanted = this.#identityFor(request, caller, directory);
    if (typeof wanted !== "string") return wanted;
    const csr = await readRequest(request.csr);
    if ("refused" in csr) return csr;
    const lifetimeMs = Math.min(
      Number(request.validityDuration) * 1_000 || Infinity,
      this.options.lifetimeMsMax,
    );
    const publicKey = fault === "other_key" ? (await newKeys()).publicKey : csr.publicKey;
    const chain = await this.options.authority.sign({
      publicKey,
      uris: [fault === "other_name" ? `${wanted}-of-another` : wanted],
      lifetimeMs,
      flaw: fault === "expired" || fault === "foreign" ? fault : undefined,
    });
    // One element each for leaf and intermediates; the roots are one element, however many they are.
    const whole = [...chain.map(pemOf), this.options.authority.rootsPem];
    return {
      identity: wanted,
      requestedUri: csr.uri,
      chain: fault === "empty"
        ? []
        : fault === "no_root"
        ? whole.slice(0, 1)
        : fault === "garbage"
        ? whole.map(() => "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        : whole,
    };
  }

  #identityFor(
    { metadata }: IstioCertificateRequest,
    caller: Caller,
    directory: Directory,
  ): SpiffeId | { readonly code: number; readonly refused: string } {
    const { trustDomain, nodeProxies } = this.options;
    const { namespace, serviceAccount, node } = caller;
    const asked = metadata?.["ImpersonatedIdentity"];
    if (asked === undefined) return SpiffeId.of(trustDomain, namespace, serviceAccount);
    const refuse = (refused: string) => ({ code: GRPC_CODES.unauthenticated, refused });
    const identity = typeof asked === "string" ? SpiffeId.parse(asked) : undefined;
    if (identity === undefined) return refuse("the impersonated identity is no SPIFFE id");
    const account = `${namespace}/${serviceAccount}`;
    if (!nodeProxies.includes(account)) {
      return refuse(`caller (${account}) may not impersonate ${identity}`);
    }
    const of = SpiffeId.parts(identity);
    const isHere = of.trustDomain === trustDomain &&
      directory.onNode("address", node ?? "").some((workload) =>
        workload.account === `${of.namespace}/${of.serviceAccount}`
      );
    return isHere ? identity : refuse(`no pod of ${identity} runs on node "${node ?? ""}"`);
  }
}

type CsrParts = { readonly publicKey: CryptoKey; readonly uri: string | undefined };

/** A PKCS#10 request whose signature proves that its sender has the key. */
async function readRequest(
  pem: string,
): Promise<CsrParts | { readonly code: number; readonly refused: string }> {
  const refuse = (why: string) => ({ code: GRPC_CODES.invalidArgument, refused: `CSR: ${why}` });
  // The library needs this metadata polyfill in place before it is evaluated.
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  if (!/^-----BEGIN CERTIFICATE REQUEST-----\n/.test(pem)) return refuse("no PEM of that label");
  let csr: Pkcs10CertificateRequest;
  try {
    csr = new x509.Pkcs10CertificateRequest(pem);
    if (!await csr.verify()) return refuse("its signature is not by its key");
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
  const names =
    csr.extensions.find((each): each is SubjectAlternativeNameExtension =>
      each instanceof x509.SubjectAlternativeNameExtension
    )?.names.items ?? [];
  return {
    publicKey: await csr.publicKey.export(),
    uri: names.find(({ type }) => type === "url")?.value,
  };
}
