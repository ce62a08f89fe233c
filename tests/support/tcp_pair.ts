/**
 * Both ends of a real TCP connection over loopback, as the thinnest ByteStreams that TLS can run over: it takes
 * their sockets. For bytes in the clear use the `linux` room.
 * @module
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import type { ByteStream } from "#stream";

export class SocketStream implements ByteStream {
  readonly native: { readonly kind: "tcp"; readonly socket: Socket };
  readonly closed: Promise<void>;
  constructor(readonly socket: Socket) {
    this.native = { kind: "tcp", socket };
    socket.on("error", () => {});
    this.closed = new Promise((resolve) => socket.once("close", () => resolve()));
  }
  read(): Promise<never> {
    return Promise.reject(new Error("this end is only for TLS"));
  }
  write(): Promise<never> {
    return Promise.reject(new Error("this end is only for TLS"));
  }
  closeWrite(): Promise<void> {
    this.socket.end();
    return Promise.resolve();
  }
  abort(): void {
    this.socket.resetAndDestroy();
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.abort();
    await this.closed;
  }
}

/** [who connected, who accepted]. */
export async function tcpPair(host = "127.0.0.1"): Promise<[SocketStream, SocketStream]> {
  const accepted = Promise.withResolvers<SocketStream>();
  using listener = await listen(host, (stream) => accepted.resolve(stream));
  const client = await dial(listener.port, host);
  return [client, await accepted.promise];
}

export async function listen(
  host: string,
  onArrival: (stream: SocketStream) => void,
): Promise<{ readonly port: number } & Disposable> {
  const server: Server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
    onArrival(new SocketStream(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.dispose]() {
      server.close();
    },
  };
}

export async function dial(port: number, host = "127.0.0.1"): Promise<SocketStream> {
  const socket = connect({ port, host, allowHalfOpen: true });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  return new SocketStream(socket);
}
