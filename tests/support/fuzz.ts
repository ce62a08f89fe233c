/**
 * Throws mutated bytes at a parser, reproducibly. A target has an outcome for every input or throws, which is a finding.
 *
 * There is no coverage to steer by, so outcomes do it: an input whose outcome is new joins the corpus. One second by
 * default; `ZTUNNEL_FUZZ_SECONDS` lengthens a run (`.ci/run` says 60), `SEED` repeats one.
 * @module
 */
import { Buffer } from "node:buffer";
import { type Rng, seededRng } from "#system";

export interface FuzzTarget {
  readonly name: string;
  /** What inputs are made from; keep here what once was a finding. */
  readonly corpus: readonly Uint8Array[];
  readonly inputBytesMax?: number;
  /** One input that takes longer, each time it is tried, is a finding. */
  readonly inputMsMax?: number;
  /**
   * Tries one input and names what came of it, in few different words (say, the kind of error); a throw is a finding.
   * `rng` follows from the seed, for targets that have more to choose than bytes.
   */
  try(input: Uint8Array, rng: Rng): string | Promise<string>;
}

export interface FuzzOptions {
  readonly seconds: number;
  readonly seed: number;
  /** Bytes, after a collection; the real heap's if absent, and if the runtime may be asked to collect. */
  readonly heapUsed?: () => number;
}

export interface FuzzReport {
  readonly seed: number;
  readonly inputs: number;
  /** How often each outcome came. */
  readonly outcomes: ReadonlyMap<string, number>;
}

const SECONDS = 1;
const INPUT_BYTES_MAX = 4_096;
/** Inputs that outcomes added; the oldest of them leaves. */
const LEARNED_MAX = 256;
/** An outcome that never repeats would steer nothing: so many different ones are a mistake in the target. */
const OUTCOMES_MAX = 1_000;
/** Far above what a busy machine adds to one input. */
const INPUT_MS_MAX = 500;
/** A thread that was kept waiting once is not so again and again at the same input. */
const SLOW_TRIES = 4;
/** A turn of the loop now and then, for targets that leave something to its end. */
const PAUSE_EVERY_MS = 20;
/** What a heap may gain in half a run: what was learned on the way is a MiB. */
const HEAP_GROWTH_BYTES_MAX = 8 << 20;
/** Tries for a smaller input that throws as well. */
const SHRINK_TRIES_MAX = 2_000;
const SHRINK_MS_MAX = 3_000;
/** Bytes at which encodings change their mind. */
const EDGES: readonly number[] = [0, 1, 0x0f, 0x1f, 0x20, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xfe, 0xff];

/** What the environment asks for: one second and a new seed by default. */
export function fuzzOptions(): FuzzOptions {
  const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  const seconds = Number(Deno.env.get("ZTUNNEL_FUZZ_SECONDS") ?? SECONDS);
  if (!Number.isSafeInteger(seed)) throw new Error("Cannot fuzz: SEED is no whole number");
  if (!(seconds > 0)) throw new Error("Cannot fuzz: ZTUNNEL_FUZZ_SECONDS is no positive number");
  return { seed, seconds };
}

/**
 * Runs a target for a while; a finding is thrown with the seed and the smallest input found to do the same. So is a heap
 * that grows from the second quarter of a run to its last, which is looked at with `--v8-flags=--expose-gc`.
 */
export async function run(
  target: FuzzTarget,
  options: FuzzOptions = fuzzOptions(),
): Promise<FuzzReport> {
  // Said first, so that it is known should the target never return.
  console.log(`fuzz ${target.name}: SEED=${options.seed} ZTUNNEL_FUZZ_SECONDS=${options.seconds}`);
  const rng = seededRng(options.seed);
  const learned: Uint8Array[] = [];
  const outcomes = new Map<string, number>();
  const endMs = performance.now() + options.seconds * 1_000;
  let inputs = 0;
  const heap = new HeapFloor(options);
  let pauseMs = performance.now() + PAUSE_EVERY_MS;
  for (const input of target.corpus) await tryOne(target, input, options.seed, outcomes, rng);
  while (performance.now() < endMs) {
    const input = mutated(target, learned, rng);
    const isNew = await tryOne(target, input, options.seed, outcomes, rng);
    if (isNew) learned.push(input);
    if (learned.length > LEARNED_MAX) learned.shift();
    inputs++;
    if (performance.now() < pauseMs) continue;
    // Whatever the target has left to the end of its turn.
    await new Promise((resolve) => setTimeout(resolve, 0));
    pauseMs = performance.now() + PAUSE_EVERY_MS;
    heap.look();
  }
  if (heap.grownBytes > HEAP_GROWTH_BYTES_MAX) {
    throw new Error(
      `${target.name}, SEED=${options.seed}: the heap grew by ${heap.grownBytes} bytes`,
    );
  }
  console.log(`fuzz ${target.name}: ${inputs} inputs, ${outcomes.size} outcomes`);
  return { seed: options.seed, inputs, outcomes };
}

/** What the heap holds after a collection, in the second quarter of a run and in its last. */
class HeapFloor {
  readonly #startMs = performance.now();
  readonly #floors: (number | undefined)[] = [];

  constructor(private readonly options: FuzzOptions) {}

  /** Looks when a quarter has begun, and when it is over. */
  look(): void {
    const { seconds, heapUsed = collectedHeap() } = this.options;
    if (heapUsed === undefined) return;
    const at = Math.floor((performance.now() - this.#startMs) / 125 / seconds);
    if ([2, 3, 6, 7].includes(at)) this.#floors[at] ??= heapUsed();
  }

  get grownBytes(): number {
    const least = (...at: number[]) => Math.min(...at.map((each) => this.#floors[each] ?? NaN));
    const grown = least(6, 7) - least(2, 3);
    return Number.isNaN(grown) ? 0 : grown;
  }
}

/** Undefined without `--v8-flags=--expose-gc`: what was not collected says nothing. */
function collectedHeap(): (() => number) | undefined {
  const { gc } = globalThis as { readonly gc?: () => void };
  if (gc === undefined) return undefined;
  return () => {
    gc();
    return Deno.memoryUsage().heapUsed;
  };
}

async function tryOne(
  target: FuzzTarget,
  input: Uint8Array,
  seed: number,
  outcomes: Map<string, number>,
  rng: Rng,
): Promise<boolean> {
  const outcome = await outcomeOf(target, input, rng.below(2 ** 31));
  if (outcome instanceof Finding) {
    const hex = Buffer.from(await shrunk(target, input, outcome.rngSeed)).toString("hex");
    throw new Error(`${target.name}, SEED=${seed}, input ${hex}: ${outcome.message}`, {
      cause: outcome.cause,
    });
  }
  const count = outcomes.get(outcome) ?? 0;
  outcomes.set(outcome, count + 1);
  if (outcomes.size > OUTCOMES_MAX) {
    throw new Error(`${target.name} has too many outcomes, such as ${outcome}`);
  }
  return count === 0;
}

class Finding extends Error {
  constructor(message: string, readonly rngSeed: number, cause?: unknown) {
    super(message, { cause });
  }
}

async function outcomeOf(
  target: FuzzTarget,
  input: Uint8Array,
  rngSeed: number,
): Promise<string | Finding> {
  const inputMsMax = target.inputMsMax ?? INPUT_MS_MAX;
  try {
    for (let attempt = 0; attempt < SLOW_TRIES; attempt++) {
      const startMs = performance.now();
      const outcome = await target.try(input, seededRng(rngSeed));
      if (performance.now() - startMs < inputMsMax) return outcome;
    }
    return new Finding(`took over ${inputMsMax} ms, each of ${SLOW_TRIES} times`, rngSeed);
  } catch (error) {
    return new Finding(String(error), rngSeed, error);
  }
}

/** Cuts pieces out, large ones first, for as long as what is left is a finding too. */
async function shrunk(
  target: FuzzTarget,
  input: Uint8Array,
  rngSeed: number,
): Promise<Uint8Array> {
  const endMs = performance.now() + SHRINK_MS_MAX;
  let smallest = input;
  let tries = 0;
  for (let bytes = Math.max(1, input.length >>> 1); bytes >= 1; bytes >>>= 1) {
    for (let at = 0; at < smallest.length && tries < SHRINK_TRIES_MAX; tries++) {
      if (performance.now() > endMs) return smallest;
      const shorter = joined(smallest.subarray(0, at), smallest.subarray(at + bytes));
      if (await outcomeOf(target, shorter, rngSeed) instanceof Finding) smallest = shorter;
      else at += bytes;
    }
  }
  return smallest;
}

function mutated(target: FuzzTarget, learned: readonly Uint8Array[], rng: Rng): Uint8Array {
  const bytesMax = target.inputBytesMax ?? INPUT_BYTES_MAX;
  const parents = [...target.corpus, ...learned];
  if (parents.length === 0 || rng.below(16) === 0) return rng.bytes(rng.below(64));
  let input = Uint8Array.from(parents[rng.below(parents.length)]!);
  for (let count = rng.below(6); count >= 0; count--) {
    input = mutate(input, parents, rng).subarray(0, bytesMax);
  }
  return input;
}

type Bytes = Uint8Array<ArrayBuffer>;

/** One change: bits, bytes, or pieces taken out, put in, doubled or borrowed. */
function mutate(input: Bytes, parents: readonly Uint8Array[], rng: Rng): Bytes {
  const at = rng.below(input.length + 1);
  const to = at + rng.below(Math.min(input.length - at, 32) + 1);
  const [head, piece, tail] = [input.subarray(0, at), input.subarray(at, to), input.subarray(to)];
  switch (rng.below(8)) {
    case 0:
      if (at < input.length) input[at]! ^= 1 << rng.below(8);
      return input;
    case 1:
      if (at < input.length) input[at] = rng.below(256);
      return input;
    case 2:
      if (at < input.length) input[at] = EDGES[rng.below(EDGES.length)]!;
      return input;
    case 3:
      return joined(head, tail);
    case 4:
      return joined(head, rng.bytes(rng.below(8)), piece, tail);
    case 5:
      return joined(head, piece, piece, tail);
    case 6:
      return joined(head);
    default: {
      const other = parents[rng.below(parents.length)]!;
      return joined(head, other.subarray(rng.below(other.length + 1)));
    }
  }
}

function joined(...pieces: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(pieces.reduce((bytes, piece) => bytes + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
