/** What a thread tells of its peers for a dump, in words of bounded size: each is copied in one turn of either side. */
import type { InstanceReport } from "#link";

/** A row takes 0.5 us to copy (measured: 100,000 of them were 50 ms). */
export const REPORT_ROWS_MAX = 2_000;

type Rows = Omit<InstanceReport, "instance">;

/**
 * The same rows in the same order, at most REPORT_ROWS_MAX a part; an instance of many is in several parts. Without any
 * instance there is no part.
 */
export function* partsOf(reports: Iterable<InstanceReport>): Generator<InstanceReport[]> {
  let part: InstanceReport[] = [];
  let room = REPORT_ROWS_MAX;
  for (const report of reports) {
    for (const piece of piecesOf(report)) {
      const count = rowsIn(piece);
      if (part.length > 0 && count > room) {
        yield part;
        part = [];
        room = REPORT_ROWS_MAX;
      }
      part.push(piece);
      room -= count;
    }
  }
  if (part.length > 0) yield part;
}

function* piecesOf(report: InstanceReport): Generator<InstanceReport> {
  if (rowsIn(report) <= REPORT_ROWS_MAX) return yield report;
  const { instance, connections: { inbound, outbound }, tunnels, floods } = report;
  const none: Rows = { connections: { inbound: [], outbound: [] }, tunnels: [], floods: [] };
  for (const rows of chunksOf(inbound)) {
    yield { instance, ...none, connections: { inbound: rows, outbound: [] } };
  }
  for (const rows of chunksOf(outbound)) {
    yield { instance, ...none, connections: { inbound: [], outbound: rows } };
  }
  for (const rows of chunksOf(tunnels)) yield { instance, ...none, tunnels: rows };
  for (const rows of chunksOf(floods)) yield { instance, ...none, floods: rows };
}

function* chunksOf<T>(rows: readonly T[]): Generator<readonly T[]> {
  for (let start = 0; start < rows.length; start += REPORT_ROWS_MAX) {
    yield rows.slice(start, start + REPORT_ROWS_MAX);
  }
}

function rowsIn({ connections: { inbound, outbound }, tunnels, floods }: InstanceReport): number {
  return inbound.length + outbound.length + tunnels.length + floods.length;
}
