import { Netns, type Packet, SeqPacket } from "#linux";
import type { Log } from "#log";
import { Backoff, type Clock, type Rng } from "#system";
import { INPOD_LIMITS } from "./limits.ts";
import {
  type AgentMessage,
  decodeMessage,
  encodeAnswer,
  encodeHello,
  UnreadableMessage,
} from "./messages.ts";

export interface AgentLinkOptions {
  /** Of the agent's socket. */
  readonly path: string;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Log;
  onConnected(): void;
  onDisconnected(): void;
  /** Owns `netns`; resolves when the message has been answered or never will be. Must not reject. */
  onMessage(message: AgentMessage, netns: Netns | undefined): Promise<void>;
  /** Whether this connection was of any use, so that the next attempt need not wait. */
  wasUseful(): boolean;
}

/** The connection to the CNI agent, made again whenever it ends (behaviour.md 10.1 to 10.3, 10.6). */
export class AgentLink {
  readonly #stop = new AbortController();
  #ended: Promise<void> | undefined;
  #socket: SeqPacket | undefined;

  constructor(private readonly options: AgentLinkOptions) {}

  /** Call once. */
  start(): void {
    this.#ended = this.#run();
  }

  /** Answers the message that came last; an empty error is an ACK. Without a connection there is nobody to answer. */
  answer(error: string): void {
    const { log } = this.options;
    try {
      this.#socket?.send(encodeAnswer(error));
    } catch (failure) {
      log.warn?.("cannot answer the CNI agent", { error: messageOf(failure) });
      this.#hangUp();
    }
  }

  /** No further message is read, and the agent sees us go. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#hangUp();
    await this.#ended;
  }

  #hangUp(): void {
    this.#socket?.[Symbol.dispose]();
    this.#socket = undefined;
  }

  async #run(): Promise<void> {
    const { path, clock, rng, log } = this.options;
    const backoff = new Backoff({
      firstMs: INPOD_LIMITS.reconnectFirstMs,
      maxMs: INPOD_LIMITS.reconnectMaxMs,
      jitter: 0.2,
    }, rng);
    while (!this.#stop.signal.aborted) {
      let why = "it closed the connection";
      try {
        await this.#converse();
      } catch (error) {
        why = messageOf(error);
      }
      this.#hangUp();
      const useful = this.options.wasUseful();
      this.options.onDisconnected();
      if (this.#stop.signal.aborted) return;
      if (useful) {
        backoff.reset();
        log.info?.("connecting to the CNI agent again", { path, error: why });
        continue;
      }
      const retryMs = Math.round(backoff.nextMs());
      log.warn?.("no connection to the CNI agent: is it healthy?", { path, error: why, retryMs });
      await clock.sleep(retryMs, this.#stop.signal);
    }
  }

  /** One connection, to its end. */
  async #converse(): Promise<void> {
    const { path, log, clock } = this.options;
    const socket = this.#socket = SeqPacket.connect(path, INPOD_LIMITS.packetBytesMax);
    socket.send(encodeHello());
    this.options.onConnected();
    log.info?.("connected to the CNI agent", { path });
    const silenceMs = INPOD_LIMITS.snapshotSilenceMs;
    const silent = clock.after(silenceMs, () => {
      if (this.options.wasUseful()) return;
      log.warn?.("the CNI agent has not told its list of pods yet", { path, silenceMs });
    }, { background: true });
    try {
      for (;;) {
        const packet = await socket.receive();
        if (packet === null) return;
        await this.#onPacket(packet);
      }
    } finally {
      silent.cancel();
    }
  }

  async #onPacket(packet: Packet): Promise<void> {
    let message: AgentMessage;
    let netns: Netns | undefined;
    try {
      message = readMessage(packet);
      // From here on it has an owner, or is closed.
      netns = packet.fds[0] === undefined ? undefined : Netns.adopt(packet.fds[0]);
    } catch (error) {
      this.answer(`failure to read message: ${messageOf(error)}`);
      throw error;
    }
    const { log } = this.options;
    const uid = "uid" in message ? message.uid : undefined;
    log.debug?.("the CNI agent says", { kind: message.kind, uid, netns: netns?.id });
    if (netns?.isNetwork === false) {
      log.warn?.("the CNI agent sent a file that is no network namespace", { uid });
    }
    await this.options.onMessage(message, netns);
  }
}

/** Throws an UnreadableMessage, with every file closed. */
function readMessage({ bytes, fds, truncated }: Packet): AgentMessage {
  try {
    if (truncated) throw new UnreadableMessage("truncated message");
    if (fds.length > 1) throw new UnreadableMessage(`expected at most 1 file, got ${fds.length}`);
    const message = decodeMessage(bytes);
    if ((message.kind === "add") !== (fds.length === 1)) {
      const what = fds.length === 0 ? "without" : "with";
      throw new UnreadableMessage(`${message.kind} came ${what} a file`);
    }
    return message;
  } catch (error) {
    Netns.refuse(fds);
    throw error;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
