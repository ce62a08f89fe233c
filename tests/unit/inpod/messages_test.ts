import { deepStrictEqual as assertEquals, ok as assert, throws } from "node:assert/strict";
import { INPOD_LIMITS } from "#inpod";
import {
  decodeMessage,
  encodeAnswer,
  encodeHello,
  UnreadableMessage,
} from "../../../lib/inpod/messages.ts";

const bytes = (hex: string) => Uint8Array.fromHex(hex.replaceAll(" ", ""));
const hex = (of: Uint8Array) => of.toHex().replace(/../g, "$& ").trim();

Deno.test("our words are the bytes of behaviour.md C.6", () => {
  assertEquals(hex(encodeHello()), "08 01");
  assertEquals(hex(encodeAnswer("")), "0a 00");
  assertEquals(hex(encodeAnswer("x")), "0a 03 0a 01 78");
});

Deno.test("the agent's words are read from the bytes of behaviour.md C.6", () => {
  const table = [
    ["1a 00", { kind: "snapshot_sent" }],
    ["0a 0f 0a 02 75 31 12 09 0a 01 61 12 01 62 1a 01 63", {
      kind: "add",
      uid: "u1",
      info: { name: "a", namespace: "b", serviceAccount: "c" },
    }],
    ["0a 04 0a 02 75 31", { kind: "add", uid: "u1", info: undefined }],
    ["12 04 12 02 75 31", { kind: "del", uid: "u1" }],
    ["2a 04 0a 02 75 31", { kind: "keep", uid: "u1" }],
    // A field of a later version beside those that we know.
    ["12 06 12 02 75 31 f8 01 01".replace("12 06", "12 07"), { kind: "del", uid: "u1" }],
  ] as const;
  for (const [text, message] of table) assertEquals(decodeMessage(bytes(text)), message, text);
});

Deno.test("what is no message is refused with a reason", () => {
  const table = [
    ["", "no payload"],
    // A payload of a later version.
    ["32 00", "no payload"],
    ["ff ff ff ff", "."],
    ["0a 0f 0a 02 75 31", "EOF"],
    // Not UTF-8.
    ["12 04 12 02 ff ff", "not valid"],
    ["0d 00 00 00 00", "."],
  ] as const;
  for (const [text, reason] of table) {
    throws(
      () => decodeMessage(bytes(text)),
      (error: unknown) =>
        error instanceof UnreadableMessage && new RegExp(reason, "i").test(error.message),
      text,
    );
  }
});

Deno.test("an answer never exceeds a packet, and is cut between characters", () => {
  const { packetBytesMax } = INPOD_LIMITS;
  for (const [what, text] of [["letters", "x"], ["umlauts", "ä"], ["emoji", "🙂"]] as const) {
    for (let count = 200; count < 1_100; count++) {
      const answer = encodeAnswer(text.repeat(count));
      assert(answer.length <= packetBytesMax, `${count} ${what} are ${answer.length} bytes`);
      // Fatal: half a character would throw here.
      new TextDecoder("utf-8", { fatal: true }).decode(answer.subarray(6));
    }
  }
  assertEquals(encodeAnswer("x".repeat(packetBytesMax - 6)).length, packetBytesMax);
  const cut = new TextDecoder().decode(encodeAnswer("x".repeat(packetBytesMax)));
  assert(cut.endsWith("xxx..."), cut);
});
