import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { IstioCertificateRequestSchema, IstioCertificateResponseSchema } from "#proto/ca_pb.ts";
import type { Clock, Rng } from "#system";
import { MeshAuthority, type ServerCertificate } from "./authority.ts";
import { CaService, GRPC_CODES } from "./ca_service.ts";
import { ClientStream } from "./client_stream.ts";
import { Directory } from "./directory.ts";
import { type Faults, noFaults, type Poison } from "./faults.ts";
import { poisonResource } from "./poison.ts";
import { type GrpcCall, GrpcServer } from "./grpc_server.ts";
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
/** A request is some 600 bytes. */
const CSR_BYTES_MAX = 64 * 1024;

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
  #server: GrpcServer | undefined;
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
  async suspend(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.close();
  }

  /** Listens again on the same port, with a new certificate. */
  async resume(): Promise<void> {
    if (this.#server !== undefined) return;
    const { chainPem, keyPem } = await this.#certificate();
    this.#server = new GrpcServer({
      ip: this.ip,
      port: this.#port,
      chainPem,
      keyPem,
      clock: this.options.clock,
      handlers: {
        [ADS_PATH]: (call) => this.#follow(call),
        [CA_PATH]: (call) => this.#certify(call),
      },
    });
    this.#port = this.#server.port;
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

  async #certificate(): Promise<ServerCertificate> {
    const fault = this.faults.ofServer;
    const names = fault === "other_name"
      ? { dns: ["somebody.else.example"] }
      : { dns: SERVER_DNS, ips: [this.ip] };
    return await this.authority.serverCertificate({
      ...names,
      flaw: fault === "expired" ? "expired" : fault === "other_root" ? "foreign" : undefined,
    });
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

  async #follow(call: GrpcCall): Promise<void> {
    const stream = ++this.#streamsCount;
    const { refuseStreams } = this.faults;
    const checked = this.#check(call);
    const refusal = refuseStreams ??
      ("refused" in checked
        ? { code: GRPC_CODES.unauthenticated, details: checked.refused }
        : undefined);
    if (refusal !== undefined || "refused" in checked) {
      const { code, details } = refusal!;
      this.#tell({ kind: "refused", service: "xds", code, reason: details });
      return await call.end(code, details);
    }
    this.#tell({
      kind: "stream_opened",
      stream,
      caller: checked.caller,
      token: tokenOf(call),
      clusterId: call.metadata("clusterid") ?? "",
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
    await client.run();
  }

  async #certify(call: GrpcCall): Promise<void> {
    const { caDelayMs, ca } = this.faults;
    const refuse = async (code: number, reason: string) => {
      this.#tell({ kind: "refused", service: "ca", code, reason });
      await call.end(code, reason);
    };
    if (caDelayMs > 0) await this.options.clock.sleep(caDelayMs);
    const checked = this.#check(call);
    if ("refused" in checked) return await refuse(GRPC_CODES.unauthenticated, checked.refused);
    const message = await call.next(CSR_BYTES_MAX);
    if (!(message instanceof Uint8Array)) {
      return await refuse(GRPC_CODES.invalidArgument, "no request, or one that is too large");
    }
    const request = fromBinary(IstioCertificateRequestSchema, message);
    const { caller } = checked;
    const outcome = await this.#ca.create(request, caller, this.#directory, ca);
    if ("refused" in outcome) return await refuse(outcome.code, outcome.refused);
    this.#tell({
      kind: "certificate",
      identity: outcome.identity,
      caller,
      token: tokenOf(call),
      csr: request.csr,
      requestedUri: outcome.requestedUri,
      isImpersonated: request.metadata?.["ImpersonatedIdentity"] !== undefined,
      validitySeconds: Number(request.validityDuration),
    });
    const response = create(IstioCertificateResponseSchema, { certChain: [...outcome.chain] });
    await call.send(toBinary(IstioCertificateResponseSchema, response));
    await call.end(0, "");
  }

  #check(call: GrpcCall): TokenCheck {
    if (this.faults.tokensExpired) return { refused: "the token has expired" };
    return this.tokens.check(call.metadata("authorization"));
  }

  #tell(event: ControlPlaneEvent): void {
    this.records.add(event);
    this.options.onEvent?.(event);
  }
}

function tokenOf(call: GrpcCall): string {
  return (call.metadata("authorization") ?? "").replace(/^Bearer /, "");
}
