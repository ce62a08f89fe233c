import type { Headers } from "#http2";

/** gRPC's status codes (github.com/grpc/grpc, doc/statuscodes.md), by number. */
const NAMES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

export const Code = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  deadlineExceeded: 4,
  permissionDenied: 7,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

/** A call's end other than success. `code` is gRPC's, 1 to 16. */
export class GrpcError extends Error {
  override readonly name = "GrpcError";
  constructor(readonly code: number, readonly details: string) {
    super(`grpc status ${NAMES[code] ?? code}: ${details}`);
  }
}

/** A server's text that is kept, in characters. */
const DETAILS_CHARS_MAX = 4_096;

/** What a head or trailers say of the end of a call; undefined where they say nothing. */
export function statusOf(headers: Headers): { readonly error: GrpcError | undefined } | undefined {
  const text = headers.get("grpc-status")?.[0];
  if (text === undefined) return undefined;
  const code = /^\d{1,2}$/.test(text) ? Number(text) : -1;
  if (code === Code.ok) return { error: undefined };
  const details = unescaped(headers.get("grpc-message")?.[0] ?? "").slice(0, DETAILS_CHARS_MAX);
  const isKnown = code > 0 && code < NAMES.length;
  return { error: new GrpcError(isKnown ? code : Code.unknown, details) };
}

/** `grpc-message` is UTF-8 with percent signs; what is no escape stays as it is. */
function unescaped(text: string): string {
  if (!text.includes("%")) return text;
  const bytes: number[] = [];
  for (let at = 0; at < text.length; at++) {
    const escaped = /^%([0-9A-Fa-f]{2})/.exec(text.slice(at, at + 3))?.[1];
    bytes.push(escaped === undefined ? text.charCodeAt(at) & 0xff : parseInt(escaped, 16));
    if (escaped !== undefined) at += 2;
  }
  return new TextDecoder().decode(Uint8Array.from(bytes));
}

/** An answer that is not gRPC's (doc/http-grpc-status-mapping.md). */
export function errorOfHttp(status: number, contentType: string): GrpcError {
  const details = status === 200
    ? `the server's answer is ${contentType || "of no type"}, no gRPC`
    : `the server answered with HTTP status ${status}`;
  return new GrpcError(CODE_OF_HTTP[status] ?? Code.unknown, details);
}

const CODE_OF_HTTP: Readonly<Record<number, number>> = {
  400: Code.internal,
  401: Code.unauthenticated,
  403: Code.permissionDenied,
  404: Code.unimplemented,
  429: Code.unavailable,
  502: Code.unavailable,
  503: Code.unavailable,
  504: Code.unavailable,
};

/** What the server's RST_STREAM means (doc/PROTOCOL-HTTP2.md, "Errors"). */
export function errorOfReset(resetCode: number, details: string): GrpcError {
  return new GrpcError(CODE_OF_RESET[resetCode] ?? Code.internal, details);
}

const CODE_OF_RESET: Readonly<Record<number, number>> = {
  // REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY; all others are INTERNAL.
  0x7: Code.unavailable,
  0x8: Code.cancelled,
  0xb: Code.resourceExhausted,
  0xc: Code.permissionDenied,
};
