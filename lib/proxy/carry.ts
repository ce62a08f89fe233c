import { type ByteStream, relay } from "#stream";
import type { Peer } from "#tls";
import type { Row } from "./connections.ts";
import type { ConnectionRecord } from "./record.ts";

/** Moves bytes between both halves of a connection that is in the table, until its end is in the record. */
export async function carry(
  row: Row,
  record: ConnectionRecord,
  downstream: ByteStream,
  upstream: ByteStream,
  /** At the other end of a tunnel: if its certificate is revoked, that is why the tunnel broke (behaviour.md 9.8). */
  peer?: Peer,
): Promise<void> {
  row.opened(() => record.movedBytes);
  const failure = await relay({
    downstream,
    upstream,
    meter: record,
    revoked: row.revoked,
    onHalfClosed: () => row.halfClosed(),
  });
  record.end(peer?.isRevoked ? { kind: "revoked" } : failure);
}
