/**
 * A client for tests, to be run inside a network namespace: `drip_client.ts IP PORT SECONDS` keeps one connection to an echo
 * server for so long, a few bytes every 100 ms. Says `whole` if all came back, `cut` if the connection ended before.
 */
const [ip, port, seconds] = Deno.args;
const connection = await Deno.connect({ hostname: ip!, port: Number(port) });
const untilMs = performance.now() + Number(seconds) * 1_000;
console.log("started");
try {
  const buffer = new Uint8Array(16);
  while (performance.now() < untilMs) {
    await connection.write(new TextEncoder().encode("drip"));
    for (let count = 0; count < 4;) {
      const read = await connection.read(buffer);
      if (read === null) throw new Error("end");
      count += read;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  console.log("whole");
} catch {
  console.log("cut");
}
