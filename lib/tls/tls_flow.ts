import type { TLSSocket } from "node:tls";
import type { Flow, FlowTaker, StreamError } from "#stream";
import { readInto, WRITE_BYTES_MAX, writeNow } from "./handle.ts";
import type { Transport } from "./transport.ts";

/** A verified TLS connection as the runtime has it. Its TlsStream hands on what the socket says. */
export class TlsFlow implements Flow {
  #taker: FlowTaker | undefined;
  #isPaused = false;
  /** Of writes that are not all with the kernel yet. */
  #dones: (() => void)[] = [];
  #finish: (() => void) | undefined;

  constructor(
    private readonly socket: TLSSocket,
    private readonly transport: Transport,
    /** `started`: reading starts. `tcpEnded`: before the runtime says so. `failed`: why the socket will close. */
    private readonly stream: {
      started(flow: TlsFlow): void;
      tcpEnded(): void;
      failed(error: Error): void;
    },
  ) {}

  start(taker: FlowTaker): void {
    this.#taker = taker;
    this.stream.started(this);
    for (let early = this.socket.read(); early !== null; early = this.socket.read()) {
      this.#hand(early);
    }
    readInto(this.socket, {
      buffer: () => taker.buffer(),
      received: (count) => taker.received(count),
      tcpEnded: () => this.stream.tcpEnded(),
    });
    // The runtime may hold plaintext that its own queue had no room for; and by this it says `end` in its time.
    this.socket.read(0);
    if (!this.#isPaused) this.transport.resume(this.socket);
  }

  write(chunk: Uint8Array, done: () => void): void {
    if (this.socket.destroyed || chunk.length === 0) return done();
    this.#dones.push(done);
    for (let at = 0; at < chunk.length; at += WRITE_BYTES_MAX) {
      writeNow(this.socket, chunk.subarray(at, at + WRITE_BYTES_MAX), this.#onWritten);
    }
  }

  closeWrite(done?: () => void): void {
    this.#finish = done;
    this.socket.end(() => {
      // A destroyed socket calls back too; then `over` tells the reason.
      if (!this.socket.writableFinished) return;
      const finish = this.#finish;
      this.#finish = undefined;
      finish?.();
    });
  }

  pause(): void {
    this.#isPaused = true;
    this.transport.pause(this.socket);
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.transport.resume(this.socket);
  }

  /** The peer has finished in order. */
  ended(): void {
    this.#taker?.ended();
  }

  /** The socket is closed, or cannot go on; `error` unless both directions had finished. */
  over(error: StreamError | undefined): void {
    this.#settle();
    const taker = this.#taker;
    this.#taker = undefined;
    if (error !== undefined) taker?.failed(error);
  }

  readonly #onWritten = (error?: Error | null): void => {
    if (error) {
      this.stream.failed(error);
      this.socket.destroy();
    }
    this.#settle();
  };

  #settle(): void {
    const dones = this.#dones;
    this.#dones = [];
    for (const done of dones) done();
  }

  #hand(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const into = this.#taker!.buffer();
      const piece = bytes.subarray(at, at + into.length);
      into.set(piece);
      at += piece.length;
      this.#taker!.received(piece.length);
    }
  }
}
