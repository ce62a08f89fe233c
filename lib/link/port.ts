/** One end of a link. Words arrive in order, each in a turn of its own. */
export interface Port<Out, In> {
  post(word: Out): void;
  /** Set once, by the owner of this end. Words that came earlier wait. */
  onWord: ((word: In) => void) | undefined;
}

/** Two ends on one thread: what N = 0 data threads and tests use. */
export function loopback<A, B>(): [Port<A, B>, Port<B, A>] {
  const near = new LoopbackPort<A, B>();
  const far = new LoopbackPort<B, A>();
  near.peer = far;
  far.peer = near;
  return [near, far];
}

class LoopbackPort<Out, In> implements Port<Out, In> {
  peer: LoopbackPort<In, Out> | undefined;
  #waiting: In[] = [];
  #listener: ((word: In) => void) | undefined;

  post(word: Out): void {
    queueMicrotask(() => this.peer?.receive(word));
  }

  receive(word: In): void {
    if (this.#listener === undefined) this.#waiting.push(word);
    else this.#listener(word);
  }

  get onWord(): ((word: In) => void) | undefined {
    return this.#listener;
  }

  set onWord(listener: ((word: In) => void) | undefined) {
    this.#listener = listener;
    if (listener === undefined) return;
    for (const word of this.#waiting.splice(0)) listener(word);
  }
}
