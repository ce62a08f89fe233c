import net from "node:net";
import type { Clock } from "#system";
import { SocketWatch } from "./socket_watch.ts";
import { C } from "./libc.ts";
import { duplicateFdOf } from "./runtime_handles.ts";
import { closeFd, isReady } from "./socket.ts";

/** Keeps `server` served until disposed; what others accept for it comes to `onSocket`. */
export type KeepAccepting = (
  server: net.Server,
  onSocket: (socket: net.Socket) => void,
) => Disposable;

/**
 * For servers of the runtime's own: it never accepts again where accept has failed once, as it does when file descriptors
 * run out, and says nothing. A probe would find the process dead from then on although it works.
 */
export function acceptKeeper(clock: Clock): KeepAccepting {
  const watch = new SocketWatch(clock);
  return (server, onSocket) => new Keeper(server, onSocket, watch);
}

class Keeper implements Disposable {
  /** Of the same listening socket, to look at its queue. */
  readonly #fd: number;
  #standIn: net.Server | undefined;
  #accepted = 0;
  #acceptedAtLastCheck = -1;

  constructor(
    private readonly server: net.Server,
    private readonly onSocket: (socket: net.Socket) => void,
    private readonly watch: SocketWatch,
  ) {
    this.#fd = duplicateFdOf(server);
    server.on("connection", () => this.#accepted++);
    if (this.#fd >= 0) watch.add(this, () => this.#check());
  }

  [Symbol.dispose](): void {
    this.watch.remove(this);
    this.#standIn?.close();
    if (this.#fd >= 0) closeFd(this.#fd);
  }

  /** As the acceptor's: somebody waits, and nobody was let in since the last look. */
  #check(): void {
    const isWaiting = isReady(this.#fd, C.POLLIN);
    const isStalled = isWaiting && this.#acceptedAtLastCheck === this.#accepted;
    this.#acceptedAtLastCheck = isWaiting ? this.#accepted : -1;
    if (!isStalled) return;
    const fd = duplicateFdOf(this.server);
    // Still no fd to spare: the next look tries again.
    if (fd < 0) return;
    this.#standIn?.close();
    this.#standIn = net.createServer({ allowHalfOpen: true, noDelay: true }, this.onSocket);
    // The accept that fails next is this one's end; the next look finds it.
    this.#standIn.on("error", () => {});
    this.#standIn.listen({ fd });
  }
}
