import type { HeaderField } from "./hpack.ts";
import type { Headers } from "./types.ts";

export interface RequestHead {
  readonly method: string;
  /** `:authority`, or `host` without it; empty if neither came. */
  readonly authority: string;
  /** Undefined with a plain CONNECT, as is `path`. */
  readonly scheme: string | undefined;
  readonly path: string | undefined;
  /** `:protocol`: an extended CONNECT (RFC 8441), which we do not offer. */
  readonly protocol: string | undefined;
  /** Without pseudo headers. */
  readonly headers: Headers;
  /** What `content-length` promised, if it came. */
  readonly contentLength: number | undefined;
}

export interface ResponseHead {
  readonly status: number;
  readonly headers: Headers;
  readonly contentLength: number | undefined;
}

/** `reason`: the message is malformed, a stream error PROTOCOL_ERROR (RFC 9113, 8.1.1). */
export type Checked<T> = { readonly head: T; readonly reason?: never } | {
  readonly reason: string;
  readonly head?: never;
};

export function validateRequest(_fields: readonly HeaderField[]): Checked<RequestHead> {
  throw new Error("not written");
}
export function validateResponse(_fields: readonly HeaderField[]): Checked<ResponseHead> {
  throw new Error("not written");
}
export function validateTrailers(_fields: readonly HeaderField[]): Checked<Headers> {
  throw new Error("not written");
}
