/** One end of a link. Words arrive in order, each in a turn of its own. */
export interface Port<Out, In> {
  /** After `close`, of either end, it goes nowhere. */
  post(word: Out): void;
  /** Set by the owner of this end. Words that came earlier wait for the first one. */
  onWord: ((word: In) => void) | undefined;
  /** Nothing is heard any more, not even what is on its way. Idempotent. */
  close(): void;
}

/** What a Worker is to its parent, a parent to its Worker, and a MessagePort to its owner. */
export interface Channel {
  postMessage(message: unknown): void;
  onmessage: ((event: MessageEvent) => void) | null;
}

/** Words that come before anybody listens wait; after `close` none is heard. */
class Inbox<In> {
  #waiting: In[] = [];
  #listener: ((word: In) => void) | undefined;
  #closed = false;

  get isClosed(): boolean {
    return this.#closed;
  }

  receive(word: In): void {
    if (this.#closed) return;
    if (this.#listener === undefined || this.#waiting.length > 0) this.#waiting.push(word);
    else this.#listener(word);
  }

  get onWord(): ((word: In) => void) | undefined {
    return this.#listener;
  }

  set onWord(listener: ((word: In) => void) | undefined) {
    this.#listener = listener;
    // A word may put another listener in place: what waits behind it is for that one.
    while (this.#listener === listener && listener !== undefined && this.#waiting.length > 0) {
      listener(this.#waiting.shift()!);
    }
  }

  close(): void {
    this.#closed = true;
    this.#waiting = [];
  }
}

/** Two ends on one thread: what a data side on the main thread and tests use. */
export function loopback<A, B>(): [Port<A, B>, Port<B, A>] {
  const near = new LoopbackPort<A, B>();
  const far = new LoopbackPort<B, A>();
  near.peer = far;
  far.peer = near;
  return [near, far];
}

class LoopbackPort<Out, In> implements Port<Out, In> {
  peer: LoopbackPort<In, Out> | undefined;
  readonly inbox = new Inbox<In>();

  post(word: Out): void {
    if (this.inbox.isClosed) return;
    queueMicrotask(() => this.peer?.inbox.receive(word));
  }

  get onWord(): ((word: In) => void) | undefined {
    return this.inbox.onWord;
  }

  set onWord(listener: ((word: In) => void) | undefined) {
    this.inbox.onWord = listener;
  }

  close(): void {
    this.inbox.close();
  }
}

/** An end whose other end is on another thread. Words are copied, shared memory is shared. */
export function channelPort<Out, In>(channel: Channel): Port<Out, In> {
  const inbox = new Inbox<In>();
  channel.onmessage = (event) => inbox.receive(event.data as In);
  return {
    post: (word) => {
      if (!inbox.isClosed) channel.postMessage(word);
    },
    get onWord() {
      return inbox.onWord;
    },
    set onWord(listener) {
      inbox.onWord = listener;
    },
    close: () => inbox.close(),
  };
}
