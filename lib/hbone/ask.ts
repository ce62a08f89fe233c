import type { ClientConnection, ConnectAnswer, ConnectHead } from "#http2";
import { Stop, type StopSignal } from "#system";
import { type Failure, Refusal } from "#values";
import type { Deadlines } from "./deadlines.ts";

/**
 * From request to response. REF waits for ever; the slowest legal answer takes 15 s (5 for an unknown workload and
 * 10 for its application, behaviour.md 8.2), and a gateway may add another hop of that.
 */
export const ANSWER_TIMEOUT_MS = 60_000;
const STATUS_OK = 200;

/** Sends a CONNECT and waits for its 200; rejects with a Refusal or an Http2Error. */
export async function ask(
  connection: ClientConnection,
  request: ConnectHead,
  deadlines: Deadlines,
  stop?: StopSignal,
): Promise<ConnectAnswer> {
  const giveUp = new Stop();
  const deadline = deadlines.start(() =>
    giveUp.abort(
      new Refusal({ kind: "http2", cause: `no answer within ${deadlines.afterMs} ms` }),
    )
  );
  const onStop = () => giveUp.abort(refusalOfStop(stop!));
  stop?.addEventListener("abort", onStop);
  let answer: ConnectAnswer;
  try {
    answer = await connection.request(request, giveUp.signal);
  } catch (error) {
    throw giveUp.signal.aborted ? giveUp.signal.reason : error;
  } finally {
    deadline.cancel();
    stop?.removeEventListener("abort", onStop);
  }
  if (answer.status !== STATUS_OK) {
    throw new Refusal({ kind: "http_status", status: answer.status });
  }
  return answer;
}

/** Why whoever waits has to stop: the signal's own reason if it is a Refusal or a Failure. */
export function refusalOfStop(stop: StopSignal): Refusal {
  const reason: unknown = stop.reason;
  if (reason instanceof Refusal) return reason;
  if (typeof reason === "object" && reason !== null && "kind" in reason) {
    return new Refusal(reason as Failure);
  }
  return new Refusal({ kind: "drained" });
}
