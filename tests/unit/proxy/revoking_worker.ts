/** A data thread that only judges: rows and verdicts as fast as it can, words of control in between. */
import { authorize, type ConnectionFacts } from "#authz";
import { type Channel, channelPort } from "#link";
import { attachMesh, type MeshHandles, type MeshView } from "#mesh";
import { Metrics } from "#metrics";
import { Ip } from "#values";
import { Connections, type Row } from "../../../lib/proxy/connections.ts";
import { SocketStates } from "../../../lib/proxy/sockets.ts";

export type Ask =
  | { readonly tell: "mesh"; readonly epoch: number }
  /** How many rows live, and how many verdicts there were. */
  | { readonly tell: "count" };

const ROWS_PER_TURN = 50;
/** Live rows at most; as many as a turn's make room. */
const ROWS_MAX = 400;
const UID = "web";
const address = { ip: Ip.parse("10.0.0.1")!, port: 8080 };
const facts: ConnectionFacts = { source: address, destination: address };
const shown = { src: "a", originalDst: null, actualDst: "b", protocol: "TCP" } as const;

const parent = globalThis as unknown as Channel;
parent.onmessage = ({ data }: MessageEvent<MeshHandles>) => run(attachMesh(data));

function run(view: MeshView): void {
  const port = channelPort<{ readonly live: number; readonly judged: number }, Ask>(parent);
  const connections = new Connections(new SocketStates(new Metrics({ nowMs: () => 0 })));
  const live = new Set<Row>();
  let judged = 0;

  const connect = () => {
    const workload = view.workload(UID)!;
    // As every listener does: the row first, the verdict in the same turn.
    const row = connections.trackInbound(shown, facts, workload);
    judged++;
    if (authorize(view.policiesFor(workload), facts).allowed) live.add(row);
    else row[Symbol.dispose]();
  };
  const close = (row: Row) => {
    live.delete(row);
    row[Symbol.dispose]();
  };

  port.onWord = (ask) => {
    if (ask.tell === "mesh") {
      connections.recheck(view);
      for (const row of live) if (row.revoked.aborted) close(row);
    } else port.post({ live: live.size, judged });
  };
  const turns = new MessageChannel();
  turns.port1.onmessage = () => {
    for (let each = 0; each < ROWS_PER_TURN; each++) connect();
    for (const row of live) {
      if (live.size <= ROWS_MAX) break;
      close(row);
    }
    turns.port2.postMessage(undefined);
  };
  turns.port2.postMessage(undefined);
}
