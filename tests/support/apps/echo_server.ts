/**
 * An application for tests: `echo_server.ts IP PORT` sends back whatever comes and finishes when its peer has. On
 * its first byte `?` it answers with the address of who connected instead.
 */
const [ip, port] = Deno.args;
const listener = Deno.listen({ hostname: ip!, port: Number(port) });
console.log(`listening on ${port}`);
for await (const connection of listener) void serve(connection);

async function serve(connection: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  try {
    for (;;) {
      const count = await connection.read(buffer);
      if (count === null) break;
      if (count === 1 && buffer[0] === 0x3f) {
        await writeAll(connection, new TextEncoder().encode(connection.remoteAddr.hostname));
        break;
      }
      await writeAll(connection, buffer.subarray(0, count));
    }
    await connection.closeWrite();
    while (await connection.read(buffer) !== null);
  } catch {
    // A client may leave at any time.
  } finally {
    connection.close();
  }
}

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}
