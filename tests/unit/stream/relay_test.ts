import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { type ByteStream, pipe, relay, StreamError, type StreamErrorKind } from "#stream";
import type { Failure } from "#values";

interface Scene {
  /** The client's end of the downstream connection. */
  readonly client: ByteStream;
  /** The application's end of the upstream connection. */
  readonly server: ByteStream;
  readonly result: Promise<Failure | undefined>;
  readonly counts: { received: number; sent: number };
  readonly revoke: (failure: unknown) => void;
}

function scene(replace: { downstream?: ByteStream; upstream?: ByteStream } = {}): Scene {
  const [client, downstream] = pipe();
  const [server, upstream] = pipe();
  const counts = { received: 0, sent: 0 };
  const revocation = new AbortController();
  const result = relay({
    downstream: replace.downstream ?? downstream,
    upstream: replace.upstream ?? upstream,
    meter: {
      received: (bytes) => void (counts.received += bytes),
      sent: (bytes) => void (counts.sent += bytes),
    },
    revoked: revocation.signal,
  });
  return { client, server, result, counts, revoke: (reason) => revocation.abort(reason) };
}

/** A stream of which every part fails as told; what is not told works like one that never says anything. */
function scripted(script: {
  readonly read?: StreamErrorKind | "end";
  readonly write?: StreamErrorKind;
  readonly closeWrite?: StreamErrorKind;
}): ByteStream & { aborts: number } {
  const gone = Promise.withResolvers<never>();
  const closed = gone.promise.catch(() => {});
  const fail = (kind: StreamErrorKind) => Promise.reject(new StreamError(kind, `scripted ${kind}`));
  return {
    aborts: 0,
    read() {
      if (script.read === "end") return Promise.resolve(null);
      return script.read === undefined ? gone.promise : fail(script.read);
    },
    write: () => script.write === undefined ? Promise.resolve() : fail(script.write),
    closeWrite: () => script.closeWrite === undefined ? Promise.resolve() : fail(script.closeWrite),
    abort() {
      this.aborts++;
      gone.reject(new StreamError("aborted", "aborted"));
    },
    closed,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

const bytes = (text: string) => new TextEncoder().encode(text);

async function readText(stream: ByteStream): Promise<string> {
  let text = "";
  for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
    text += new TextDecoder().decode(chunk);
  }
  return text;
}

async function kindOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "no error";
  } catch (error) {
    assert(error instanceof StreamError);
    return error.kind;
  }
}

Deno.test("relay() carries both directions and counts what was taken", async () => {
  const { client, server, result, counts } = scene();
  const asking = client.write(bytes("question")).then(() => client.closeWrite());
  assertEquals(await readText(server), "question");
  const answering = server.write(bytes("a longer answer")).then(() => server.closeWrite());
  assertEquals(await readText(client), "a longer answer");
  await Promise.all([asking, answering]);
  assertEquals(await result, undefined);
  assertEquals(counts, { received: 8, sent: 15 });
});

Deno.test("relay() keeps the way back open after the client has finished", async () => {
  const { client, server, result } = scene();
  await client.closeWrite();
  assertEquals(await server.read(), null);
  for (let round = 0; round < 20; round++) {
    const [, chunk] = await Promise.all([server.write(bytes(`part ${round}`)), client.read()]);
    assertEquals(new TextDecoder().decode(chunk!), `part ${round}`);
  }
  await server.closeWrite();
  assertEquals(await client.read(), null);
  assertEquals(await result, undefined);
});

Deno.test("relay() keeps the way there open after the server has finished", async () => {
  const { client, server, result, counts } = scene();
  await server.closeWrite();
  assertEquals(await client.read(), null);
  const sending = client.write(bytes("still here")).then(() => client.closeWrite());
  assertEquals(await readText(server), "still here");
  await sending;
  assertEquals(await result, undefined);
  assertEquals(counts.received, 10);
});

Deno.test("relay() passes a reset on as a reset, and does not call it a failure", async () => {
  for (const who of ["client", "server"] as const) {
    const made = scene();
    const other = who === "client" ? made.server : made.client;
    const reading = kindOf(readText(other));
    made[who].abort();
    assertEquals(await reading, "reset", who);
    assertEquals(await made.result, undefined, who);
  }
});

Deno.test("relay() ends both streams when revoked, with the reason as result", async () => {
  const { client, server, result, revoke } = scene();
  const reading = [kindOf(client.read()), kindOf(server.read())];
  revoke({ kind: "policy_changed" } satisfies Failure);
  assertEquals(await result, { kind: "policy_changed" });
  assertEquals(await Promise.all(reading), ["reset", "reset"]);
});

Deno.test("relay() moves nothing when it was revoked before", async () => {
  const [client, downstream] = pipe();
  const [server, upstream] = pipe();
  const failure = await relay({
    downstream,
    upstream,
    meter: { received: () => {}, sent: () => {} },
    revoked: AbortSignal.abort({ kind: "drained" } satisfies Failure),
  });
  assertEquals(failure, { kind: "drained" });
  assertEquals(await kindOf(client.read()), "reset");
  assertEquals(await kindOf(server.read()), "reset");
});

Deno.test("relay() frees a blocked writer when revoked", async () => {
  const { client, result, revoke } = scene();
  const writing = kindOf((async () => {
    for (;;) await client.write(bytes("more"));
  })());
  revoke({ kind: "revoked" } satisfies Failure);
  assertEquals(await result, { kind: "revoked" });
  assertEquals(await writing, "reset");
});

Deno.test("relay() names the direction that failed", async () => {
  const cases: readonly [string, Scene, Failure | undefined][] = [
    ["downstream unreadable", scene({ downstream: scripted({ read: "io" }) }), {
      kind: "send",
      cause: "scripted io",
    }],
    ["upstream unreadable", scene({ upstream: scripted({ read: "io" }) }), {
      kind: "receive",
      cause: "scripted io",
    }],
    [
      "upstream cannot be finished",
      scene({ downstream: scripted({ read: "end" }), upstream: scripted({ closeWrite: "io" }) }),
      { kind: "send", cause: "scripted io" },
    ],
    [
      "upstream was gone when it was to be finished",
      scene({ downstream: scripted({ read: "end" }), upstream: scripted({ closeWrite: "reset" }) }),
      undefined,
    ],
    [
      "downstream aborted by its owner",
      scene({ downstream: scripted({ read: "aborted" }) }),
      undefined,
    ],
  ];
  for (const [name, made, expected] of cases) assertEquals(await made.result, expected, name);
});

Deno.test("relay() lets a server talk on that takes nothing any more", async () => {
  const [serverSide, upstreamPipe] = pipe();
  const deaf: ByteStream = Object.assign(Object.create(upstreamPipe) as ByteStream, {
    read: () => upstreamPipe.read(),
    write: () => Promise.reject(new StreamError("broken_pipe", "deaf")),
    closeWrite: () => upstreamPipe.closeWrite(),
    abort: () => upstreamPipe.abort(),
  });
  const { client, result, counts } = scene({ upstream: deaf });
  await client.write(bytes("into the void"));
  const talking = serverSide.write(bytes("last words")).then(() => serverSide.closeWrite());
  const chunk = await client.read();
  assertEquals(new TextDecoder().decode(chunk!), "last words");
  await talking;
  // The way back is over too, so nobody may wait for the deaf server any longer.
  assertEquals(await result, undefined);
  assertEquals(await kindOf(client.write(bytes("more"))), "reset");
  assertEquals(counts, { received: 0, sent: 10 });
});

Deno.test("relay() ends the source of a destination that was reset while it was written to", async () => {
  const upstream = scripted({ write: "reset" });
  const { client, result } = scene({ upstream });
  await client.write(bytes("x"));
  assertEquals(await result, undefined);
  assertEquals(await kindOf(client.read()), "reset");
});

Deno.test("relay() stops listening to the revocation when it is over", async () => {
  const { client, server, result, revoke } = scene();
  await Promise.all([client.closeWrite(), server.closeWrite(), client.read(), server.read()]);
  assertEquals(await result, undefined);
  revoke({ kind: "revoked" });
  assertEquals(await result, undefined);
});

Deno.test("relay() lets go of a silent server when the client resets after its FIN", async () => {
  const { client, server, result } = scene();
  await client.closeWrite();
  assertEquals(await server.read(), null);
  client.abort();
  assertEquals(await result, undefined);
  assertEquals(await kindOf(server.write(bytes("too late"))), "reset");
});

Deno.test("relay() delivers what is under way although the other direction's taker is gone", async () => {
  const upstream = scripted({ read: "end" });
  const last = bytes("last words");
  let reads = 0;
  // Gone in both directions, with one chunk that it left behind.
  const { client, result } = scene({
    upstream: {
      ...upstream,
      closed: Promise.resolve(),
      read: () => Promise.resolve(reads++ === 0 ? last : null),
    },
  });
  await Promise.resolve();
  assertEquals(await readText(client), "last words");
  assertEquals(await result, undefined);
});
