/**
 * The servers behind the proxies: each treats its clients in one way.
 * @module
 */
import { readExactly } from "../../tests/support/proxy_process.ts";

/** Nobody listens on `closed`; `denied` is what a policy refuses. */
export const PORTS = {
  echo: 8080,
  source: 8081,
  resetting: 8082,
  holding: 8083,
  late: 8084,
  closed: 8085,
  denied: 8086,
} as const;

const PATTERN = Uint8Array.from({ length: 65_536 }, (_, at) => (at * 31 + (at >> 8)) & 0xff);
const LATE_MS = 300;

/** Whether the bytes are those of `PATTERN`, again and again. */
export function isPattern(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] !== PATTERN[at & 0xffff]) return false;
  }
  return true;
}

export async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

async function echo(connection: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(65_536);
  for (let read = await connection.read(buffer); read !== null;) {
    await writeAll(connection, buffer.subarray(0, read));
    read = await connection.read(buffer);
  }
  await connection.closeWrite();
}

/** Ten digits say how many bytes are wanted. */
async function source(connection: Deno.TcpConn): Promise<void> {
  let left = Number(new TextDecoder().decode(await readExactly(connection, 10)));
  while (left > 0) {
    const piece = PATTERN.subarray(0, Math.min(left, PATTERN.length));
    await writeAll(connection, piece);
    left -= piece.length;
  }
  await connection.closeWrite();
}

/** Reads a little and closes with the rest unread, which is a reset. */
async function reset(connection: Deno.TcpConn): Promise<void> {
  await connection.read(new Uint8Array(100));
  await new Promise((resolve) => setTimeout(resolve, 5));
}

async function answerLate(connection: Deno.TcpConn): Promise<void> {
  while (await connection.read(new Uint8Array(1_000)) !== null);
  await new Promise((resolve) => setTimeout(resolve, LATE_MS));
  await writeAll(connection, new Uint8Array(100_000));
  await connection.closeWrite();
}

export class Applications implements AsyncDisposable {
  readonly #listeners: Deno.Listener[] = [];
  readonly #accepting: Promise<void>[] = [];
  readonly #held = new Set<Deno.Conn>();
  #isClosed = false;

  constructor(ip: string) {
    const hold = async (connection: Deno.TcpConn) => {
      this.#held.add(connection);
      while (await connection.read(new Uint8Array(1_000)) !== null);
    };
    this.#serve(ip, PORTS.echo, echo);
    this.#serve(ip, PORTS.source, source);
    this.#serve(ip, PORTS.resetting, reset);
    this.#serve(ip, PORTS.holding, hold, true);
    this.#serve(ip, PORTS.late, answerLate);
    this.#serve(ip, PORTS.denied, echo);
  }

  /** Closes what was held open. */
  letGo(): void {
    for (const connection of this.#held) connection.close();
    this.#held.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    for (const listener of this.#listeners) listener.close();
    this.letGo();
    await Promise.all(this.#accepting);
  }

  #serve(
    hostname: string,
    port: number,
    serve: (connection: Deno.TcpConn) => Promise<void>,
    isHeld = false,
  ): void {
    const listener = Deno.listen({ hostname, port });
    this.#listeners.push(listener);
    const answer = async (connection: Deno.TcpConn) => {
      try {
        await serve(connection);
      } catch {
        // Clients leave at any time, by design of the load.
      }
      if (!isHeld) connection.close();
    };
    const accept = async () => {
      while (!this.#isClosed) {
        try {
          void answer(await listener.accept());
        } catch {
          // Who has left before it is accepted fails the accept, and only that.
        }
      }
    };
    this.#accepting.push(accept());
  }
}
