import type { Exchange, Headers } from "#http2";
import { Code, errorOfHttp, errorOfReset, GrpcError, statusOf } from "./status.ts";

/** istiod sends its first snapshot as one message (behaviour.md 3.1). */
const MESSAGE_BYTES_MAX = 200 * 1024 * 1024;
/** Messages that wait for a server that does not read; behaviour.md, appendix B. */
const OUTGOING_MAX = 100;
/** Length-Prefixed-Message: a flag for compression, and the length (doc/PROTOCOL-HTTP2.md). */
const PREFIX_BYTES = 5;

/** A message that is on its way to us. */
export interface GrpcMessage {
  readonly bytesCount: number;
  /** The next piece, lent until the next call; undefined at its end. Rejects with a GrpcError if the call ends first. */
  read(): Promise<Uint8Array | undefined>;
}

export interface GrpcStream {
  /** Resolves with true when the call is on its way to a verified server, with false if it is over before. Never rejects. */
  readonly begun: Promise<boolean>;
  /** Whether the server took the call, which may be before it has anything to say. */
  readonly isAnswered: boolean;
  /** Called when the server takes the call. */
  onAnswer: () => void;
  /** Why it ended; undefined until then, and where the server ended it with OK. */
  readonly failure: GrpcError | undefined;
  /** One message, in one piece or several. False if nothing more can be said, or too much waits for a slow server. */
  send(...pieces: readonly Uint8Array[]): boolean;
  /**
   * Resolves with true when one more message may be sent, with false when nothing more can be said; why, `next` finds out.
   * Never rejects.
   */
  room(): Promise<boolean>;
  /** The server's next message, after the one before was read to its end; undefined when it is over. Never rejects. */
  next(): Promise<GrpcMessage | undefined>;
  /** Ends it with code 1, CANCELLED, wherever it is. */
  cancel(): void;
}

/** One call: messages in both directions (doc/PROTOCOL-HTTP2.md), over whatever `open` opens. */
export class Call implements GrpcStream {
  onAnswer: () => void = () => {};
  readonly #stop = new AbortController();
  readonly #begun = Promise.withResolvers<boolean>();
  readonly #over = Promise.withResolvers<false>();
  readonly #outgoing: Uint8Array[] = [];
  /** Somebody waits for less to wait. */
  #room: PromiseWithResolvers<boolean> | undefined;
  readonly #answered: Promise<boolean>;
  #exchange: Exchange | undefined;
  #isAnswered = false;
  #isFinishing = false;
  /** What was written did not arrive. */
  #isCut = false;
  #isWriting = false;
  #isOver = false;
  #failure: GrpcError | undefined;
  /** Of what was read last, what is not used yet. */
  #rest: Uint8Array | undefined;
  /** Of the message that is being read. */
  #messageLeft = 0;

  constructor(open: (stop: AbortSignal) => Promise<Exchange>) {
    this.#answered = this.#begin(open);
  }

  get begun(): Promise<boolean> {
    return this.#begun.promise;
  }

  get isAnswered(): boolean {
    return this.#isAnswered;
  }

  get failure(): GrpcError | undefined {
    return this.#isOver ? this.#failure : undefined;
  }

  send(...pieces: readonly Uint8Array[]): boolean {
    if (this.#isMute || this.#outgoing.length >= OUTGOING_MAX) return false;
    const bytesCount = pieces.reduce((sum, piece) => sum + piece.length, 0);
    const framed = new Uint8Array(PREFIX_BYTES + bytesCount);
    new DataView(framed.buffer).setUint32(1, bytesCount);
    let at = PREFIX_BYTES;
    for (const piece of pieces) {
      framed.set(piece, at);
      at += piece.length;
    }
    this.#outgoing.push(framed);
    void this.#write();
    return true;
  }

  room(): Promise<boolean> {
    if (this.#isMute) return Promise.resolve(false);
    if (this.#outgoing.length < OUTGOING_MAX) return Promise.resolve(true);
    this.#room ??= Promise.withResolvers();
    return this.#room.promise;
  }

  get #isMute(): boolean {
    return this.#isOver || this.#isFinishing || this.#isCut;
  }

  #tellRoom(isThere: boolean): void {
    this.#room?.resolve(isThere);
    this.#room = undefined;
  }

  /** We have nothing more to say. */
  finish(): void {
    this.#isFinishing = true;
    void this.#write();
  }

  async next(): Promise<GrpcMessage | undefined> {
    try {
      if (!await Promise.race([this.#answered, this.#over.promise]) || this.#isOver) {
        return undefined;
      }
      while (this.#messageLeft > 0) await this.#piece();
      const prefix = await this.#prefix();
      if (prefix === undefined) return undefined;
      if (prefix[0] !== 0) throw new GrpcError(Code.internal, "the server's message is compressed");
      const bytesCount = new DataView(prefix.buffer).getUint32(1);
      if (bytesCount > MESSAGE_BYTES_MAX) {
        // Not in the words of grpc-go, which say that the server could not take what we sent.
        const why = `the server's message has ${bytesCount} bytes, at most ${MESSAGE_BYTES_MAX}`;
        throw new GrpcError(Code.resourceExhausted, why);
      }
      this.#messageLeft = bytesCount;
      return { bytesCount, read: () => this.#piece() };
    } catch (error) {
      this.#end(asGrpcError(error));
      return undefined;
    }
  }

  cancel(): void {
    this.#end(new GrpcError(Code.cancelled, "we cancelled the call"));
  }

  /** Whether the server took the call. */
  async #begin(open: (stop: AbortSignal) => Promise<Exchange>): Promise<boolean> {
    try {
      const exchange = await open(this.#stop.signal);
      if (this.#isOver) {
        exchange.stream.abort();
        return false;
      }
      this.#exchange = exchange;
      this.#begun.resolve(true);
      void this.#write();
      const { status, headers } = await exchange.answer;
      return this.#take(status, headers);
    } catch (error) {
      this.#end(this.#errorOf(error));
      return false;
    }
  }

  #take(status: number, headers: Headers): boolean {
    const ended = statusOf(headers);
    const contentType = headers.get("content-type")?.[0] ?? "";
    if (ended !== undefined) {
      // All of it in the head: the server took the call, or did not, and says how it ended.
      if (ended.error === undefined) this.#answerCame();
      this.#end(ended.error);
      return false;
    }
    if (status !== 200 || !/^application\/grpc([+;]|$)/.test(contentType)) {
      this.#end(errorOfHttp(status, contentType));
      return false;
    }
    this.#answerCame();
    return true;
  }

  #answerCame(): void {
    this.#isAnswered = true;
    this.onAnswer();
  }

  async #prefix(): Promise<Uint8Array | undefined> {
    const prefix = new Uint8Array(PREFIX_BYTES);
    let at = 0;
    while (at < PREFIX_BYTES) {
      const bytes = await this.#bytes(PREFIX_BYTES - at);
      if (bytes === undefined) {
        const error = await this.#statusAtEnd();
        this.#end(error ?? (at > 0 ? endedInside() : undefined));
        return undefined;
      }
      prefix.set(bytes, at);
      at += bytes.length;
    }
    return prefix;
  }

  async #piece(): Promise<Uint8Array | undefined> {
    if (this.#messageLeft === 0) return undefined;
    try {
      const piece = this.#isOver ? undefined : await this.#bytes(this.#messageLeft);
      if (piece === undefined) throw await this.#statusAtEnd() ?? endedInside();
      this.#messageLeft -= piece.length;
      return piece;
    } catch (error) {
      this.#end(asGrpcError(error));
      throw this.#failure ?? error;
    }
  }

  /** At most `count` of what comes next; undefined at the end. Rejects with a GrpcError. */
  async #bytes(count: number): Promise<Uint8Array | undefined> {
    if (this.#rest === undefined) {
      try {
        this.#rest = await this.#exchange!.stream.read() ?? undefined;
      } catch (error) {
        throw this.#errorOf(error);
      }
      if (this.#rest === undefined) return undefined;
    }
    const bytes = this.#rest.subarray(0, count);
    this.#rest = bytes.length < this.#rest.length ? this.#rest.subarray(bytes.length) : undefined;
    return bytes;
  }

  /** What the server says of an end that was in order; undefined for OK. */
  async #statusAtEnd(): Promise<GrpcError | undefined> {
    const { stream, trailers } = this.#exchange!;
    // Trailers that came are known by now; without any, this lets go of waiting for them.
    stream.abort();
    const ended = statusOf(await trailers ?? new Map());
    if (ended !== undefined) return ended.error;
    return new GrpcError(Code.unknown, "the server ended the call without a status");
  }

  #errorOf(error: unknown): GrpcError {
    if (error instanceof GrpcError) return error;
    const message = error instanceof Error ? error.message : String(error);
    const resetCode = this.#exchange?.resetCode;
    if (resetCode !== undefined) return errorOfReset(resetCode, message);
    return new GrpcError(Code.unavailable, `connection dropped: ${message}`);
  }

  async #write(): Promise<void> {
    const stream = this.#exchange?.stream;
    if (stream === undefined || this.#isWriting) return;
    this.#isWriting = true;
    try {
      for (let next = this.#outgoing.shift(); next !== undefined; next = this.#outgoing.shift()) {
        this.#tellRoom(true);
        await stream.write(next);
      }
      if (this.#isFinishing) await stream.closeWrite();
    } catch {
      // Whoever reads hears why.
      this.#isCut = true;
      this.#tellRoom(false);
    }
    this.#isWriting = false;
  }

  #end(failure: GrpcError | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#failure = failure;
    this.#over.resolve(false);
    this.#begun.resolve(false);
    this.#tellRoom(false);
    this.#stop.abort();
    this.#exchange?.stream.abort();
  }
}

function asGrpcError(error: unknown): GrpcError {
  if (error instanceof GrpcError) return error;
  return new GrpcError(Code.internal, error instanceof Error ? error.message : String(error));
}

function endedInside(): GrpcError {
  return new GrpcError(Code.internal, "the call ended inside a message");
}
