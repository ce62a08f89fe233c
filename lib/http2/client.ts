import type { ByteStream } from "#stream";
import type { Clock } from "#system";
import type { ClientConnection, Http2Settings } from "./types.ts";
/** Starts the client's side on `stream` and owns it from here on. Resolves when requests may be sent. */
export function connect(
  _stream: ByteStream,
  _settings: Http2Settings,
  _clock: Clock,
): Promise<ClientConnection> {
  throw new Error("not written");
}
