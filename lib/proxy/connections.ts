import { authorize, type ConnectionFacts } from "#authz";
import type { ConnectionLists, ConnectionRow } from "#link";
import type { MeshView, Workload } from "#mesh";
import type { Failure } from "#values";

/** A live connection in the table. Disposing it takes it out; nothing else does. */
export interface Row extends Disposable {
  /** Aborted with a Failure as its reason when the connection must end. */
  readonly revoked: AbortSignal;
}

interface InboundRow {
  readonly shown: ConnectionRow;
  readonly revoke: AbortController;
  readonly facts: ConnectionFacts;
  /** As it was when the connection was accepted. */
  readonly workload: Workload;
}

/** Every live connection of one proxy instance, so that a change of policy or a drain finds it. */
export class Connections {
  readonly #inbound = new Set<InboundRow>();
  readonly #outbound = new Set<
    { readonly shown: ConnectionRow; readonly revoke: AbortController }
  >();
  #emptied: (() => void)[] = [];

  get count(): number {
    return this.#inbound.size + this.#outbound.size;
  }

  trackOutbound(shown: ConnectionRow): Row {
    return this.#track(this.#outbound, { shown, revoke: new AbortController() });
  }

  /**
   * Call in the same turn as, and before, the first `authorize`: a policy that changes afterwards then finds the row
   * (behaviour.md 5.6).
   */
  trackInbound(shown: ConnectionRow, facts: ConnectionFacts, workload: Workload): Row {
    return this.#track(this.#inbound, { shown, revoke: new AbortController(), facts, workload });
  }

  /**
   * Ends every connection that today's policies no longer allow; returns how many. Asks anew instead of comparing
   * policies: also a removed one can turn allow into deny and back (behaviour.md 5.6).
   */
  recheck(view: MeshView): number {
    let revokedCount = 0;
    for (const row of this.#inbound) {
      // The current record (behaviour.md 18.21), so that a policy newly listed by the workload counts too.
      const workload = view.workload(row.workload.uid) ?? row.workload;
      if (authorize(view.policiesFor(workload), row.facts).allowed) continue;
      row.revoke.abort({ kind: "policy_changed" } satisfies Failure);
      revokedCount++;
    }
    return revokedCount;
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

  #track<T extends { readonly revoke: AbortController }>(table: Set<T>, row: T): Row {
    table.add(row);
    return {
      revoked: row.revoke.signal,
      [Symbol.dispose]: () => {
        table.delete(row);
        if (this.count === 0) { for (const resolve of this.#emptied.splice(0)) resolve(); }
      },
    };
  }
}
