/** Compression of answers (behaviour.md 14.6). */
import { Buffer } from "node:buffer";
import { Readable, type Transform } from "node:stream";
import { constants, createBrotliCompress, createGzip, createZstdCompress } from "node:zlib";
import { ADMIN_LIMITS } from "./limits.ts";

export type Encoding = "zstd" | "br" | "gzip";

/** Among equals the first. Levels are the fast ones: a scrape is on its way through one node, not stored. */
const ENCODERS: Readonly<Record<Encoding, () => Transform>> = {
  zstd: () => createZstdCompress(),
  br: () => createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 3 } }),
  gzip: () => createGzip({ level: 3 }),
};

/** What the client likes best of what we have; undefined is "as it is". */
export function chooseEncoding(acceptEncoding: string | undefined): Encoding | undefined {
  let best: { readonly encoding: Encoding; readonly quality: number } | undefined;
  const wanted = new Map<string, number>();
  for (const entry of (acceptEncoding ?? "").split(",")) {
    const [name, ...parameters] = entry.split(";").map((part) => part.trim().toLowerCase());
    const quality = parameters.find((each) => each.startsWith("q="))?.slice(2) ?? "1";
    if (name !== undefined && name !== "") wanted.set(name, Number(quality));
  }
  for (const encoding of Object.keys(ENCODERS) as Encoding[]) {
    const quality = wanted.get(encoding) ?? 0;
    if (quality > (best?.quality ?? 0)) best = { encoding, quality };
  }
  return best?.encoding;
}

export interface Encoded {
  /** Absent: the body was too short to gain anything. */
  readonly encoding?: Encoding;
  readonly body: AsyncIterable<string | Uint8Array>;
}

/** Looks at the first bytes before it decides. */
export async function encode(
  pieces: AsyncIterator<string, void, void>,
  encoding: Encoding | undefined,
): Promise<Encoded> {
  if (encoding === undefined) return { body: joined("", pieces) };
  let head = "";
  while (Buffer.byteLength(head) < ADMIN_LIMITS.compressBytesMin) {
    const next = await pieces.next();
    if (next.done) return { body: joined(head, pieces) };
    head += next.value;
  }
  return { encoding, body: compressed(joined(head, pieces), ENCODERS[encoding]()) };
}

async function* joined(
  head: string,
  rest: AsyncIterator<string, void, void>,
): AsyncGenerator<string> {
  try {
    if (head !== "") yield head;
    for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
  } finally {
    await rest.return?.();
  }
}

async function* compressed(
  pieces: AsyncIterable<string>,
  transform: Transform,
): AsyncGenerator<Uint8Array> {
  const source = Readable.from(pieces);
  source.on("error", (error: Error) => transform.destroy(error));
  source.pipe(transform);
  try {
    for await (const chunk of transform) yield chunk as Uint8Array;
  } finally {
    source.destroy();
    transform.destroy();
  }
}
