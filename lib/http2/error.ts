/**
 * - `handshake`: the preface or SETTINGS failed, or the peer speaks something else.
 * - `goaway`, `closed`: the connection does not take this request.
 * - `stream`: the peer reset this request.
 */
export class Http2Error extends Error {
  override readonly name = "Http2Error";
  constructor(readonly kind: "handshake" | "goaway" | "closed" | "stream", message: string) {
    super(message);
  }
}
