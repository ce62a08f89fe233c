import { Buffer } from "node:buffer";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
} from "@grpc/grpc-js";
import { IstioCertificateRequestSchema, IstioCertificateResponseSchema } from "#proto/ca_pb.ts";
import type { Clock, Rng } from "#system";
import { MeshAuthority } from "./authority.ts";
import { CaService, GRPC_CODES } from "./ca_service.ts";
import { ClientStream } from "./client_stream.ts";
import { Directory } from "./directory.ts";
import { type Faults, noFaults, type Poison } from "./faults.ts";
import { poisonResource } from "./poison.ts";
import { type ControlPlaneEvent, Records } from "./records.ts";
import { type TokenCheck, Tokens } from "./tokens.ts";
import {
  differencesBetween,
  EMPTY_WIRE_MESH,
  type WireMesh,
  type WireResource,
} from "./wire_mesh.ts";

const ADS_PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const CA_PATH = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/** Names in the server's certificate: what istiod is called in a cluster, and what this machine calls itself. */
const SERVER_DNS = ["istiod.istio-system.svc", "localhost"];
const NODE_PROXIES = ["istio-system/ztunnel"];
const TRUST_DOMAIN = "cluster.local";
const LIFETIME_MAX_MS = 24 * 3_600_000;

export interface ControlPlaneOptions {
  readonly clock: Clock;
  readonly rng: Rng;
  /** An address of this machine; it is in the server's certificate. */
  readonly ip?: string;
  /** Any free one if absent. */
  readonly port?: number;
  readonly mesh?: WireMesh;
  /** Of another one that this one takes over from; new ones if absent. */
  readonly authority?: MeshAuthority;
  readonly tokens?: Tokens;
  readonly trustDomain?: string;
  /** `namespace/service account` of node proxies; `istio-system/ztunnel` if absent. */
  readonly nodeProxies?: readonly string[];
  /** What the CA gives at most, however much is asked for: 24 h if absent. */
  readonly certificateLifetimeMsMax?: number;
  readonly onEvent?: (event: ControlPlaneEvent) => void;
}

/**
 * istiod's half of what a ztunnel speaks with it: delta xDS and the CA, on one port. It does what istiod does
 * (behaviour.md 17.1, 17.5), and on demand what a broken one would do.
 */
export class ControlPlane implements AsyncDisposable {
  readonly faults: Faults = noFaults();
  readonly records = new Records();
  readonly #streams = new Set<ClientStream>();
  readonly #poisons = new Map<string, WireResource>();
  readonly #ca: CaService;
  #mesh: WireMesh;
  #directory: Directory;
  #server: Server | undefined;
  #port: number;
  #streamsCount = 0;

  private constructor(
    private readonly options: ControlPlaneOptions,
    readonly authority: MeshAuthority,
    readonly tokens: Tokens,
  ) {
    this.#mesh = options.mesh ?? EMPTY_WIRE_MESH;
    this.#directory = new Directory(this.#mesh);
    this.#port = options.port ?? 0;
    this.#ca = new CaService({
      authority,
      trustDomain: options.trustDomain ?? TRUST_DOMAIN,
      nodeProxies: options.nodeProxies ?? NODE_PROXIES,
      lifetimeMsMax: options.certificateLifetimeMsMax ?? LIFETIME_MAX_MS,
    });
  }

  /** Rejects with the reason if the port is taken. */
  static async start(options: ControlPlaneOptions): Promise<ControlPlane> {
    const { clock, rng } = options;
    const authority = options.authority ?? await MeshAuthority.create({ clock });
    const plane = new ControlPlane(options, authority, options.tokens ?? new Tokens(clock, rng));
    await plane.resume();
    return plane;
  }

  get ip(): string {
    return this.options.ip ?? "127.0.0.1";
  }

  get port(): number {
    return this.#port;
  }

  /** For XDS_ADDRESS and CA_ADDRESS. */
  get url(): string {
    return `https://${this.ip}:${this.#port}`;
  }

  get mesh(): WireMesh {
    return this.#mesh;
  }

  /** Streams that are open now. */
  get streamsOpen(): number {
    return this.#streams.size;
  }

  /** The mesh is now this one; every open stream is told of the difference. Returns how many were. */
  setMesh(mesh: WireMesh): number {
    this.#mesh = mesh;
    return this.#push();
  }

  /** An address resource that a client cannot use, beside or instead of the good one of that name. */
  poison(name: string, poison: Poison): void {
    this.#poisons.set(name, poisonResource(name, poison));
    this.#push();
  }

  unpoison(): void {
    this.#poisons.clear();
    this.#push();
  }

  /** Cuts every connection and takes no new one, as if it had died. */
  suspend(): Promise<void> {
    this.#server?.forceShutdown();
    this.#server = undefined;
    return Promise.resolve();
  }

  /** Listens again on the same port, with a new certificate. */
  async resume(): Promise<void> {
    if (this.#server !== undefined) return;
    const { cert_chain, private_key } = await this.#keyPair();
    const server = new Server({
      // Larger ones are refused by us, in istiod's words.
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1,
    });
    this.#addServices(server);
    const credentials = ServerCredentials.createSsl(cert_chain, [{ cert_chain, private_key }]);
    this.#port = await new Promise<number>((resolve, reject) =>
      server.bindAsync(
        `${this.ip}:${this.#port}`,
        credentials,
        (error, port) => error ? reject(error) : resolve(port),
      )
    );
    this.#server = server;
  }

  /** Dies and comes back, with what it knew. */
  async restart(): Promise<void> {
    await this.suspend();
    await this.resume();
  }

  /** Ends all streams with a status, as istiod does every half hour; 0 is OK. Connections stay. */
  endStreams(code: number, details: string): void {
    for (const stream of [...this.#streams]) stream.end(code, details);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.suspend();
  }

  async #keyPair() {
    const fault = this.faults.ofServer;
    const names = fault === "other_name"
      ? { dns: ["somebody.else.example"] }
      : { dns: SERVER_DNS, ips: [this.ip] };
    const { chainPem, keyPem } = await this.authority.serverCertificate({
      ...names,
      flaw: fault === "expired" ? "expired" : fault === "other_root" ? "foreign" : undefined,
    });
    return { cert_chain: Buffer.from(chainPem), private_key: Buffer.from(keyPem) };
  }

  #push(): number {
    const before = this.#directory;
    const address = this.#poisons.size === 0
      ? this.#mesh.address
      : new Map([...this.#mesh.address, ...this.#poisons]);
    this.#directory = new Directory({ ...this.#mesh, address });
    const differences = differencesBetween(before.mesh, this.#directory.mesh);
    let toldCount = 0;
    for (const stream of this.#streams) {
      if (stream.push(this.#directory, differences)) toldCount++;
    }
    return toldCount;
  }

  #addServices(server: Server): void {
    const asIs = (bytes: Buffer): Buffer => bytes;
    const codec = {
      requestSerialize: asIs,
      requestDeserialize: asIs,
      responseSerialize: asIs,
      responseDeserialize: asIs,
    };
    server.addService({
      ads: { path: ADS_PATH, requestStream: true, responseStream: true, ...codec },
      ca: { path: CA_PATH, requestStream: false, responseStream: false, ...codec },
    }, {
      ads: (call: ServerDuplexStream<Buffer, Buffer>) => this.#accept(call),
      ca: (call: ServerUnaryCall<Buffer, Buffer>, done: Done) => {
        this.#certify(call).then(
          (answer) => done(null, answer),
          (error: Error & { code?: number }) =>
            done({ code: error.code ?? 2, details: error.message }),
        );
      },
    });
  }

  #accept(call: ServerDuplexStream<Buffer, Buffer>): void {
    const stream = ++this.#streamsCount;
    call.on("error", () => {});
    const { refuseStreams } = this.faults;
    const checked = this.#check(call.metadata);
    const refusal = refuseStreams ??
      ("refused" in checked
        ? { code: GRPC_CODES.unauthenticated, details: checked.refused }
        : undefined);
    if (refusal !== undefined || "refused" in checked) {
      const { code, details } = refusal!;
      this.#tell({ kind: "refused", service: "xds", code, reason: details });
      call.emit("error", { code, details });
      return;
    }
    const [clusterId] = textsOf(call.metadata, "clusterid");
    this.#tell({
      kind: "stream_opened",
      stream,
      caller: checked.caller,
      token: tokenOf(call.metadata),
      clusterId: clusterId ?? "",
    });
    const client = new ClientStream({
      id: stream,
      caller: checked.caller,
      call,
      directory: this.#directory,
      faults: this.faults,
      clock: this.options.clock,
      tell: (event) => this.#tell(event),
      closed: () => this.#streams.delete(client),
    });
    this.#streams.add(client);
  }

  async #certify(call: ServerUnaryCall<Buffer, Buffer>): Promise<Buffer> {
    const { caDelayMs, ca } = this.faults;
    const fail = (code: number, reason: string): never => {
      this.#tell({ kind: "refused", service: "ca", code, reason });
      throw Object.assign(new Error(reason), { code });
    };
    if (caDelayMs > 0) await this.options.clock.sleep(caDelayMs);
    const checked = this.#check(call.metadata);
    if ("refused" in checked) return fail(GRPC_CODES.unauthenticated, checked.refused);
    const request = fromBinary(IstioCertificateRequestSchema, call.request);
    const { caller } = checked;
    const outcome = await this.#ca.create(request, caller, this.#directory, ca);
    if ("refused" in outcome) return fail(outcome.code, outcome.refused);
    this.#tell({
      kind: "certificate",
      identity: outcome.identity,
      caller,
      token: tokenOf(call.metadata),
      csr: request.csr,
      requestedUri: outcome.requestedUri,
      isImpersonated: request.metadata?.["ImpersonatedIdentity"] !== undefined,
      validitySeconds: Number(request.validityDuration),
    });
    const response = create(IstioCertificateResponseSchema, { certChain: [...outcome.chain] });
    return Buffer.from(toBinary(IstioCertificateResponseSchema, response));
  }

  #check(metadata: Metadata): TokenCheck {
    if (this.faults.tokensExpired) return { refused: "the token has expired" };
    return this.tokens.check(textsOf(metadata, "authorization")[0]);
  }

  #tell(event: ControlPlaneEvent): void {
    this.records.add(event);
    this.options.onEvent?.(event);
  }
}

type Done = (
  error: { readonly code: number; readonly details: string } | null,
  answer?: Buffer,
) => void;

function textsOf(metadata: Metadata, name: string): string[] {
  return metadata.get(name).map(String);
}

function tokenOf(metadata: Metadata): string {
  return (textsOf(metadata, "authorization")[0] ?? "").replace(/^Bearer /, "");
}
