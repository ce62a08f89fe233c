/**
 * A connection's wire as a test has it in hand: bytes arrive when it likes, and what is written is taken at once, as a
 * kernel with room does.
 * @module
 */
import { ok } from "node:assert/strict";
import type { ByteStream, Flow, FlowTaker } from "#stream";
import { join, TYPE } from "./h2_raw.ts";

/** A wire whose far end is the input, given when the test likes; what we say on it is kept. */
export class Wire implements Flow {
  taker: FlowTaker | undefined;
  readonly sent: Uint8Array[] = [];
  readonly #closed = Promise.withResolvers<void>();

  readonly stream: ByteStream = {
    read: () => Promise.reject(new Error("a flow is not read")),
    write: () => Promise.reject(new Error("a flow is not written")),
    closeWrite: () => Promise.reject(new Error("a flow is not finished")),
    abort: () => this.#closed.resolve(),
    closed: this.#closed.promise,
    native: { flow: this },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };

  start(taker: FlowTaker): void {
    this.taker = taker;
  }
  write(chunk: Uint8Array, done: () => void): void {
    this.sent.push(chunk.slice());
    done();
  }
  closeWrite(): void {}
  pause(): void {}
  resume(): void {}

  /** Lets `bytes` arrive in reads as the taker gives room for them. */
  arrive(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const into = this.taker!.buffer();
      const piece = Math.min(into.length, bytes.length - at);
      into.set(bytes.subarray(at, at + piece));
      this.taker!.received(piece);
      at += piece;
    }
  }

  /** What we have sent so far is of no interest, unless it has a GOAWAY. */
  forget(): void {
    if (this.said().goaway === undefined) this.sent.length = 0;
  }

  /** Payload of the DATA that we sent so far. */
  get dataBytes(): number {
    const bytes = join(this.sent);
    let sum = 0;
    for (let at = 0; at < bytes.length;) {
      const view = new DataView(bytes.buffer, at);
      const length = view.getUint32(0) >>> 8;
      if (view.getUint8(3) === TYPE.data) sum += length;
      at += 9 + length;
    }
    return sum;
  }

  /** The code of our GOAWAY, if any, and which types of frames we sent. Throws if what we say is no frames. */
  said(): { readonly goaway: number | undefined; readonly types: string } {
    const bytes = join(this.sent);
    const types = new Set<number>();
    let goaway: number | undefined;
    for (let at = 0; at < bytes.length;) {
      ok(at + 9 <= bytes.length, "we sent half a frame");
      const view = new DataView(bytes.buffer, at);
      types.add(view.getUint8(3));
      if (view.getUint8(3) === TYPE.goaway) goaway = view.getUint32(13);
      at += 9 + (view.getUint32(0) >>> 8);
      ok(at <= bytes.length, "we sent half a frame");
    }
    return { goaway, types: [...types].sort().join() };
  }
}
