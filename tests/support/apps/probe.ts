/**
 * A caller for tests, to be run inside a network namespace: `probe.ts IP:PORT…` connects to each, speaks HTTP, and
 * prints one JSON object of what came of it: "refused", "nothing" (connected, and closed or reset without a byte),
 * "alert" (of TLS), "answer" or "silence" (connected, and no end in half a minute).
 */
const SILENCE_MS = 30_000;
const TLS_ALERT = 21;
const request = new TextEncoder().encode("GET / HTTP/1.0\r\n\r\n");

const outcomes = await Promise.all(Deno.args.map(async (target) => [target, await probe(target)]));
console.log(JSON.stringify(Object.fromEntries(outcomes)));

async function probe(target: string): Promise<string> {
  const [, hostname, port] = /^\[?(.+?)\]?:(\d+)$/.exec(target)!;
  let connection: Deno.TcpConn | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    connection = await Deno.connect({ hostname: hostname!, port: Number(port) });
    await connection.write(request);
    const silence = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve("silence"), SILENCE_MS);
    });
    const buffer = new Uint8Array(100);
    const reading = connection.read(buffer).then((count) => {
      if (count === null) return "nothing";
      return buffer[0] === TLS_ALERT ? "alert" : "answer";
    });
    return await Promise.race([reading, silence]);
  } catch (error) {
    return error instanceof Deno.errors.ConnectionRefused ? "refused" : "nothing";
  } finally {
    clearTimeout(timer);
    connection?.close();
  }
}
