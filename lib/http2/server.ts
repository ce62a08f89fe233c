import type { ByteStream } from "#stream";
import type { Clock } from "#system";
import type { Http2Settings, IncomingConnect, ServerConnection } from "./types.ts";
/** Serves `stream` and owns it from here on. `onRequest` must not throw. */
export function serve(
  _stream: ByteStream,
  _settings: Http2Settings,
  _clock: Clock,
  _onRequest: (request: IncomingConnect) => void,
): ServerConnection {
  throw new Error("not written");
}
