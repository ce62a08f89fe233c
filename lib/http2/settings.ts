import { Code, Fault, FRAME_BYTES_MAX, FRAME_BYTES_MIN, Setting, uint32At } from "./frames.ts";
import { putUint32, WINDOW_BYTES_DEFAULT, WINDOW_BYTES_MAX } from "./frames.ts";
import type { Http2Settings } from "./types.ts";
import { STREAM_WINDOW_BYTES_FIRST } from "./window.ts";

/** What the peer told us, or what holds until it has (RFC 9113 section 6.5.2). */
export class PeerSettings {
  headerTableBytes = 4_096;
  streamsMax: number | undefined;
  initialWindowBytes = WINDOW_BYTES_DEFAULT;
  frameBytesMax = FRAME_BYTES_MIN;
  headerListBytesMax = Infinity;

  /** Takes a SETTINGS payload in. Throws a Fault. */
  apply(payload: Uint8Array, mayPush: boolean): void {
    for (let at = 0; at < payload.length; at += 6) {
      const id = (payload[at]! << 8) | payload[at + 1]!;
      this.#set(id, uint32At(payload, at + 2), mayPush);
    }
  }

  #set(id: number, value: number, mayPush: boolean): void {
    switch (id) {
      case Setting.headerTableSize:
        this.headerTableBytes = value;
        return;
      case Setting.enablePush:
        // A server that says 1 breaks the protocol (RFC 9113 section 6.5.2).
        if (value > (mayPush ? 1 : 0)) {
          throw new Fault(Code.protocolError, `SETTINGS_ENABLE_PUSH of ${value}`);
        }
        return;
      case Setting.maxConcurrentStreams:
        this.streamsMax = value;
        return;
      case Setting.initialWindowSize:
        if (value > WINDOW_BYTES_MAX) {
          throw new Fault(Code.flowControlError, `SETTINGS_INITIAL_WINDOW_SIZE of ${value}`);
        }
        this.initialWindowBytes = value;
        return;
      case Setting.maxFrameSize:
        if (value < FRAME_BYTES_MIN || value > FRAME_BYTES_MAX) {
          throw new Fault(Code.protocolError, `SETTINGS_MAX_FRAME_SIZE of ${value}`);
        }
        this.frameBytesMax = value;
        return;
      case Setting.maxHeaderListSize:
        this.headerListBytesMax = value;
    }
  }
}

/** The window that streams start with, which is what the peer is told. */
export function firstWindowBytes(settings: Http2Settings): number {
  return settings.explicitWindows === true
    ? settings.streamWindowBytes
    : Math.min(settings.streamWindowBytes, STREAM_WINDOW_BYTES_FIRST);
}

/** Our SETTINGS payload. */
export function announced(settings: Http2Settings, isServer: boolean): Uint8Array {
  const entries: (readonly [number, number])[] = [];
  entries.push([Setting.enablePush, 0]);
  if (isServer && settings.concurrentStreamsMax !== undefined) {
    entries.push([Setting.maxConcurrentStreams, settings.concurrentStreamsMax]);
  }
  entries.push([Setting.initialWindowSize, firstWindowBytes(settings)]);
  entries.push([Setting.maxFrameSize, settings.frameBytesMax]);
  entries.push([Setting.maxHeaderListSize, settings.headerListBytesMax]);
  const payload = new Uint8Array(entries.length * 6);
  entries.forEach(([id, value], index) => {
    payload[index * 6 + 1] = id;
    putUint32(payload, index * 6 + 2, value);
  });
  return payload;
}
