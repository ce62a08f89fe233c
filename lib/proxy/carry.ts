import { type ByteStream, relay } from "#stream";
import type { Row } from "./connections.ts";
import type { ConnectionRecord } from "./record.ts";

/** Moves bytes between both halves of a connection that is in the table, until its end is in the record. */
export async function carry(
  row: Row,
  record: ConnectionRecord,
  downstream: ByteStream,
  upstream: ByteStream,
): Promise<void> {
  row.opened(() => record.movedBytes);
  record.end(
    await relay({
      downstream,
      upstream,
      meter: record,
      revoked: row.revoked,
      onHalfClosed: () => row.halfClosed(),
    }),
  );
}
