/** An in-process control plane over TLS that does what a test tells it. */
import { Buffer } from "node:buffer";
import { fromBinary } from "@bufbuild/protobuf";
import { type Metadata, Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
} from "../../../proto/gen/xds_pb.ts";
import { responseBytes, type ResponseInit } from "./messages.ts";
import type { Minted } from "../../support/pki.ts";

const PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const PATIENCE_MS = 60_000;

/** One stream as the server sees it. */
export class Stream {
  readonly #requests: DeltaDiscoveryRequest[] = [];
  #wake = () => {};

  constructor(
    readonly call: ServerDuplexStream<Buffer, Buffer>,
    readonly metadata: Metadata,
  ) {
    call.on("data", (bytes: Buffer) => {
      this.#requests.push(fromBinary(DeltaDiscoveryRequestSchema, bytes));
      this.#wake();
    });
    call.on("error", () => {});
  }

  async request(): Promise<DeltaDiscoveryRequest> {
    const deadline = Date.now() + PATIENCE_MS;
    while (this.#requests.length === 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, PATIENCE_MS);
      await promise;
      clearTimeout(timer);
      if (Date.now() > deadline) throw new Error("no request came");
    }
    return this.#requests.shift()!;
  }

  say(type: string, init?: ResponseInit): void {
    this.sayBytes(responseBytes(type, init));
  }

  sayBytes(bytes: Uint8Array): void {
    this.call.write(Buffer.from(bytes));
  }

  /** Both subscriptions answered, and both acknowledgements taken. */
  async greet(addresses: ResponseInit = {}, policies: ResponseInit = {}): Promise<void> {
    await this.request();
    await this.request();
    this.say("address", addresses);
    this.say("authorization", policies);
    await this.request();
    await this.request();
  }

  end(code: number, details: string): void {
    this.call.emit("error", { code, details });
  }
}

export class ControlPlane implements Disposable {
  readonly #server: Server;
  readonly #streams: Stream[] = [];
  #wake = () => {};
  streamsCount = 0;

  private constructor(server: Server, readonly url: string, readonly port: number) {
    this.#server = server;
  }

  /** `receiveBytesMax`: of one message. */
  static async start(
    host: string,
    chain: readonly Minted[],
    port = 0,
    receiveBytesMax = 64 << 20,
  ): Promise<ControlPlane> {
    const server = new Server({ "grpc.max_receive_message_length": receiveBytesMax });
    const plain = (bytes: Buffer) => bytes;
    const arrivals: { plane?: ControlPlane } = {};
    server.addService({
      ads: {
        path: PATH,
        requestStream: true,
        responseStream: true,
        requestSerialize: plain,
        requestDeserialize: plain,
        responseSerialize: plain,
        responseDeserialize: plain,
      },
    }, {
      ads: (call: ServerDuplexStream<Buffer, Buffer>) =>
        arrivals.plane?.arrive(new Stream(call, call.metadata)),
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
    arrivals.plane = new ControlPlane(server, `https://${host}:${bound}`, bound);
    return arrivals.plane;
  }

  arrive(stream: Stream): void {
    this.streamsCount++;
    this.#streams.push(stream);
    this.#wake();
  }

  /** The next stream that comes, or has come. */
  async stream(): Promise<Stream> {
    const deadline = Date.now() + PATIENCE_MS;
    while (this.#streams.length === 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, PATIENCE_MS);
      await promise;
      clearTimeout(timer);
      if (Date.now() > deadline) throw new Error("no stream came");
    }
    return this.#streams.shift()!;
  }

  /** GOAWAY to everybody, and every stream may still end by itself. */
  goAway(): void {
    this.#server.drain(this.url.slice("https://".length), 50);
  }

  [Symbol.dispose](): void {
    this.#server.forceShutdown();
  }
}
