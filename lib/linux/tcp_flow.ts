import type net from "node:net";
import { type Flow, type FlowTaker, StreamError } from "#stream";
import type { Outlet } from "./outlet.ts";
import { readInto, readNoMore, readOn } from "./runtime_handles.ts";

const NO_BYTES = new Uint8Array();

/** A TCP connection as the runtime has it. Its TcpStream hands on what the socket says. */
export class TcpFlow implements Flow {
  #taker: FlowTaker | undefined;
  #buffer: Uint8Array = NO_BYTES;
  #isPaused = false;
  #isReceiving = false;
  #finish: (() => void) | undefined;

  /** `onStart` is called when reading starts. */
  constructor(
    private readonly socket: net.Socket,
    private readonly outlet: Outlet,
    private readonly onStart: (flow: TcpFlow) => void,
  ) {}

  /** Nothing is read, so that the end of the connection may go unnoticed. */
  get isPaused(): boolean {
    return this.#isPaused;
  }

  start(taker: FlowTaker): void {
    this.#taker = taker;
    this.#buffer = taker.buffer();
    this.onStart(this);
    readInto(this.socket, this.#buffer, this.#onBytes);
    readOn(this.socket);
  }

  write(chunk: Uint8Array, done: () => void): void {
    this.outlet.write(chunk, done);
  }

  closeWrite(done?: () => void): void {
    this.#finish = done;
    this.outlet.end(() => {
      // A destroyed socket calls back too; then `over` tells the reason.
      if (!this.socket.writableFinished) return;
      const finish = this.#finish;
      this.#finish = undefined;
      finish?.();
    });
  }

  pause(): void {
    this.#isPaused = true;
    if (!this.#isReceiving) readNoMore(this.socket);
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (this.#isReceiving) return;
    this.#rebuffer();
    readOn(this.socket);
  }

  /** The socket has ended its direction. */
  ended(): void {
    this.#taker?.ended();
  }

  /** The socket is closed; `error` unless both directions had finished. */
  over(error: StreamError | undefined): void {
    if (error !== undefined) this.#taker?.failed(error);
  }

  readonly #onBytes = (count: number): boolean => {
    const taker = this.#taker!;
    this.#isReceiving = true;
    taker.received(count);
    this.#isReceiving = false;
    this.#rebuffer();
    return !this.#isPaused;
  };

  #rebuffer(): void {
    const next = this.#taker!.buffer();
    if (next !== this.#buffer) readInto(this.socket, this.#buffer = next, this.#onBytes);
  }
}
