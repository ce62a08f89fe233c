/**
 * A kernel of queues: who connects and what is dialled is up to the test.
 * @module
 */
import {
  type Acceptor,
  type Arrival,
  type ByteStream,
  type Dialer,
  DialError,
  type DialOptions,
  type Kernel,
  ListenError,
  type ListenOptions,
  pipe,
} from "#stream";
import { SocketAddress } from "#values";

export interface Dialled {
  readonly to: SocketAddress;
  readonly options: DialOptions;
  /** The application's end. */
  readonly stream: ByteStream;
}

export class FakeKernel implements Kernel {
  readonly listeners = new Map<number, ListenOptions>();
  readonly dialled: Dialled[] = [];
  /** Ports that somebody else has. */
  readonly takenPorts = new Set<number>();
  /** Ports where nobody listens. */
  readonly refusedPorts = new Set<number>();
  /** Ports from which no answer ever comes. */
  readonly silentPorts = new Set<number>();
  readonly closedPorts: number[] = [];
  readonly #serving = new Map<number, (arrival: Arrival) => void>();

  listen(options: ListenOptions): Acceptor {
    const { port } = options.at;
    if (this.takenPorts.has(port)) {
      throw new ListenError("EADDRINUSE", 98, `cannot bind ${SocketAddress.format(options.at)}`);
    }
    this.listeners.set(port, options);
    return {
      address: options.at,
      transparent: options.transparent !== "off",
      serve: (onArrival) => void this.#serving.set(port, onArrival),
      close: () => {
        this.closedPorts.push(port);
        this.#serving.delete(port);
      },
    };
  }

  dialer(): Dialer {
    return {
      dial: (to, options) => {
        if (this.refusedPorts.has(to.port)) {
          const where = `cannot dial ${SocketAddress.format(to)}`;
          return Promise.reject(
            new DialError("ECONNREFUSED", 111, `${where}: connection refused (ECONNREFUSED)`),
          );
        }
        if (this.silentPorts.has(to.port)) return Promise.withResolvers<never>().promise;
        const [near, far] = pipe();
        this.dialled.push({ to, options, stream: far });
        return Promise.resolve(Object.assign(near, { local: to }));
      },
    };
  }

  get servingPorts(): number[] {
    return [...this.#serving.keys()].sort((a, b) => a - b);
  }

  /** Somebody connects to our `port`, having meant `destination`; gives the caller's end. */
  connect(port: number, source: SocketAddress, destination: SocketAddress): ByteStream {
    const [near, far] = pipe();
    const onArrival = this.#serving.get(port);
    if (onArrival === undefined) throw new Error(`nobody serves port ${port}`);
    const local = { ip: destination.ip, port };
    onArrival({ stream: far, source, local, destination });
    return near;
  }
}
