import { fromBinary } from "@bufbuild/protobuf";
import { DeltaDiscoveryRequestSchema } from "#proto/xds_pb.ts";
import type { Clock } from "#system";
import { GRPC_CODES } from "./ca_service.ts";
import type { Directory } from "./directory.ts";
import type { Faults } from "./faults.ts";
import type { GrpcCall } from "./grpc_server.ts";
import { IstiodStream } from "./istiod_stream.ts";
import type { ControlPlaneEvent } from "./records.ts";
import type { Caller } from "./tokens.ts";
import { answerBytes, type WireAnswer, type WireDifference } from "./wire_mesh.ts";

/** With `reorder`, a response waits so long for another one that it could let pass. */
const REORDER_WAIT_MS = 100;

export interface ClientStreamOptions {
  readonly id: number;
  readonly caller: Caller;
  readonly call: GrpcCall;
  readonly directory: Directory;
  readonly faults: Faults;
  readonly clock: Clock;
  readonly tell: (event: ControlPlaneEvent) => void;
  readonly closed: () => void;
}

/** One client on the wire: what it says goes to the machine, what the machine answers goes out, late or wrong on demand. */
export class ClientStream {
  readonly #options: ClientStreamOptions;
  readonly #machine: IstiodStream;
  readonly #stop = new AbortController();
  /** Responses leave one after another. */
  #sending: Promise<void> = Promise.resolve();
  #held: WireAnswer | undefined;
  #reason: string | undefined;

  constructor(options: ClientStreamOptions) {
    this.#options = options;
    this.#machine = new IstiodStream(options.directory);
    void options.call.closed.then(() => this.#close());
  }

  /** Until the client or we have ended it. */
  async run(): Promise<void> {
    const { call, faults } = this.#options;
    while (!this.#stop.signal.aborted) {
      const message = await call.next(faults.requestBytesMax);
      if (message === undefined) break;
      if (typeof message === "number") this.#refuse(message);
      else this.#hear(message);
    }
    await call.end(0, "");
  }

  /** Whether there was anything to tell this client. */
  push(directory: Directory, differences: readonly WireDifference[]): boolean {
    const answers = this.#machine.push(directory, differences);
    this.#send(answers);
    return answers.length > 0;
  }

  end(code: number, details: string): void {
    this.#reason = `${code} ${details}`.trim();
    void this.#options.call.end(code, details);
    this.#close();
  }

  #refuse(bytesCount: number): void {
    const { faults, tell } = this.#options;
    const reason =
      `grpc: received message larger than max (${bytesCount} vs. ${faults.requestBytesMax})`;
    tell({ kind: "refused", service: "xds", code: GRPC_CODES.resourceExhausted, reason });
    this.end(GRPC_CODES.resourceExhausted, reason);
  }

  #hear(bytes: Uint8Array): void {
    const { tell, id, caller } = this.#options;
    if (this.#stop.signal.aborted) return;
    const { heard, answers } = this.#machine.hear(fromBinary(DeltaDiscoveryRequestSchema, bytes));
    tell({ kind: "heard", stream: id, caller, node: this.#machine.node, heard });
    this.#send(answers);
  }

  #send(answers: readonly WireAnswer[]): void {
    const { faults } = this.#options;
    for (const answer of answers) {
      if (!faults.reorder) this.#sendLater(answer);
      else if (this.#held === undefined) this.#hold(answer);
      else {
        this.#sendLater(answer);
        this.#release();
      }
    }
  }

  #hold(answer: WireAnswer): void {
    this.#held = answer;
    this.#options.clock.after(REORDER_WAIT_MS, () => {
      if (this.#held === answer) this.#release();
    }, { background: true });
  }

  #release(): void {
    const held = this.#held;
    this.#held = undefined;
    if (held !== undefined) this.#sendLater(held);
  }

  #sendLater(answer: WireAnswer): void {
    const { clock, faults } = this.#options;
    this.#sending = this.#sending.then(async () => {
      if (faults.answerDelayMs > 0) await clock.sleep(faults.answerDelayMs, this.#stop.signal);
      if (!this.#stop.signal.aborted) await this.#write(answer);
    });
  }

  async #write(answer: WireAnswer): Promise<void> {
    const { call, faults, id, caller, tell } = this.#options;
    const ordered = faults.reorder
      ? { ...answer, resources: answer.resources.toReversed() }
      : answer;
    const bytes = answerBytes(ordered, faults.paddingBytes);
    tell({
      kind: "sent",
      stream: id,
      caller,
      type: answer.type,
      nonce: answer.nonce,
      resources: answer.resources.length,
      removed: answer.removed.length,
      bytes: bytes.length,
    });
    await call.send(bytes);
  }

  #close(): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    const { tell, closed, id, caller } = this.#options;
    closed();
    tell({
      kind: "stream_closed",
      stream: id,
      caller,
      ...(this.#reason !== undefined && { reason: this.#reason }),
    });
  }
}
