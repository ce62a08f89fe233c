import { authorize, type ConnectionFacts } from "#authz";
import type { ConnectionLists, ConnectionRow } from "#link";
import type { MeshView, Policy, Workload } from "#mesh";
import { Stop, type StopSignal } from "#system";
import type { Failure } from "#values";
import { Quiet, type QuietLimits } from "./reaper.ts";
import type { Reporter, SocketState, SocketStates } from "./sockets.ts";

/** A live connection in the table, connecting at first. Disposing it takes it out; nothing else does. */
export interface Row extends Disposable {
  /** Aborted with a Failure as its reason when the connection must end. */
  readonly revoked: StopSignal;
  /** Bytes may move from now on; `movedBytes` says how many have so far. */
  opened(movedBytes: () => number): void;
  /** One direction has ended. */
  halfClosed(): void;
}

interface OutboundRow {
  readonly shown: ConnectionRow;
  readonly revoke: Stop;
  readonly reporter: Reporter;
  state: SocketState;
  /** Once bytes may move. */
  quiet: Quiet | undefined;
}

interface InboundRow extends OutboundRow {
  readonly facts: ConnectionFacts;
  /** As it was when the connection was accepted. */
  readonly workload: Workload;
  /** What it was judged by when it was judged again last. */
  judgedBy: readonly Policy[] | undefined;
}

/** Every live connection of one proxy instance, so that a change of policy or a drain finds it. */
export class Connections {
  readonly #inbound = new Set<InboundRow>();
  readonly #outbound = new Set<OutboundRow>();
  #emptied: (() => void)[] = [];

  constructor(private readonly sockets: SocketStates) {}

  get count(): number {
    return this.#inbound.size + this.#outbound.size;
  }

  trackOutbound(shown: ConnectionRow): Row {
    return this.#track(this.#outbound, { shown, ...newRow("source") });
  }

  /**
   * Call in the same turn as, and before, the first `authorize`: a policy that changes afterwards then finds the row
   * (behaviour.md 5.6).
   */
  trackInbound(shown: ConnectionRow, facts: ConnectionFacts, workload: Workload): Row {
    const row = { shown, ...newRow("destination"), facts, workload, judgedBy: undefined };
    return this.#track<InboundRow>(this.#inbound, row);
  }

  /**
   * Ends every connection that today's policies no longer allow; returns how many. Asks anew instead of comparing
   * policies: also a removed one can turn allow into deny and back (behaviour.md 5.6). Who was judged by the very same
   * list is not asked again: a large push is hundreds of commits, of which hardly one concerns this workload.
   */
  recheck(view: MeshView): number {
    let revokedCount = 0;
    const policiesOf = new Map<string, readonly Policy[]>();
    for (const row of this.#inbound) {
      const { uid } = row.workload;
      let policies = policiesOf.get(uid);
      if (policies === undefined) {
        // The current record (behaviour.md 18.21), so that a policy newly listed by the workload counts too.
        policies = view.policiesFor(view.workload(uid) ?? row.workload);
        policiesOf.set(uid, policies);
      }
      if (policies === row.judgedBy) continue;
      row.judgedBy = policies;
      if (authorize(policies, row.facts).allowed) continue;
      row.revoke.abort({ kind: "policy_changed" } satisfies Failure);
      revokedCount++;
    }
    return revokedCount;
  }

  /** Ends every connection that has been silent for too long; returns how many. */
  sweep(nowMs: number, limits: QuietLimits): number {
    let endedCount = 0;
    for (const table of [this.#inbound, this.#outbound]) {
      for (const { quiet, revoke } of table) {
        const failure = quiet?.judge(nowMs, limits);
        if (failure === undefined || revoke.signal.aborted) continue;
        revoke.abort(failure);
        endedCount++;
      }
    }
    return endedCount;
  }

  /** Ends all that is left, as the end of a drain does. */
  endAll(): void {
    for (const row of [...this.#inbound, ...this.#outbound]) {
      row.revoke.abort({ kind: "drained" } satisfies Failure);
    }
  }

  /** Resolves when no connection is left. */
  emptied(): Promise<void> {
    if (this.count === 0) return Promise.resolve();
    return new Promise((resolve) => this.#emptied.push(resolve));
  }

  lists(): ConnectionLists {
    const shown = (rows: Iterable<{ readonly shown: ConnectionRow }>) =>
      Array.from(rows, (row) => row.shown);
    return { inbound: shown(this.#inbound), outbound: shown(this.#outbound) };
  }

  #track<T extends OutboundRow>(table: Set<T>, row: T): Row {
    table.add(row);
    this.sockets.move(row.reporter, undefined, row.state);
    const enter = (state: SocketState) => {
      if (!table.has(row)) return;
      this.sockets.move(row.reporter, row.state, state);
      row.state = state;
    };
    return {
      revoked: row.revoke.signal,
      opened: (movedBytes) => {
        row.quiet = new Quiet(movedBytes);
        enter("established");
      },
      halfClosed: () => {
        if (row.quiet !== undefined) row.quiet.isHalfClosed = true;
        enter("half_closed");
      },
      [Symbol.dispose]: () => {
        if (!table.delete(row)) return;
        this.sockets.move(row.reporter, row.state, undefined);
        if (this.count === 0) { for (const resolve of this.#emptied.splice(0)) resolve(); }
      },
    };
  }
}

function newRow(reporter: Reporter) {
  return {
    revoke: new Stop(),
    reporter,
    state: "connecting" as SocketState,
    quiet: undefined,
  };
}
