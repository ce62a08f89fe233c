/**
 * SOCKS5 for applications without redirection (behaviour.md 12; RFC 1928, CONNECT without authentication).
 * @module
 */
import { answerName } from "#dns";
import type { Arrival, ByteStream } from "#stream";
import { Ip, Refusal, type SocketAddress } from "#values";
import { logEarlyDenial } from "./record.ts";
import { serveOutbound } from "./outbound.ts";
import { PROXY_LIMITS, type ProxyParts } from "./parts.ts";

const VERSION = 5;
const REPLY = { succeeded: 0, general: 1, hostUnreachable: 4, protocol: 7 } as const;

/** Serves one connection to its access line; never rejects. */
export async function serveSocks5(parts: ProxyParts, arrival: Arrival): Promise<void> {
  const { stream } = arrival;
  const timer = parts.clock.after(
    PROXY_LIMITS.socksHandshakeTimeoutMs,
    () => stream.abort(),
    { background: true },
  );
  let target: SocketAddress;
  const reader = new Reader(stream);
  try {
    target = await handshake(parts, arrival, reader);
  } catch (error) {
    await sayWhy(stream, error);
    stream.abort();
    const ends = { client: arrival.source, hop: arrival.local };
    logEarlyDenial(parts.access, ends, "outbound", Refusal.failureOf(error));
    return;
  } finally {
    timer.cancel();
  }
  await serveOutbound(parts, { stream: reader.rest(), source: arrival.source, target }, "socks5");
}

/** An operating failure that has an answer in the protocol. */
class SocksRefusal extends Refusal {
  constructor(readonly reply: number, cause: string) {
    super({ kind: "socks", cause });
  }
}

/** The reply goes out before we dial (behaviour.md 18.17): a client learns of a failed dial by a reset. */
async function handshake(
  parts: ProxyParts,
  arrival: Arrival,
  reader: Reader,
): Promise<SocketAddress> {
  const [version, methodsCount] = await reader.take(2);
  if (version !== VERSION) {
    throw new SocksRefusal(REPLY.protocol, `cannot speak version ${version}`);
  }
  const methods = await reader.take(methodsCount!);
  if (!methods.includes(0)) {
    throw new SocksRefusal(REPLY.protocol, "the client offers no method without authentication");
  }
  await arrival.stream.write(Uint8Array.of(VERSION, 0));
  const [requestVersion, command, , addressType] = await reader.take(4);
  if (requestVersion !== VERSION || command !== 1) {
    throw new SocksRefusal(REPLY.protocol, `cannot serve command ${command}: only CONNECT is`);
  }
  const ip = await readAddress(parts, arrival, reader, addressType!);
  const port = await reader.take(2);
  await arrival.stream.write(replyOf(REPLY.succeeded));
  return { ip, port: (port[0]! << 8) | port[1]! };
}

async function readAddress(
  parts: ProxyParts,
  arrival: Arrival,
  reader: Reader,
  addressType: number,
): Promise<Ip> {
  switch (addressType) {
    case 1:
      return Ip.fromBytes(await reader.take(4))!;
    case 4:
      return Ip.fromBytes(await reader.take(16))!;
    case 3: {
      const [length] = await reader.take(1);
      return await resolve(parts, arrival, textOf(await reader.take(length!)));
    }
    default:
      throw new SocksRefusal(REPLY.protocol, `cannot use address type ${addressType}`);
  }
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new SocksRefusal(REPLY.protocol, "the name is not UTF-8");
  }
}

async function resolve(parts: ProxyParts, arrival: Arrival, name: string): Promise<Ip> {
  const literal = Ip.parse(name);
  if (literal !== undefined) return literal;
  const client = await parts.local.get(arrival.source.ip);
  const { clusterDomain, searchDomains, preferredServiceNamespace, ipv6Enabled } = parts.settings;
  const answer = answerName(parts.view, {
    name,
    // As the client's own address: whoever speaks IPv6 to us gets an IPv6 destination (behaviour.md 12).
    type: Ip.family(arrival.source.ip) === 4 ? "A" : "AAAA",
    client,
    clusterDomain,
    searchDomains,
    ipv6Enabled,
    ...(preferredServiceNamespace === undefined
      ? {}
      : { preferredNamespace: preferredServiceNamespace }),
  }, parts.rng);
  if (answer.kind !== "addresses") {
    throw new SocksRefusal(REPLY.hostUnreachable, `the mesh has no address for "${name}"`);
  }
  return answer.ips[0]!;
}

async function sayWhy(stream: ByteStream, error: unknown): Promise<void> {
  const reply = error instanceof SocksRefusal ? error.reply : REPLY.general;
  try {
    await stream.write(replyOf(reply));
    await stream.closeWrite();
    // A reset right behind the reply could overtake it; the handshake's timer bounds this wait.
    while (await stream.read() !== null);
  } catch {
    // The client is gone; the line in the log has the reason.
  }
}

function replyOf(code: number): Uint8Array {
  return Uint8Array.of(VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0);
}

/** Takes exact counts off a stream, and gives the stream back with what it read too much. */
class Reader {
  #bytes = new Uint8Array(0);
  constructor(private readonly stream: ByteStream) {}

  async take(count: number): Promise<Uint8Array> {
    while (this.#bytes.length < count) {
      const chunk = await this.stream.read();
      if (chunk === null) throw new SocksRefusal(REPLY.protocol, "the client left in mid-request");
      if (this.#bytes.length + chunk.length > PROXY_LIMITS.socksHandshakeBytesMax) {
        throw new SocksRefusal(REPLY.protocol, "the client sends too much before its request");
      }
      const joined = new Uint8Array(this.#bytes.length + chunk.length);
      joined.set(this.#bytes);
      joined.set(chunk, this.#bytes.length);
      this.#bytes = joined;
    }
    const taken = this.#bytes.slice(0, count);
    this.#bytes = this.#bytes.slice(count);
    return taken;
  }

  /** The stream from here on. */
  rest(): ByteStream {
    const left = this.#bytes;
    return left.length === 0 ? this.stream : withPrefix(left, this.stream);
  }
}

function withPrefix(prefix: Uint8Array, stream: ByteStream): ByteStream {
  let unread: Uint8Array | undefined = prefix;
  return {
    read() {
      const first = unread;
      unread = undefined;
      return first === undefined ? stream.read() : Promise.resolve(first);
    },
    write: (chunk) => stream.write(chunk),
    closeWrite: () => stream.closeWrite(),
    abort: () => stream.abort(),
    closed: stream.closed,
    [Symbol.asyncDispose]: () => stream[Symbol.asyncDispose](),
  };
}
