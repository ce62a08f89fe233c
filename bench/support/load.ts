/**
 * One run of a load generator in a host: iperf3 for bytes, wrk for requests. What failed is told, not averaged away.
 * @module
 */
import type { Host } from "../../tests/support/netns.ts";

/** A run that has not ended by itself this long after its time is killed and counts as failed. */
const OVERRUN_SECONDS = 15;

/** What iperf3 says of a server that is at another run; for so long it is asked again. */
const BUSY = "the server is busy";
const BUSY_TRIES_MAX = 60;
const BUSY_PAUSE_MS = 500;

export interface Transfer {
  readonly bytes: number;
  readonly gigabitsPerSecond: number;
  /** Undefined if all went well. */
  readonly problem?: string;
}

export interface Requests {
  readonly count: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly problem?: string;
}

/** `streams` at once through the proxies for `seconds`; `reversed` sends from server to client. */
export async function iperf(
  client: Host,
  target: string,
  run: { readonly streams: number; readonly reversed: boolean; readonly seconds: number },
): Promise<Transfer> {
  const command =
    `${limited(run.seconds)} iperf3 -J -c ${target} -t ${run.seconds} -P ${run.streams}` +
    (run.reversed ? " -R" : "");
  let { code, out } = await client.try(command);
  // The server takes one run at a time, and may not have seen the end of the last one yet.
  for (let tries = 0; tries < BUSY_TRIES_MAX && out.includes(BUSY); tries++) {
    await new Promise((resolve) => setTimeout(resolve, BUSY_PAUSE_MS));
    ({ code, out } = await client.try(command));
  }
  const parsed = parseReport(out);
  const received = parsed.end?.sum_received;
  if (code === 0 && parsed.error === undefined && received !== undefined) {
    return { bytes: received.bytes, gigabitsPerSecond: received.bits_per_second / 1e9 };
  }
  return {
    bytes: received?.bytes ?? 0,
    gigabitsPerSecond: (received?.bits_per_second ?? 0) / 1e9,
    problem: parsed.error ?? (code === 124 ? "did not end" : `exit code ${code}`),
  };
}

interface IperfReport {
  readonly error?: string;
  readonly end?: {
    readonly sum_received?: { readonly bytes: number; readonly bits_per_second: number };
  };
}

function parseReport(text: string): IperfReport {
  try {
    return JSON.parse(text.slice(text.indexOf("{")));
  } catch {
    return { error: `no report: ${text.trim().slice(0, 200)}` };
  }
}

/** What wrk counted, exactly, on one line; its own text rounds. */
export const WRK_SCRIPT = `
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nREPORT {"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,' ..
    '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
`;

interface WrkReport extends Record<(typeof FAILURES)[number], number> {
  readonly requests: number;
  readonly microseconds: number;
  readonly p50: number;
  readonly p99: number;
}

const FAILURES = ["connect", "read", "write", "status", "timeout"] as const;
const FAILURE_NAMES: Readonly<Record<(typeof FAILURES)[number], string>> = {
  connect: "failed connects",
  read: "read errors",
  write: "write errors",
  status: "answers that are not 2xx",
  timeout: "requests over 2 s",
};

/** HTTP requests over `connections`, one at a time on each; `close` asks for a new connection per request. */
export async function wrk(
  client: Host,
  target: string,
  script: string,
  run: { readonly connections: number; readonly close: boolean; readonly seconds: number },
): Promise<Requests> {
  const { code, out } = await client.try(
    `${limited(run.seconds)} wrk -t1 -c${run.connections} -d${run.seconds}s -s ${script}` +
      `${run.close ? " -H 'Connection: close'" : ""} http://${target}/`,
  );
  const line = /^REPORT (.*)$/m.exec(out)?.[1];
  if (line === undefined) {
    const problem = code === 124 ? "did not end" : `no report: ${out.trim().slice(0, 200)}`;
    return { count: 0, perSecond: 0, p50Ms: NaN, p99Ms: NaN, problem };
  }
  const report: WrkReport = JSON.parse(line);
  const problems = FAILURES.filter((kind) => report[kind] > 0)
    .map((kind) => `${report[kind]} ${FAILURE_NAMES[kind]}`);
  if (report.requests === 0) problems.push("no request succeeded");
  return {
    count: report.requests - report.status,
    perSecond: (report.requests - report.status) / (report.microseconds / 1e6),
    p50Ms: report.p50 / 1e3,
    p99Ms: report.p99 / 1e3,
    ...(problems.length > 0 ? { problem: problems.join(", ") } : {}),
  };
}

function limited(seconds: number): string {
  return `timeout -k 1 ${seconds + OVERRUN_SECONDS}`;
}
