/** The protocol of doc/PROTOCOL-HTTP2.md of gRPC, against a server of which the test is every byte. */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { GrpcError, type GrpcStream } from "#grpc";
import { wholeOf } from "../../support/network.ts";
import { pause } from "../../support/waiting.ts";
import { GRPC, type Heads, PATH, type Serve, test, withServer } from "./raw_server.ts";

function framed(text: string, flag = 0): Buffer {
  const body = Buffer.from(text);
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(body.length, 1);
  return Buffer.concat([prefix, body]);
}

/** Answers, says all chunks, and ends with the trailers. */
function answering(chunks: readonly Buffer[], trailers: Record<string, string>): Serve {
  return (stream) => {
    stream.respond(GRPC, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    for (const chunk of chunks) stream.write(chunk);
    stream.end();
  };
}

/** All messages until the end, and the end. */
async function heard(stream: GrpcStream): Promise<{ texts: string[]; failure?: GrpcError }> {
  const texts: string[] = [];
  try {
    for (let message = await stream.next(); message; message = await stream.next()) {
      texts.push(new TextDecoder().decode(await wholeOf(message)));
    }
  } catch (error) {
    ok(error instanceof GrpcError);
    strictEqual(stream.failure, error);
  }
  const { failure } = stream;
  stream.cancel();
  return { texts, ...(failure !== undefined && { failure }) };
}

test("a call says what the protocol asks for, and metadata with it", async () => {
  let asked: Heads = {};
  const bodies: Buffer[] = [];
  const serve: Serve = (stream, heads) => {
    asked = heads;
    stream.on("data", (chunk: Buffer) => bodies.push(chunk));
    stream.on("end", () => answering([framed("hello")], { "grpc-status": "0" })(stream, heads));
  };
  await withServer(serve, async (channel) => {
    const answer = await channel.unary(PATH, Buffer.from("hi"), { timeoutMs: 30_000 });
    strictEqual(new TextDecoder().decode(answer), "hello");
  });
  deepStrictEqual(Buffer.concat(bodies), framed("hi"));
  const of = (name: string) => asked[name];
  deepStrictEqual([of(":method"), of(":scheme"), of(":path")], ["POST", "https", PATH]);
  match(String(of(":authority")), /^127\.54\.0\.2:\d+$/);
  deepStrictEqual([of("te"), of("content-type")], ["trailers", "application/grpc"]);
  deepStrictEqual([of("authorization"), of("clusterid")], ["Bearer t1", "c1"]);
  deepStrictEqual([of("x-mine"), of("y-bin")], ["yes", "w78="]);
});

test("messages are whole however they are cut, empty ones too, and the trailers end them", async () => {
  const large = "x".repeat(300_000);
  const bytes = Buffer.concat([framed("one"), framed(""), framed(large), framed("four")]);
  const cuts = [bytes.subarray(0, 3), bytes.subarray(3, 9), bytes.subarray(9)];
  await withServer(answering(cuts, { "grpc-status": "0" }), async (channel) => {
    const stream = channel.stream(PATH);
    deepStrictEqual(await heard(stream), { texts: ["one", "", large, "four"] });
    strictEqual(stream.isAnswered, true);
  });
});

test("a message that is left unread is passed over by the next one", async () => {
  const chunks = [framed("x".repeat(100_000)), framed("two")];
  await withServer(answering(chunks, { "grpc-status": "0" }), async (channel) => {
    const stream = channel.stream(PATH);
    strictEqual((await stream.next())?.bytesCount, 100_000);
    strictEqual(new TextDecoder().decode(await wholeOf((await stream.next())!)), "two");
  });
});

const ENDS: readonly {
  readonly name: string;
  readonly serve: Serve;
  readonly code: number;
  readonly details: RegExp;
  readonly isAnswered: boolean;
  readonly texts?: readonly string[];
}[] = [
  {
    name: "trailers with a status",
    serve: answering([framed("one")], {
      "grpc-status": "13",
      "grpc-message": "br%C3%B6ken%21 100%",
    }),
    code: 13,
    details: /^bröken! 100%$/,
    isAnswered: true,
    texts: ["one"],
  },
  {
    name: "trailers only",
    serve: (stream) =>
      stream.respond({ ...GRPC, "grpc-status": "16", "grpc-message": "no" }, { endStream: true }),
    code: 16,
    details: /^no$/,
    isAnswered: false,
  },
  {
    name: "a status that is none",
    serve: answering([], { "grpc-status": "99", "grpc-message": "odd" }),
    code: 2,
    details: /^odd$/,
    isAnswered: true,
  },
  {
    name: "no status at all",
    serve: answering([framed("one")], { other: "x" }),
    code: 2,
    details: /without a status/,
    isAnswered: true,
    texts: ["one"],
  },
  ...([[401, 16], [403, 7], [404, 12], [429, 14], [503, 14], [400, 13], [302, 2]] as const).map(
    ([status, code]) => ({
      name: `HTTP status ${status}`,
      serve: ((stream) => {
        stream.respond({ ":status": status, "content-type": "text/html" });
        stream.end("<html>");
      }) as Serve,
      code,
      details: new RegExp(`HTTP status ${status}`),
      isAnswered: false,
    }),
  ),
  {
    name: "another content type",
    serve: (stream) => {
      stream.respond({ ":status": 200, "content-type": "text/html" });
      stream.end("<html>");
    },
    code: 2,
    details: /text\/html, no gRPC/,
    isAnswered: false,
  },
  {
    name: "a compressed message",
    serve: answering([framed("one", 1)], { "grpc-status": "0" }),
    code: 13,
    details: /compressed/,
    isAnswered: true,
  },
  {
    name: "a message above 200 MiB",
    serve: answering([Buffer.of(0, 0x0c, 0x80, 0, 1)], { "grpc-status": "0" }),
    code: 8,
    details: /^the server's message has 209715201 bytes, at most 209715200$/,
    isAnswered: true,
  },
  {
    name: "an end inside a message",
    serve: answering([framed("one"), Buffer.of(0, 0, 0, 0, 9, 1, 2)], { "grpc-status": "0" }),
    code: 13,
    details: /inside a message/,
    isAnswered: true,
    texts: ["one"],
  },
  {
    name: "a status inside a message",
    serve: answering([Buffer.of(0, 0, 0, 0, 9, 1, 2)], {
      "grpc-status": "14",
      "grpc-message": "x",
    }),
    code: 14,
    details: /^x$/,
    isAnswered: true,
  },
  {
    name: "an end inside a prefix",
    serve: answering([Buffer.of(0, 0, 0)], { "grpc-status": "0" }),
    code: 13,
    details: /inside a message/,
    isAnswered: true,
  },
  ...([[0x8, 1], [0x7, 14], [0xb, 8], [0xc, 7], [0x2, 13]] as const).map(([reset, code]) => ({
    name: `RST_STREAM ${reset} before an answer`,
    serve: ((stream) => stream.close(reset)) as Serve,
    code,
    details: /the peer reset the request/,
    isAnswered: false,
  })),
];
for (const { name, serve, code, details, isAnswered, texts = [] } of ENDS) {
  test(`a call that ends with ${name} has code ${code}`, () =>
    withServer(serve, async (channel) => {
      const stream = channel.stream(PATH);
      const { failure, ...rest } = await heard(stream);
      deepStrictEqual([failure?.code, rest.texts], [code, [...texts]], String(failure));
      match(failure!.details, details);
      strictEqual(stream.isAnswered, isAnswered);
    }));
}

test("a call whose connection is lost is UNAVAILABLE, inside a message too", async () => {
  for (const rest of [Buffer.alloc(0), Buffer.of(0, 0, 0, 0, 9, 1)]) {
    const serve: Serve = (stream) => {
      stream.respond(GRPC);
      stream.write(Buffer.concat([framed("one"), rest]));
    };
    await withServer(serve, async (channel, _sessions, sockets) => {
      const stream = channel.stream(PATH);
      strictEqual((await stream.next())?.bytesCount, 3);
      for (const socket of sockets) socket.destroy();
      const { failure } = await heard(stream);
      strictEqual(failure?.code, 14, String(failure));
      match(failure.details, /^connection dropped: /);
    });
  }
});

test("after GOAWAY a running call goes on, and a new one is refused", async () => {
  let say = () => {};
  const serve: Serve = (stream) => {
    stream.respond(GRPC);
    stream.write(framed("one"));
    say = () => void stream.write(framed("two"));
  };
  await withServer(serve, async (channel, sessions) => {
    const stream = channel.stream(PATH);
    await wholeOf((await stream.next())!);
    for (const session of sessions) session.close();
    // It has to be heard: some turns, however long each of them takes.
    for (let turns = 0; turns < 20; turns++) await pause(5);
    const { failure } = await heard(channel.stream(PATH));
    strictEqual(failure?.code, 14, String(failure));
    match(failure.details, /GOAWAY/);
    say();
    strictEqual(new TextDecoder().decode(await wholeOf((await stream.next())!)), "two");
    stream.cancel();
  });
});

test("unary() gives up at its deadline, and says so", async () => {
  await withServer(() => {}, async (channel) => {
    const calling = channel.unary(PATH, new Uint8Array(), { timeoutMs: 100 });
    const error = await calling.catch((reason) => reason);
    deepStrictEqual([error.code, error.details], [4, "no answer in 100 ms"]);
  });
});

test("unary() refuses no message, two messages, and one that is too large", async () => {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE((4 << 20) + 1, 1);
  const table = [
    [[], 13, /not answer with one message/],
    [[framed("1"), framed("2")], 13, /not answer with one message/],
    [[prefix], 8, /at most 4194304/],
  ] as const;
  for (const [chunks, code, details] of table) {
    await withServer(answering(chunks, { "grpc-status": "0" }), async (channel) => {
      const calling = channel.unary(PATH, new Uint8Array(), { timeoutMs: 30_000 });
      const error = await calling.then(() => undefined, (reason) => reason);
      strictEqual(error?.code, code);
      match(error.details, details);
    });
  }
});

test("a message of 5 MB leaves whole, and calls share a connection", async () => {
  let bytesCount = 0;
  const serve: Serve = (stream, heads) => {
    stream.on("data", (chunk: Buffer) => bytesCount += chunk.length);
    stream.on("end", () => answering([framed("ok")], { "grpc-status": "0" })(stream, heads));
  };
  await withServer(serve, async (channel, sessions) => {
    const message = new Uint8Array(5_000_000);
    const calls = [1, 2, 3].map(() => channel.unary(PATH, message, { timeoutMs: 60_000 }));
    await Promise.all(calls);
    strictEqual(bytesCount, 3 * (message.length + 5));
    strictEqual(sessions.size, 1);
  });
});
