/** A CA over TLS that signs what it is asked for, and does otherwise when a test tells it. */
import "reflect-metadata";
import { Buffer } from "node:buffer";
import { createPublicKey } from "node:crypto";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceError,
} from "@grpc/grpc-js";
import { Pkcs10CertificateRequest, SubjectAlternativeNameExtension } from "@peculiar/x509";
import {
  type IstioCertificateRequest,
  IstioCertificateRequestSchema,
  IstioCertificateResponseSchema,
} from "../../proto/gen/ca_pb.ts";
import { type CertOptions, type Minted, mintLeaf, newKeys } from "./pki.ts";

const PATH = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
const DAY_MS = 86_400_000;
const CLOCK_SKEW_MS = 60_000;

export interface CaAsked {
  readonly request: IstioCertificateRequest;
  readonly metadata: Metadata;
}

/** An answer: the chain, or a gRPC status. */
export type CaAnswer = readonly string[] | { readonly code: number; readonly details: string };

/** The leaf that a CA gives for a request: its key, its name, unless `options` say otherwise. */
export function leafFor(csrPem: string, issuer: Minted, options: CertOptions = {}): Minted {
  const csr = new Pkcs10CertificateRequest(csrPem);
  const spki = Buffer.from(csr.publicKey.rawData);
  const publicKey = createPublicKey({ key: spki, format: "der", type: "spki" });
  const names = csr.extensions.find((each) => each instanceof SubjectAlternativeNameExtension);
  const uris = names?.names.toJSON().map(({ value }) => value as string) ?? [];
  // Only the public half is ours to certify; the other stays where the request came from.
  const keys = { publicKey, privateKey: newKeys("p256").privateKey };
  return mintLeaf(issuer, { uris, keys, ...lifeFromNow(), ...options });
}

/** Far from its half, so that nobody renews it while a test runs. */
function lifeFromNow() {
  return { notBeforeMs: Date.now() - CLOCK_SKEW_MS, notAfterMs: Date.now() + DAY_MS };
}

export class CaServer implements Disposable {
  readonly asked: CaAsked[] = [];
  /** Peers' ports of the connections that calls came over. */
  readonly peers = new Set<string>();
  answer: (asked: CaAsked) => CaAnswer | Promise<CaAnswer>;
  readonly #server: Server;

  private constructor(server: Server, readonly url: string, readonly port: number, root: Minted) {
    this.#server = server;
    this.answer = ({ request }) => [leafFor(request.csr, root).pem, root.pem];
  }

  /** `chain` is the server's own certificate; `root` signs workloads. */
  static async start(
    host: string,
    chain: readonly Minted[],
    root: Minted,
    port = 0,
  ): Promise<CaServer> {
    const server = new Server();
    const arrivals: { ca?: CaServer } = {};
    server.addService({
      create: {
        path: PATH,
        requestStream: false,
        responseStream: false,
        requestSerialize: (bytes: Buffer) => bytes,
        requestDeserialize: (bytes: Buffer) => bytes,
        responseSerialize: (bytes: Buffer) => bytes,
        responseDeserialize: (bytes: Buffer) => bytes,
      },
    }, {
      create: (
        call: ServerUnaryCall<Buffer, Buffer>,
        done: (error: Partial<ServiceError> | null, answer?: Buffer) => void,
      ) => void arrivals.ca?.hear(call, done),
    });
    const pair = {
      cert_chain: Buffer.from(chain.map(({ pem }) => pem).join("")),
      private_key: Buffer.from(chain[0]!.keyPem),
    };
    const bound = await new Promise<number>((resolve, reject) =>
      server.bindAsync(
        `${host}:${port}`,
        ServerCredentials.createSsl(Buffer.from(chain[0]!.pem), [pair]),
        (error, at) => error ? reject(error) : resolve(at),
      )
    );
    return arrivals.ca = new CaServer(server, `https://${host}:${bound}`, bound, root);
  }

  async hear(
    call: ServerUnaryCall<Buffer, Buffer>,
    done: (error: Partial<ServiceError> | null, answer?: Buffer) => void,
  ): Promise<void> {
    const request = fromBinary(IstioCertificateRequestSchema, call.request);
    const asked = { request, metadata: call.metadata };
    this.asked.push(asked);
    this.peers.add(call.getPeer());
    const answer = await this.answer(asked);
    if ("code" in answer) return done({ code: answer.code, details: answer.details });
    const response = create(IstioCertificateResponseSchema, { certChain: [...answer] });
    done(null, Buffer.from(toBinary(IstioCertificateResponseSchema, response)));
  }

  [Symbol.dispose](): void {
    this.#server.forceShutdown();
  }
}
