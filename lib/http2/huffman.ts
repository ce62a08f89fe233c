/**
 * The length in bits of each byte's Huffman code, one base-36 digit a byte, the last one for EOS (RFC 7541,
 * appendix B). The code is canonical: by length, then by byte, each code follows from the one before it.
 */
const LENGTHS = "dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6ca" +
  "d67777777777777777777777878djde6f56565666577666567655677777fbeds" +
  "kmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnnkmmmnmmn" +
  "qqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrq" +
  "u";

const EOS = 256;
/** Padding is up to seven of the most significant bits of EOS, which are ones (RFC 7541, 5.2). */
const PADDING_BITS_MAX = 7;

const CODES = new Uint32Array(EOS + 1);
const BITS = new Uint8Array(EOS + 1);

/** A step's number holds the next state in its low byte, above it the byte that it completes, and two flags. */
const EMITS = 1 << 16;
const FAILS = 1 << 17;
/**
 * The decoder's steps, by state and by four bits of input: 16 KiB stay in the first-level cache, where a table by
 * byte would be 256 KiB. No code is shorter than five bits, so a step completes one byte at most.
 */
const STEPS = new Uint32Array(256 * 16);
/** Whether a string may end in this state. */
const MAY_END = new Uint8Array(256);

assignCodes();
buildSteps(buildTree());

function assignCodes(): void {
  const symbols = Array.from({ length: EOS + 1 }, (_, symbol) => symbol);
  for (const symbol of symbols) BITS[symbol] = parseInt(LENGTHS[symbol]!, 36);
  symbols.sort((a, b) => BITS[a]! - BITS[b]! || a - b);
  let code = 0;
  let bits = 0;
  for (const symbol of symbols) {
    code <<= BITS[symbol]! - bits;
    bits = BITS[symbol]!;
    CODES[symbol] = code++;
  }
}

/** The two children of each of the 256 inner nodes, the root first: a node, or the complement of a symbol. */
function buildTree(): Int16Array {
  const children = new Int16Array(256 * 2);
  let nodesCount = 1;
  for (let symbol = 0; symbol <= EOS; symbol++) {
    let node = 0;
    for (let bit = BITS[symbol]! - 1; bit > 0; bit--) {
      const slot = node * 2 + (CODES[symbol]! >>> bit & 1);
      if (children[slot] === 0) children[slot] = nodesCount++;
      node = children[slot]!;
    }
    children[node * 2 + (CODES[symbol]! & 1)] = ~symbol;
  }
  return children;
}

function buildSteps(children: Int16Array): void {
  for (let state = 0; state < 256; state++) {
    for (let input = 0; input < 16; input++) {
      let node = state;
      let step = 0;
      for (let bit = 3; bit >= 0; bit--) {
        const child = children[node * 2 + (input >>> bit & 1)]!;
        node = Math.max(child, 0);
        if (child === ~EOS) step |= FAILS;
        else if (child < 0) step |= EMITS | ~child << 8;
      }
      STEPS[state << 4 | input] = step | node;
    }
  }
  for (let node = 0, bits = 0; bits <= PADDING_BITS_MAX; bits++) {
    MAY_END[node] = 1;
    node = children[node * 2 + 1]!;
  }
}

/** The most bytes that decoding so many can give, and the room that `decodeHuffman` needs. */
export function decodedBytesMax(encodedBytes: number): number {
  return encodedBytes * 2;
}

/**
 * Decodes `block` between two offsets into `out` and returns the number of bytes written, or -1 if EOS is in the
 * string, or its padding is too long or not of ones (RFC 7541, 5.2).
 */
export function decodeHuffman(
  block: Uint8Array,
  from: number,
  to: number,
  out: Uint8Array,
): number {
  let state = 0;
  let flags = 0;
  let written = 0;
  for (let at = from; at < to; at++) {
    const byte = block[at]!;
    const high = STEPS[state << 4 | byte >>> 4]!;
    // Written in any case and kept if the step emits: cheaper than a branch that nobody can predict.
    out[written] = high >>> 8;
    written += high >>> 16 & 1;
    const low = STEPS[(high & 0xff) << 4 | byte & 0xf]!;
    out[written] = low >>> 8;
    written += low >>> 16 & 1;
    state = low & 0xff;
    flags |= high | low;
  }
  return (flags & FAILS) !== 0 || MAY_END[state] === 0 ? -1 : written;
}

/** The bytes that a text takes when encoded; NaN if one of its characters is above 255. */
export function huffmanBytes(text: string): number {
  let bits = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    bits += char < EOS ? BITS[char]! : NaN;
  }
  return Math.ceil(bits / 8);
}

/** Writes a text whose characters are at most 255, and returns the offset behind it. */
export function encodeHuffman(text: string, out: Uint8Array, from: number): number {
  let at = from;
  let held = 0;
  let heldBits = 0;
  for (let index = 0; index < text.length; index++) {
    const char = text.charCodeAt(index);
    let code = CODES[char]!;
    let bits = BITS[char]!;
    if (bits > 24) {
      // Seven held bits and these would not fit into 32: the upper ones go first.
      bits -= 16;
      held = held << bits | code >>> 16;
      heldBits += bits;
      code &= 0xffff;
      bits = 16;
      while (heldBits >= 8) out[at++] = held >>> (heldBits -= 8);
    }
    held = held << bits | code;
    heldBits += bits;
    while (heldBits >= 8) out[at++] = held >>> (heldBits -= 8);
  }
  if (heldBits > 0) out[at++] = held << (8 - heldBits) | 0xff >>> heldBits;
  return at;
}
