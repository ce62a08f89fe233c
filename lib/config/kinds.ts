/**
 * How the text of one setting becomes a value. Each kind is total: any text is a value or a reason.
 * @module
 */
import { Ip, SocketAddress } from "#values";
import type { ConfigAddress, RootSource, WorkloadNames } from "./config.ts";
import { parseDuration } from "./duration.ts";

export type Parsed<T> = { readonly value: T } | { readonly rejected: string };

export interface Kind<T> {
  /** What `help` calls it. */
  readonly label: string;
  parse(text: string): Parsed<T>;
}

const U16_MAX = 0xffff;
const U32_MAX = 0xffff_ffff;
/** More threads than any node has cores; a typing error must not exhaust the machine. */
export const WORKER_THREADS_MAX = 1024;

export const TEXT: Kind<string> = { label: "text", parse: (text) => ({ value: text }) };

/** For settings whose empty text means nothing: set to "" is the same as not set. */
export const TEXT_OR_UNSET: Kind<string | undefined> = {
  label: "text",
  parse: (text) => ({ value: text === "" ? undefined : text }),
};

export const NONEMPTY_TEXT: Kind<string> = {
  label: "path",
  parse: (text) => text === "" ? { rejected: "is set, but empty" } : { value: text },
};

export const BOOL: Kind<boolean> = {
  label: "true|false",
  parse(text) {
    if (text === "true") return { value: true };
    if (text === "false") return { value: false };
    return { rejected: "must be exactly true or false" };
  },
};

/** As ztunnel: `true` turns it on, any other text leaves it off. */
export const TRUE_OR_OFF: Kind<boolean> = {
  label: "true",
  parse: (text) => ({ value: text === "true" }),
};

export const PRESENCE: Kind<boolean> = { label: "presence", parse: () => ({ value: true }) };

export function integer(min: number, max: number, label = `${min}..${max}`): Kind<number> {
  return {
    label,
    parse(text) {
      const value = Number(text);
      if (!/^\+?\d+$/.test(text) || value < min || value > max) {
        return { rejected: `must be a whole number from ${min} to ${max}` };
      }
      return { value };
    },
  };
}
export const U16: Kind<number> = integer(0, U16_MAX, "u16");
export const U32: Kind<number> = integer(0, U32_MAX, "u32");
export const U64: Kind<number> = integer(0, Number.MAX_SAFE_INTEGER, "u64");

export function oneOf<const T extends string>(...words: readonly T[]): Kind<T> {
  return {
    label: words.join("|"),
    parse(text) {
      const value = words.find((word) => word === text);
      return value === undefined ? { rejected: `must be ${words.join(" or ")}` } : { value };
    },
  };
}

/** Milliseconds, possibly with a fraction. */
export const DURATION: Kind<number> = { label: "duration", parse: parseDuration };

/** Whole seconds count, so that less than one second would mean none. */
export const DURATION_OF_SECONDS: Kind<number> = {
  label: "duration",
  parse(text) {
    const parsed = parseDuration(text);
    if ("rejected" in parsed) return parsed;
    const value = Math.floor(parsed.value / 1000) * 1000;
    return value === 0 ? { rejected: "must be at least one second" } : { value };
  },
};

/** A Kubernetes CPU quantity (`2`, `1.5`, `500m`) in whole CPUs, rounded up. */
export const CPU_QUANTITY: Kind<number> = {
  label: "quantity",
  parse(text) {
    const match = /^\+?(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)(m?)$/.exec(text);
    const number = match === null ? NaN : Number(match[1]) / (match[2] === "m" ? 1000 : 1);
    if (!Number.isFinite(number) || number <= 0) {
      return { rejected: "must be a CPU quantity above zero, such as 2, 1.5 or 500m" };
    }
    return { value: Math.ceil(number) };
  },
};

export type Threads =
  | { readonly kind: "count"; readonly count: number }
  | { readonly kind: "percent"; readonly percent: number };

/** `4`, `0` for all CPUs, or `50%` of them. */
export const THREADS: Kind<Threads> = {
  label: "count|percent",
  parse(text) {
    const percentage = /^(\d+(?:\.\d+)?|\.\d+)%$/.exec(text);
    if (percentage !== null) {
      const percent = Number(percentage[1]);
      if (percent > 0 && percent <= 100) return { value: { kind: "percent", percent } };
      return { rejected: "must be a percentage above 0 and up to 100" };
    }
    const count = integer(0, WORKER_THREADS_MAX).parse(text);
    if ("value" in count) return { value: { kind: "count", count: count.value } };
    return { rejected: `must be 0 to ${WORKER_THREADS_MAX} threads, or a percentage such as 50%` };
  },
};

export const IP: Kind<Ip> = {
  label: "IP address",
  parse(text) {
    const value = Ip.parse(text);
    return value === undefined ? { rejected: "must be an IPv4 or IPv6 address" } : { value };
  },
};

/** `https://host:port`; without a scheme https is meant, and the empty text means off. */
export const CONTROL_PLANE: Kind<string | undefined> = {
  label: "URI",
  parse(text) {
    if (text === "") return { value: undefined };
    const uri = text.includes("://") ? text : `https://${text}`;
    const scheme = uri.slice(0, uri.indexOf("://"));
    if (scheme.toLowerCase() !== "https") {
      return {
        rejected: `the scheme "${scheme}" is refused: the control plane is reached by https only`,
      };
    }
    const authority = uri.slice("https://".length).replace(/\/$/, "");
    if (!/^[^\s/?#@\\]+$/.test(authority) || !URL.canParse(`https://${authority}`)) {
      return { rejected: "must be host:port or https://host:port and nothing more" };
    }
    if (/:0*$/.test(authority.replace(/^\[.*\]/, ""))) {
      return { rejected: "has no usable port" };
    }
    return { value: `https://${authority}` };
  },
};

/** As 18.28 recommends: what is neither `SYSTEM` nor PEM is a path, even if no file is there yet. */
export const ROOT: Kind<RootSource> = {
  label: "path|SYSTEM|PEM",
  parse(text) {
    if (text === "SYSTEM") return { value: { kind: "system" } };
    if (text.includes("-----BEGIN CERTIFICATE-----")) {
      return { value: { kind: "inline", pem: text } };
    }
    if (text.includes("-----BEGIN ")) return { rejected: "is PEM text without any certificate" };
    if (text.trim() === "" || /[\n\0]/.test(text)) {
      return { rejected: "is neither a path, nor SYSTEM, nor PEM text" };
    }
    return { value: { kind: "file", path: text } };
  },
};

export const WORKLOAD: Kind<WorkloadNames> = {
  label: "namespace/name/serviceAccount",
  parse(text) {
    const match = /^([^/]+)\/([^/]+)\/(.+)$/.exec(text);
    if (match === null) return { rejected: "must be namespace/name/serviceAccount" };
    return { value: { namespace: match[1]!, name: match[2]!, serviceAccount: match[3]! } };
  },
};

export const DNS_ADDRESS: Kind<ConfigAddress> = {
  label: "localhost:PORT|IP:PORT",
  parse(text) {
    const rejected = "DNS_PROXY_ADDR must be localhost:PORT or IP:PORT";
    if (text.startsWith("localhost:")) {
      const port = U16.parse(text.slice("localhost:".length));
      return "value" in port ? { value: { kind: "localhost", port: port.value } } : { rejected };
    }
    const address = SocketAddress.parse(text);
    return address === undefined ? { rejected } : { value: { kind: "address", address } };
  },
};
