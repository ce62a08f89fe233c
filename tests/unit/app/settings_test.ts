/** Which sockets have keepalive and user timeout (behaviour.md 2.4), whatever is asked for. */
import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { realClock } from "#system";
import { instanceOptions } from "../../../lib/app/settings.ts";
import { firstWindowBytes } from "../../../lib/http2/settings.ts";
import { configOf } from "../config/support.ts";

const SPEC = {
  kind: "dedicated",
  info: { name: "web", namespace: "shop", serviceAccount: "web" },
} as const;
const TIMES = { KEEPALIVE_TIME: "10s", KEEPALIVE_INTERVAL: "5s", KEEPALIVE_RETRIES: "3" };
const PROBES = { idleMs: 10_000, intervalMs: 5_000, retries: 3 };

const TABLE = [
  ["true", "false", { probes: true, ...PROBES }],
  // Time + retries x interval: as long as the probes would take.
  ["true", "true", { probes: true, ...PROBES, userTimeoutMs: 25_000 }],
  ["false", "true", { probes: false, ...PROBES, userTimeoutMs: 25_000 }],
  ["false", "false", undefined],
] as const;

for (const [keepalive, userTimeout, expected] of TABLE) {
  Deno.test(`KEEPALIVE_ENABLED=${keepalive}, USER_TIMEOUT_ENABLED=${userTimeout}: on 15001, 15006 and dials alone`, () => {
    const env = {
      ...TIMES,
      KEEPALIVE_ENABLED: keepalive,
      USER_TIMEOUT_ENABLED: userTimeout,
      UNSTABLE_ENABLE_SOCKS5: "true",
    };
    const { listeners, dialer } = instanceOptions(configOf({ env }), SPEC, realClock);
    deepStrictEqual(listeners.outbound?.keepalive, expected);
    deepStrictEqual(listeners.plaintext?.keepalive, expected);
    deepStrictEqual(dialer.keepalive, expected);
    strictEqual(listeners.inbound?.keepalive, undefined);
    strictEqual(listeners.socks5?.keepalive, undefined);
  });
}

Deno.test("a stream's window grows to the default, and is literal only where it was set itself", () => {
  const windowOf = (env: Readonly<Record<string, string>>) => {
    const { settings, pool } = instanceOptions(configOf({ env }), SPEC, realClock);
    return [settings.tunnelServer.settings, pool.settings].map((each) => [
      firstWindowBytes(each),
      each.streamWindowBytes,
      each.connectionWindowBytes,
      each.frameBytesMax,
    ]);
  };
  const both = (...sizes: readonly number[]) => [sizes, sizes];
  const [first, ceiling, connection, frame] = [256 << 10, 4 << 20, 16 << 20, 1 << 20];
  deepStrictEqual(windowOf({}), both(first, ceiling, connection, frame));
  deepStrictEqual(
    windowOf({ HTTP2_STREAM_WINDOW_SIZE: "8388608" }),
    both(8 << 20, 8 << 20, connection, frame),
  );
  // A smaller frame or connection is no wish for streams of 4 MiB each.
  deepStrictEqual(
    windowOf({ HTTP2_CONNECTION_WINDOW_SIZE: "1048576", HTTP2_FRAME_SIZE: "16384" }),
    both(first, ceiling, 1 << 20, 16_384),
  );
});

Deno.test("the half-closed linger is ten minutes and the idle timeout off, unless somebody says otherwise", () => {
  const quietOf = (env: Readonly<Record<string, string>>) =>
    instanceOptions(configOf({ env }), SPEC, realClock).settings.quiet;
  deepStrictEqual(quietOf({}), { halfClosedLingerMs: 600_000, idleTimeoutMs: 0 });
  deepStrictEqual(
    quietOf({ ZTUNNEL_HALF_CLOSED_LINGER: "0s", ZTUNNEL_IDLE_TIMEOUT: "1h" }),
    { halfClosedLingerMs: 0, idleTimeoutMs: 3_600_000 },
  );
});
