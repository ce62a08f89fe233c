import type { Clock } from "#system";
import type { Tls, TlsOptions } from "./types.ts";
export function createTls(_clock: Clock, _options: TlsOptions): Tls {
  throw new Error("not written");
}
