/**
 * A client for tests, to be run inside a network namespace. Prints one JSON object.
 *
 * `echo_client.ts half-close IP PORT BYTES`: sends random bytes, finishes, reads until the end, compares.
 * `echo_client.ts parallel IP PORT COUNT`: COUNT connections open at once, each with a text of its own.
 * `echo_client.ts small IP PORT COUNT`: so many writes of a few bytes each, then as half-close.
 * `echo_client.ts slow IP PORT SECONDS`: a chunk and its echo every tenth of a second, then as half-close.
 * `echo_client.ts aborts IP PORT COUNT`: so many connections, each reset in the middle of a transfer.
 * `echo_client.ts who IP PORT`: the address that the application sees.
 * `echo_client.ts outcome IP PORT`: "data", "eof" or "reset", and how long it took.
 */
const [mode, ip, portText, amountText] = Deno.args;
const target = { hostname: ip!, port: Number(portText) };
const amount = Number(amountText);

switch (mode) {
  case "half-close":
    print(await halfClose(amount));
    break;
  case "parallel":
    print(await parallel(amount));
    break;
  case "small":
    print(await small(amount));
    break;
  case "slow":
    print(await slow(amount));
    break;
  case "aborts":
    print(await aborts(amount));
    break;
  case "who":
    print({ who: await who() });
    break;
  case "outcome":
    print(await outcome());
    break;
  default:
    throw new Error(`unknown mode "${mode}"`);
}

function print(result: unknown): void {
  console.log(JSON.stringify(result));
}

async function halfClose(bytesCount: number): Promise<unknown> {
  const sent = new Uint8Array(bytesCount);
  for (let at = 0; at < bytesCount; at += 65_536) {
    crypto.getRandomValues(sent.subarray(at, Math.min(at + 65_536, bytesCount)));
  }
  const connection = await Deno.connect(target);
  const reading = readAll(connection);
  for (let at = 0; at < sent.length;) at += await connection.write(sent.subarray(at));
  await connection.closeWrite();
  const received = await reading;
  connection.close();
  return {
    sent: sent.length,
    received: received.length,
    same: (await digest(sent)) === (await digest(received)),
  };
}

async function parallel(count: number): Promise<unknown> {
  const connections = await Promise.all(
    Array.from({ length: count }, () => Deno.connect(target)),
  );
  // All are open before the first byte moves.
  const answers = await Promise.all(connections.map(async (connection, index) => {
    const text = `connection ${index}: ${"x".repeat(index % 500)}`;
    await connection.write(new TextEncoder().encode(text));
    await connection.closeWrite();
    const answer = new TextDecoder().decode(await readAll(connection));
    connection.close();
    return answer === text;
  }));
  return { opened: count, right: answers.filter((right) => right).length };
}

async function small(count: number): Promise<unknown> {
  const connection = await Deno.connect(target);
  connection.setNoDelay(true);
  const reading = readAll(connection);
  const sent = crypto.getRandomValues(new Uint8Array(count * 20));
  for (let at = 0; at < sent.length;) {
    at += await connection.write(sent.subarray(at, at + 1 + at % 40));
  }
  await connection.closeWrite();
  const received = await reading;
  connection.close();
  return { sent: sent.length, same: (await digest(sent)) === (await digest(received)) };
}

async function slow(seconds: number): Promise<unknown> {
  const connection = await Deno.connect(target);
  const chunk = new Uint8Array(100);
  let wrong = 0;
  for (let round = 0; round < seconds * 10; round++) {
    await connection.write(chunk.fill(round));
    const back = new Uint8Array(chunk.length);
    for (let at = 0; at < back.length;) {
      const count = await connection.read(back.subarray(at));
      if (count === null) throw new Error(`ended in round ${round}`);
      at += count;
    }
    if (!back.every((byte) => byte === (round & 0xff))) wrong++;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await connection.closeWrite();
  const rest = (await readAll(connection)).length;
  connection.close();
  return { rounds: seconds * 10, wrong, rest };
}

async function aborts(count: number): Promise<unknown> {
  for (let done = 0; done < count; done++) {
    const connection = await Deno.connect(target);
    const writing = connection.write(new Uint8Array(1 << 20)).catch(() => 0);
    await connection.read(new Uint8Array(100));
    // With bytes unread a close is a reset.
    connection.close();
    await writing;
  }
  return { aborted: count };
}

async function who(): Promise<string> {
  const connection = await Deno.connect(target);
  await connection.write(new TextEncoder().encode("?"));
  const answer = new TextDecoder().decode(await readAll(connection));
  connection.close();
  return answer;
}

async function outcome(): Promise<unknown> {
  const startMs = performance.now();
  const done = (ended: string) => ({ ended, ms: Math.round(performance.now() - startMs) });
  try {
    const connection = await Deno.connect(target);
    await connection.write(new TextEncoder().encode("hello"));
    const count = await connection.read(new Uint8Array(100));
    connection.close();
    return done(count === null ? "eof" : "data");
  } catch (error) {
    const name = error instanceof Error ? error.name : String(error);
    return done(name === "ConnectionReset" ? "reset" : name);
  }
}

async function readAll(connection: Deno.TcpConn): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  const buffer = new Uint8Array(64 * 1024);
  for (let count = await connection.read(buffer); count !== null;) {
    chunks.push(buffer.slice(0, count));
    length += count;
    count = await connection.read(buffer);
  }
  const all = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}

async function digest(bytes: Uint8Array): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as BufferSource)).toHex();
}
