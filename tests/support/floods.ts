/**
 * Floods of every kind, as frames (users.md 3.2).
 * @module
 */
import {
  CODE,
  fields,
  FLAG,
  frame,
  join,
  resetStream,
  SETTING,
  settings,
  TYPE,
  windowUpdate,
} from "./h2_raw.ts";

/** The server that is attacked: where its applications listen. */
export const TARGET = "127.1.10.1";
/** Echoes; sends without end; takes everything and says nothing. */
export const PORTS = { echo: 8080, endless: 8081, sink: 8082 } as const;

export interface Attack {
  readonly kind: string;
  /** Of the GOAWAY; undefined where the connection is cut without one. */
  readonly code: number;
  /** What the attacker announces. */
  readonly entries?: readonly (readonly [number, number])[];
  readonly before?: () => readonly Uint8Array[];
  /** One round; they follow each other until the peer is cut off. `at` counts them. */
  readonly round: (at: number) => readonly Uint8Array[];
  /** Rounds in one write. */
  readonly batch: number;
  /** What it may be taken for as well, where our queue is full and windows add up unused. */
  readonly orKind?: string;
  /** More would mean that the limit is none. */
  readonly roundsMax: number;
}

const connectTo = (port: number) =>
  fields([":method", "CONNECT"], [":authority", `${TARGET}:${port}`]);
const request = (id: number, block: Uint8Array) => frame(TYPE.headers, FLAG.endHeaders, id, block);
/** Refused at once, so that its stream is free again. */
const refused = (prefix: readonly number[] = []) =>
  join([Uint8Array.from(prefix), fields([":method", "CONNECT"], [":authority", "nobody"])]);
const idOf = (at: number) => 2 * at + 1;

/**
 * One for each kind that a connection can show; `handshake` and `tiny_data`, of which only more than 50,000 a second are a
 * flood, are other tests.
 */
export const ATTACKS: readonly Attack[] = [
  {
    kind: "rapid_reset",
    code: CODE.enhanceYourCalm,
    round: (at) => [request(idOf(at), connectTo(PORTS.echo)), resetStream(idOf(at))],
    batch: 100,
    roundsMax: 5_000,
  },
  {
    kind: "made_you_reset",
    code: CODE.enhanceYourCalm,
    // A window that grows by nothing is a stream error (RFC 9113 section 6.9).
    round: (at) => [request(idOf(at), connectTo(PORTS.echo)), windowUpdate(idOf(at), 0)],
    batch: 50,
    roundsMax: 5_000,
  },
  {
    kind: "continuation",
    code: CODE.enhanceYourCalm,
    before: () => [frame(TYPE.headers, 0, 1, connectTo(PORTS.echo))],
    round: () => [frame(TYPE.continuation, 0, 1, fields(["a", "b"]))],
    batch: 1,
    roundsMax: 20,
  },
  {
    kind: "header_list",
    code: CODE.enhanceYourCalm,
    // 65 fields; 64 are allowed.
    round: (at) => [
      request(idOf(at), fields(...Array.from({ length: 65 }, (_, n) => [`x${n}`, "y"] as const))),
    ],
    batch: 1,
    roundsMax: 200,
  },
  {
    kind: "hpack_table",
    code: CODE.enhanceYourCalm,
    // 0x20: the table shall have no bytes (RFC 7541 section 6.3).
    round: (at) => [request(idOf(at), refused([0x20]))],
    batch: 10,
    roundsMax: 1_000,
  },
  {
    kind: "ping",
    code: CODE.enhanceYourCalm,
    round: () => [frame(TYPE.ping, 0, 0, new Uint8Array(8))],
    batch: 50,
    roundsMax: 10_000,
  },
  {
    kind: "settings",
    code: CODE.enhanceYourCalm,
    round: () => [settings()],
    batch: 20,
    roundsMax: 5_000,
  },
  {
    kind: "empty_data",
    code: CODE.enhanceYourCalm,
    before: () => [request(1, connectTo(PORTS.sink))],
    round: () => [frame(TYPE.data, 0, 1)],
    batch: 20,
    roundsMax: 5_000,
  },
  {
    kind: "window_update",
    code: CODE.enhanceYourCalm,
    before: () => [request(1, connectTo(PORTS.sink))],
    round: () => [windowUpdate(1, 1)],
    batch: 200,
    roundsMax: 50_000,
  },
  {
    kind: "zero_window",
    code: CODE.enhanceYourCalm,
    // The application sends without end, and the attacker takes a byte at a time.
    entries: [[SETTING.initialWindowSize, 1]],
    before: () => [request(1, connectTo(PORTS.endless))],
    round: () => [windowUpdate(1, 1)],
    batch: 200,
    orKind: "window_update",
    roundsMax: 2_000_000,
  },
];
