/**
 * IP addresses and CIDR ranges in one canonical form, so that equality is `===` and a Map key is the address.
 * @module
 */

declare const ipBrand: unique symbol;

/**
 * A canonical IP address: dotted IPv4, or IPv6 as RFC 5952 writes it. A v4-mapped IPv6 address is
 * always its IPv4 form (behaviour.md 2.2), so a dual-stack socket and a YAML file mean the same key.
 */
export type Ip = string & { readonly [ipBrand]: true };

/** An address range; host bits of `base` may be set, as policies write them (behaviour.md 5.4). */
export interface Cidr {
  readonly base: Ip;
  readonly prefixLength: number;
}

const MAPPED = "::ffff:";
const DOT = 46;
const ZERO = 48;

export const Ip: {
  parse(text: string): Ip | undefined;
  fromBytes(bytes: Uint8Array): Ip | undefined;
  toBytes(ip: Ip): Uint8Array<ArrayBuffer>;
  family(ip: Ip): 4 | 6;
  isLoopback(ip: Ip): boolean;
  unspecified(family: 4 | 6): Ip;
  loopback(family: 4 | 6): Ip;
} = {
  /** The canonical address that `text` names, or undefined. Zone ids (`%eth0`) are refused. */
  parse(text: string): Ip | undefined {
    // As the kernel's dual-stack sockets write every IPv4 peer.
    const short = text.startsWith(MAPPED) ? text.slice(MAPPED.length) : text;
    if (isCanonicalV4(short)) return short as Ip;
    const bytes = text.includes(":") ? bytesOfV6(text) : undefined;
    return bytes && Ip.fromBytes(bytes);
  },
  /** From 4 or 16 network-order bytes; undefined for any other length. */
  fromBytes(bytes: Uint8Array): Ip | undefined {
    if (bytes.length === 4) return bytes.join(".") as Ip;
    if (bytes.length !== 16) return undefined;
    if (isMapped(bytes)) return bytes.subarray(12).join(".") as Ip;
    return textOfV6(bytes) as Ip;
  },
  /** 4 or 16 network-order bytes. */
  toBytes(ip: Ip): Uint8Array<ArrayBuffer> {
    return (ip.includes(":") ? bytesOfV6(ip) : bytesOfV4(ip))!;
  },
  family: (ip: Ip): 4 | 6 => ip.includes(":") ? 6 : 4,
  isLoopback: (ip: Ip): boolean => ip === "::1" || ip.startsWith("127."),
  unspecified: (family: 4 | 6): Ip => (family === 4 ? "0.0.0.0" : "::") as Ip,
  loopback: (family: 4 | 6): Ip => (family === 4 ? "127.0.0.1" : "::1") as Ip,
};

export const Cidr: {
  parse(text: string): Cidr | undefined;
  of(base: Ip, prefixLength: number): Cidr | undefined;
  contains(cidr: Cidr, ip: Ip): boolean;
  format(cidr: Cidr): string;
} = {
  /** `address/length`; the length is required. */
  parse(text: string): Cidr | undefined {
    const slash = text.indexOf("/");
    const base = slash < 0 ? undefined : Ip.parse(text.slice(0, slash));
    const length = text.slice(slash + 1);
    if (base === undefined || !/^\d{1,3}$/.test(length)) return undefined;
    return Cidr.of(base, Number(length));
  },
  of(base: Ip, prefixLength: number): Cidr | undefined {
    const bitsMax = Ip.family(base) === 4 ? 32 : 128;
    if (!Number.isInteger(prefixLength) || prefixLength < 0 || prefixLength > bitsMax) {
      return undefined;
    }
    return { base, prefixLength };
  },
  /** Families must agree: an IPv4 address is in no IPv6 range. */
  contains(cidr: Cidr, ip: Ip): boolean {
    if (Ip.family(cidr.base) !== Ip.family(ip)) return false;
    const [a, b] = [Ip.toBytes(cidr.base), Ip.toBytes(ip)];
    const whole = cidr.prefixLength >> 3;
    for (let i = 0; i < whole; i++) if (a[i] !== b[i]) return false;
    const rest = cidr.prefixLength & 7;
    if (rest === 0) return true;
    const mask = (0xff << (8 - rest)) & 0xff;
    return (a[whole]! & mask) === (b[whole]! & mask);
  },
  format: (cidr: Cidr): string => `${cidr.base}/${cidr.prefixLength}`,
};

/** Four numbers below 256 without leading zeros: "010" is eight to some libraries and ten to others. */
function isCanonicalV4(text: string): boolean {
  let parts = 0;
  let value = -1;
  for (let at = 0; at <= text.length; at++) {
    const code = at < text.length ? text.charCodeAt(at) : DOT;
    if (code === DOT) {
      if (value < 0 || ++parts > 4) return false;
      value = -1;
    } else if (code >= ZERO && code <= ZERO + 9 && value !== 0) {
      value = (value < 0 ? 0 : value * 10) + code - ZERO;
      if (value > 255) return false;
    } else return false;
  }
  return parts === 4;
}

function bytesOfV4(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (!isCanonicalV4(text)) return undefined;
  const bytes = new Uint8Array(4);
  let index = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === DOT) index++;
    else bytes[index] = bytes[index]! * 10 + code - ZERO;
  }
  return bytes;
}

function bytesOfV6(text: string): Uint8Array<ArrayBuffer> | undefined {
  const lastColon = text.lastIndexOf(":");
  const tail = text.slice(lastColon + 1);
  let groupsText = text;
  if (tail.includes(".")) {
    const v4 = bytesOfV4(tail);
    if (v4 === undefined) return undefined;
    const word = (at: number) => ((v4[at]! << 8) | v4[at + 1]!).toString(16);
    groupsText = `${text.slice(0, lastColon + 1)}${word(0)}:${word(2)}`;
  }
  const halves = groupsText.split("::");
  if (halves.length > 2) return undefined;
  const [head, rear] = halves.map((half) => half === "" ? [] : half.split(":"));
  const given = head!.length + (rear?.length ?? 0);
  if (rear === undefined ? given !== 8 : given > 7) return undefined;
  const groups = rear === undefined
    ? head!
    : [...head!, ...Array<string>(8 - given).fill("0"), ...rear];
  const bytes = new Uint8Array(16);
  for (const [index, group] of groups.entries()) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
    const value = parseInt(group, 16);
    bytes[2 * index] = value >> 8;
    bytes[2 * index + 1] = value & 0xff;
  }
  return bytes;
}

function isMapped(bytes: Uint8Array): boolean {
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return false;
  return bytes[10] === 0xff && bytes[11] === 0xff;
}

/** RFC 5952 section 4: lower case, no leading zeros, the first longest run of two or more zero groups as `::`. */
function textOfV6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! << 8) | bytes[2 * i + 1]!);
  let best = { start: -1, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  const hex = groups.map((group) => group.toString(16));
  if (best.start < 0) return hex.join(":");
  return `${hex.slice(0, best.start).join(":")}::${hex.slice(best.start + best.length).join(":")}`;
}
