import { ok, strictEqual } from "node:assert/strict";
import { create, toBinary } from "@bufbuild/protobuf";
import { decodeAddressBytes, decodePolicyBytes } from "../../lib/mesh/read_address.ts";
import * as authorization from "../../proto/gen/authorization_pb.ts";
import * as workload from "../../proto/gen/workload_pb.ts";
import * as xds from "../../proto/gen/xds_pb.ts";
import { run } from "../support/fuzz.ts";
import { readerOf } from "../unit/xds/session_support.ts";

const address = toBinary(
  workload.AddressSchema,
  create(workload.AddressSchema, {
    type: {
      case: "workload",
      value: {
        uid: "c//Pod/shop/web",
        name: "web",
        namespace: "shop",
        addresses: [Uint8Array.of(10, 1, 0, 9)],
        services: { "shop/web.shop.svc": { ports: [{ servicePort: 80, targetPort: 8080 }] } },
      },
    },
  }),
);
const service = toBinary(
  workload.AddressSchema,
  create(workload.AddressSchema, {
    type: {
      case: "service",
      value: {
        name: "web",
        namespace: "shop",
        hostname: "web.shop.svc",
        addresses: [{ address: Uint8Array.of(10, 96, 0, 1) }],
        ports: [{ servicePort: 80, targetPort: 8080 }],
      },
    },
  }),
);
const policy = toBinary(
  authorization.AuthorizationSchema,
  create(authorization.AuthorizationSchema, { name: "no", namespace: "shop" }),
);
const response = toBinary(
  xds.DeltaDiscoveryResponseSchema,
  create(xds.DeltaDiscoveryResponseSchema, {
    typeUrl: "type.googleapis.com/istio.workload.Address",
    nonce: "n",
    removedResources: ["a"],
    resources: [{ name: "c//Pod/shop/web", version: "1", resource: { value: address } }],
  }),
);

/** A type that is no UTF-8. */
const NO_TEXT = Uint8Array.of(0x22, 0x04, 0x61, 0xd9, 0xc3, 0x62);

/** Errors of the protobuf reader and our own; what JavaScript says of code that is wrong is a mistake of ours. */
function isExpected(error: unknown): boolean {
  return error instanceof Error && !(error instanceof ReferenceError) &&
    !/is not a function|of undefined|of null|not iterable/.test(error.message);
}

/** What a response says that arrives in pieces of these sizes. */
async function told(
  bytes: Uint8Array,
  sizeOf: () => number,
): Promise<{ readonly said: string; readonly isSound: boolean; readonly outcome: string }> {
  const said: string[] = [];
  let isSound = true;
  try {
    const reader = readerOf(bytes, sizeOf);
    await reader.begin();
    do {
      for (let each = reader.take(); each !== undefined; each = reader.take()) {
        isSound &&= each.malformed === undefined;
        said.push(`${each.name} ${each.version} ${each.payload?.toHex()} ${each.malformed}`);
      }
      reader.release();
    } while (await reader.more());
    const resources = said.length;
    said.push(`${reader.typeUrl} ${reader.nonce} ${reader.removed.join()}`);
    return { said: said.join("\n"), isSound, outcome: `${Math.min(resources, 3)} resources` };
  } catch (error) {
    if (!isExpected(error)) throw error;
    return { said: "", isSound: false, outcome: "cannot be read" };
  }
}

Deno.test("what the control plane says is read or refused with a reason, whatever its bytes", async () => {
  const report = await run({
    name: "messages",
    corpus: [address, service, policy, response, NO_TEXT],
    async try(input, rng) {
      if (rng.below(3) === 0) {
        const whole = await told(input, () => input.length);
        const cut = await told(input, () => 1 + rng.below(9));
        // How far a broken one is read depends on how it was cut.
        if (whole.isSound && cut.isSound) strictEqual(cut.said, whole.said, "it depends on cuts");
        return `response: ${cut.outcome}`;
      }
      const isPolicy = rng.below(3) === 0;
      const decoded = isPolicy ? decodePolicyBytes("shop/no", input) : decodeAddressBytes(input);
      const keys = Object.keys(decoded).join();
      return `${isPolicy ? "policy" : "address"} ${keys}`;
    },
  });
  ok(report.inputs > 100, `only ${report.inputs} inputs`);
  ok(report.outcomes.size > 5, [...report.outcomes.keys()].join());
});
