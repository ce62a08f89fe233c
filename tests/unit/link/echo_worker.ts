/** The far end of port_test.ts, on a thread of its own. */
import { type Channel, channelPort } from "#link";

const port = channelPort<unknown, Record<string, unknown>>(globalThis as unknown as Channel);
port.onWord = (order) => {
  if ("echo" in order) port.post(order["echo"]);
  else if ("echoLate" in order) {
    for (const each of order["echoLate"] as unknown[]) {
      port.post(each);
    }
  } else if ("say" in order) {
    for (let count = 0; count < (order["say"] as number); count++) port.post(count);
  } else throw new Error("the far end was told to die");
};
