/**
 * The agent's side of ZDS, as istio-cni speaks it (behaviour.md 17.4, 10): the pods of one node, told to every ztunnel that
 * connects, one message at a time.
 * @module
 */
import { agentSide, type ReceivedPacket, type SeqpacketListener, type SeqpacketPeer } from "#linux";
import type { Clock, Rng } from "#system";
import { describeAnswer, encodeAdd, encodeDelete, encodeKeep, encodeSnapshotSent } from "./zds.ts";
import { readAnswer, readHello } from "./zds.ts";

/** What the agent waits for a hello and for each answer. */
const READ_TIMEOUT_MS = 5_000;
/** Connections that the agent takes per second. */
const ACCEPTS_PER_SECOND_MAX = 5;
/** Longer words of a ztunnel are cut, and so no words. */
const PACKET_BYTES_MAX = 1_024;
/** Messages that wait for their turn on one connection; a node has some hundred pods. */
const MESSAGES_WAITING_MAX = 10_000;

/** A pod, as the agent tells it. */
export interface AgentPod {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** A path that opens its network namespace; absent when the agent has lost it, and can only say `keep`. */
  readonly netns?: string;
}

/** What became of a message: acknowledged, refused with a text, unanswered in time, or the connection ended first. */
export type Answer =
  | { readonly kind: "ok" }
  | { readonly kind: "refused"; readonly text: string }
  | { readonly kind: "unanswered" }
  | { readonly kind: "gone" };

/** A packet as it goes out: bytes, and the files beside it. */
export interface Message {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly files?: readonly string[];
}

export interface AgentOptions {
  /** Where ztunnel's INPOD_UDS points. */
  readonly path: string;
  readonly clock: Clock;
  readonly rng: Rng;
  /** For whoever watches: connections, refusals, silence. */
  readonly onEvent?: (text: string) => void;
  /** Replaces or drops what the snapshot says of a pod; for tests of a broken agent. */
  readonly snapshot?: (messages: readonly Message[]) => readonly Message[];
}

/** One node's agent. Pods may come and go at any time, also while no ztunnel is there. */
export class ZdsAgent implements Disposable {
  readonly #pods = new Map<string, AgentPod>();
  #listener: SeqpacketListener;
  /** The newest last. */
  readonly #connections: Connection[] = [];
  #lastAcceptMs = -Infinity;
  #hungUntil: PromiseWithResolvers<void> | undefined;

  constructor(private readonly options: AgentOptions) {
    this.#listener = this.#listen();
  }

  /** Connections that said hello and have the whole snapshot. */
  get readyCount(): number {
    return this.#connections.filter((connection) => connection.snapshotSent).length;
  }

  /** A pod has appeared; told to the newest connection only. Without any, the answer is `gone`: a later snapshot has it. */
  async add(pod: AgentPod): Promise<Answer> {
    this.#pods.set(pod.uid, pod);
    const newest = this.#connections.at(-1);
    return newest === undefined ? { kind: "gone" } : await newest.tell(messageOf(pod));
  }

  /** A pod is gone; told to every connection. */
  async remove(uid: string): Promise<readonly Answer[]> {
    this.#pods.delete(uid);
    return await this.#tellAll({ bytes: encodeDelete(uid) });
  }

  /** A pod's namespace is lost, as it may be after a crash of the agent: the next snapshot can only say `keep`. */
  forgetNamespace(uid: string): void {
    const pod = this.#pods.get(uid);
    if (pod === undefined) return;
    const { netns: _, ...rest } = pod;
    this.#pods.set(uid, rest);
  }

  /** A message as it stands, right or wrong, to the newest connection. */
  async send(message: Message): Promise<Answer> {
    return await this.#connections.at(-1)?.tell(message) ?? { kind: "gone" };
  }

  /** From now on nobody is answered, until `resume`. */
  hang(): void {
    this.#hungUntil ??= Promise.withResolvers();
  }

  resume(): void {
    this.#hungUntil?.resolve();
    this.#hungUntil = undefined;
  }

  /** Ends every connection; ztunnels come back. */
  disconnect(): void {
    for (const connection of [...this.#connections]) connection.close();
  }

  /** As a new agent would: the socket's file is another one, all connections end, pods are as before. */
  async restart(awayMs = 0): Promise<void> {
    this.#listener[Symbol.dispose]();
    this.disconnect();
    if (awayMs > 0) await this.options.clock.sleep(awayMs);
    this.#listener = this.#listen();
  }

  [Symbol.dispose](): void {
    this.resume();
    this.#listener[Symbol.dispose]();
    this.disconnect();
  }

  #listen(): SeqpacketListener {
    const listener = agentSide.listen(this.options.path, PACKET_BYTES_MAX);
    this.#accept(listener).catch((error) => this.options.onEvent?.(`cannot accept: ${error}`));
    return listener;
  }

  async #accept(listener: SeqpacketListener): Promise<void> {
    const { clock } = this.options;
    for (;;) {
      const peer = await listener.accept();
      if (peer === null) return;
      const waitMs = this.#lastAcceptMs + 1_000 / ACCEPTS_PER_SECOND_MAX - clock.monotonicMs();
      if (waitMs > 0) await clock.sleep(waitMs);
      this.#lastAcceptMs = clock.monotonicMs();
      void this.#serve(peer);
    }
  }

  async #serve(peer: SeqpacketPeer): Promise<void> {
    const connection = new Connection(peer, this.options, () => this.#hungUntil?.promise);
    const say = this.options.onEvent ?? (() => {});
    const hello = await connection.readHello();
    if (hello !== undefined) {
      say(`a ztunnel's hello is wrong: ${hello}`);
      return connection.close();
    }
    if (connection.closed) return;
    // From here on it is told of changes too: they wait behind the snapshot.
    this.#connections.push(connection);
    connection.onClose = () => {
      this.#connections.splice(this.#connections.indexOf(connection), 1);
      say("a ztunnel disconnected");
    };
    say("a ztunnel connected");
    const pods = shuffled([...this.#pods.values()], this.options.rng).map(messageOf);
    const messages = [
      ...(this.options.snapshot?.(pods) ?? pods),
      { bytes: encodeSnapshotSent() },
    ];
    const answers = await Promise.all(messages.map((message) => connection.tell(message)));
    if (answers.at(-1)?.kind === "ok") connection.snapshotSent = true;
    // A refusal in the snapshot is only told: the agent never sends it again.
    for (const answer of answers) {
      if (answer.kind !== "ok") say(`in the snapshot: ${describeAnswer(answer)}`);
    }
  }

  async #tellAll(message: Message): Promise<readonly Answer[]> {
    return await Promise.all(this.#connections.map((connection) => connection.tell(message)));
  }
}

/** One ztunnel. Answers are matched to messages by their order alone. */
class Connection {
  snapshotSent = false;
  onClose: () => void = () => {};
  closed = false;
  #waiting = 0;
  #turn: Promise<unknown> = Promise.resolve();
  /** Takes the next packet; absent while none is due, so that a packet then is a violation. */
  #due: ((packet: ReceivedPacket | null) => void) | undefined;

  constructor(
    private readonly peer: SeqpacketPeer,
    private readonly options: AgentOptions,
    private readonly hung: () => Promise<void> | undefined,
  ) {}

  /** Undefined when it is right, else what is wrong. Starts the reading. */
  async readHello(): Promise<string | undefined> {
    const read = this.#nextPacket();
    void this.#read();
    const packet = await read;
    if (packet === undefined) return "none came in time";
    return packet === null ? "it closed" : readHello(packet.bytes);
  }

  /** Sends when its turn has come, and waits for the answer. */
  tell(message: Message): Promise<Answer> {
    if (this.#waiting >= MESSAGES_WAITING_MAX) return Promise.resolve({ kind: "unanswered" });
    this.#waiting++;
    const answer = this.#turn.then(() => this.#tellNow(message));
    this.#turn = answer.finally(() => this.#waiting--);
    return answer;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.peer[Symbol.dispose]();
    this.#due?.(null);
    this.onClose();
  }

  async #tellNow(message: Message): Promise<Answer> {
    await this.hung();
    if (this.closed) return { kind: "gone" };
    const next = this.#nextPacket();
    try {
      this.peer.send(message.bytes, message.files);
    } catch (error) {
      this.options.onEvent?.(String(error));
      // A file that cannot be opened concerns this pod; anything else concerns the connection.
      this.#due?.(null);
      if (!(error instanceof Error && error.message.startsWith("open "))) this.close();
      return { kind: "gone" };
    }
    const packet = await next;
    if (packet === undefined) return { kind: "unanswered" };
    if (packet === null) return { kind: "gone" };
    return readAnswer(packet);
  }

  /** Undefined when none comes in time: what comes later answers the next message. */
  #nextPacket(): Promise<ReceivedPacket | null | undefined> {
    return new Promise((resolve) => {
      const finish = (packet: ReceivedPacket | null | undefined) => {
        this.#due = undefined;
        timer.cancel();
        resolve(packet);
      };
      const timer = this.options.clock.after(READ_TIMEOUT_MS, () => finish(undefined));
      this.#due = finish;
    });
  }

  async #read(): Promise<void> {
    for (;;) {
      const packet = await this.peer.receive();
      if (packet === null) return this.close();
      if (this.#due === undefined) {
        this.options.onEvent?.("a ztunnel spoke unasked; its connection is closed");
        return this.close();
      }
      this.#due(packet);
    }
  }
}

function messageOf(pod: AgentPod): Message {
  return pod.netns === undefined
    ? { bytes: encodeKeep(pod.uid) }
    : { bytes: encodeAdd(pod), files: [pod.netns] };
}

/** Fisher and Yates; the agent walks a hash map, so that no order can be relied on. */
function shuffled<T>(values: T[], rng: Rng): T[] {
  for (let index = values.length - 1; index > 0; index--) {
    const other = rng.below(index + 1);
    [values[index], values[other]] = [values[other]!, values[index]!];
  }
  return values;
}
