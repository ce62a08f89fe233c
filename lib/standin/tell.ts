import type { Log } from "#log";
import type { ControlPlaneEvent } from "./records.ts";
import type { Caller } from "./tokens.ts";

/** What happens at a control plane, as log lines: what people wait for is info, what goes wrong a warning. */
export function tellEvent(log: Log, event: ControlPlaneEvent): void {
  switch (event.kind) {
    case "stream_opened":
      return log.debug?.("stream opened", { to: nameOf(event.caller), stream: event.stream });
    case "stream_closed":
      return log.debug?.("stream closed", { to: nameOf(event.caller), reason: event.reason });
    case "sent": {
      const { caller, type, resources, removed, bytes } = event;
      const what = type === "address" ? "addresses" : "policies";
      return log.info?.(`pushed ${what}`, { to: nameOf(caller), resources, removed, bytes });
    }
    case "heard": {
      const { caller, heard } = event;
      if (heard.kind === "nack") {
        return log.warn?.("resources refused", { by: nameOf(caller), reason: heard.reason });
      }
      return log.debug?.(`heard ${heard.kind}`, { from: nameOf(caller) });
    }
    case "certificate":
      return log.info?.("certificate issued", {
        to: nameOf(event.caller),
        identity: event.identity,
      });
    case "refused":
      return log.warn?.(event.service === "xds" ? "stream refused" : "certificate refused", {
        code: event.code,
        reason: event.reason,
      });
  }
}

export function nameOf({ namespace, serviceAccount, node }: Caller): string {
  return `${namespace}/${serviceAccount}${node === undefined ? "" : ` on ${node}`}`;
}
