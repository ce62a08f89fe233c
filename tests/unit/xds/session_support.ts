/** A session and a mesh that do what `watchXds` does, without a stream. */
import { createMesh } from "#mesh";
import { FakeClock } from "../../support/fake_clock.ts";
import { apply } from "../../../lib/xds/apply.ts";
import { type PushOutcome, Session } from "../../../lib/xds/session.ts";
import { readResponse } from "../../../lib/xds/wire_response.ts";
import { responseBytes, type ResponseInit } from "./messages.ts";

export interface Talk {
  readonly session: Session;
  readonly view: ReturnType<typeof createMesh>["view"];
  /** Commits so far. */
  readonly commits: { readonly policiesChanged: boolean }[];
  hear(type: string, init?: ResponseInit): Promise<PushOutcome>;
}

export const NOW = { wallMs: Date.UTC(2026, 0, 1), monotonicMs: 0 };

export function talk(onDemand = false): Talk {
  const session = new Session({ node: { id: "ztunnel~x" }, onDemand });
  const { view, writer } = createMesh({});
  const commits: { policiesChanged: boolean }[] = [];
  const stop = new AbortController().signal;
  return {
    session,
    view,
    commits,
    async hear(type, init) {
      const response = readResponse(responseBytes(type, init));
      const push = session.receive(response);
      const clock = new FakeClock();
      await apply(response, push, {
        writer,
        clock,
        stop,
        onCommit: (commit) => commits.push(commit),
      });
      return push.finish(NOW);
    },
  };
}
