import { Buffer } from "node:buffer";
import { fromBinary } from "@bufbuild/protobuf";
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { DeltaDiscoveryRequestSchema } from "#proto/xds_pb.ts";
import type { Clock } from "#system";
import { GRPC_CODES } from "./ca_service.ts";
import type { Directory } from "./directory.ts";
import type { Faults } from "./faults.ts";
import { IstiodStream } from "./istiod_stream.ts";
import type { ControlPlaneEvent } from "./records.ts";
import type { Caller } from "./tokens.ts";
import { answerBytes, type WireAnswer, type WireDifference } from "./wire_mesh.ts";

/** With `reorder`, a response waits so long for another one that it could let pass. */
const REORDER_WAIT_MS = 100;

export interface ClientStreamOptions {
  readonly id: number;
  readonly caller: Caller;
  readonly call: ServerDuplexStream<Buffer, Buffer>;
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
    const { call } = options;
    call.on("data", (bytes: Buffer) => this.#hear(bytes));
    call.on("end", () => call.end());
    for (const name of ["close", "cancelled", "finish"]) call.on(name, () => this.#close());
  }

  /** Whether there was anything to tell this client. */
  push(directory: Directory, differences: readonly WireDifference[]): boolean {
    const answers = this.#machine.push(directory, differences);
    this.#send(answers);
    return answers.length > 0;
  }

  end(code: number, details: string): void {
    this.#reason = `${code} ${details}`.trim();
    if (code === 0) this.#options.call.end();
    else this.#options.call.emit("error", { code, details });
    this.#close();
  }

  #hear(bytes: Buffer): void {
    const { faults, tell, id, caller } = this.#options;
    if (this.#stop.signal.aborted) return;
    if (bytes.length > faults.requestBytesMax) {
      const reason =
        `grpc: received message larger than max (${bytes.length} vs. ${faults.requestBytesMax})`;
      tell({ kind: "refused", service: "xds", code: GRPC_CODES.resourceExhausted, reason });
      this.end(GRPC_CODES.resourceExhausted, reason);
      return;
    }
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
      if (!this.#stop.signal.aborted) this.#write(answer);
    });
  }

  #write(answer: WireAnswer): void {
    const { call, faults, id, caller, tell } = this.#options;
    const ordered = faults.reorder
      ? { ...answer, resources: answer.resources.toReversed() }
      : answer;
    const bytes = answerBytes(ordered, faults.paddingBytes);
    call.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
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
