import { deepStrictEqual, match, throws } from "node:assert/strict";
import { type DevArguments, readArguments } from "../../../lib/cli/dev_arguments.ts";

const TYPED: DevArguments = {
  listen: "127.0.0.1:15012",
  controlPort: "15014",
  services: "10000",
  nodes: "1000",
};

const read = (typed: Partial<DevArguments>) =>
  readArguments({ ...TYPED, ...typed }, "example.yaml");

Deno.test("dev runs the example on the usual port, unless it is told otherwise", () => {
  deepStrictEqual(read({}), {
    isControlPlaneOnly: false,
    listen: { ip: "127.0.0.1", port: 15012 },
    controlPort: 15014,
    folder: undefined,
    tokens: [],
    source: { kind: "file", path: "example.yaml" },
  });
  deepStrictEqual(
    read({
      controlPlaneOnly: true,
      listen: "[::1]:0",
      controlPort: "0",
      files: "f",
      token: ["a/b", "a/b@n1"],
      workloads: "7",
      nodes: "2",
    }),
    {
      isControlPlaneOnly: true,
      listen: { ip: "::1", port: 0 },
      controlPort: 0,
      folder: "f",
      tokens: [
        { namespace: "a", serviceAccount: "b" },
        { namespace: "a", serviceAccount: "b", node: "n1" },
      ],
      source: { kind: "generated", size: { workloads: 7, services: 10_000, nodes: 2 } },
    },
  );
});

const WRONG: readonly (readonly [Partial<DevArguments>, RegExp])[] = [
  [{ listen: "localhost" }, /--listen localhost: expected ip:port/],
  [{ controlPort: "70000" }, /--control-port 70000: expected a number from 0 to 65535/],
  [{ workloads: "10" }, /--workloads needs --control-plane-only/],
  [{ workloads: "10", mesh: "x", controlPlaneOnly: true }, /two meshes/],
  [{ workloads: "0", controlPlaneOnly: true }, /--workloads 0: expected a number from 1/],
  [{ workloads: "1e3", controlPlaneOnly: true }, /--workloads 1e3/],
  [{ workloads: "1", nodes: "-1", controlPlaneOnly: true }, /--nodes -1/],
  [{ token: ["web"] }, /--token web: expected namespace\/account/],
  [{ token: ["a/b/c"] }, /--token a\/b\/c/],
];

for (const [typed, why] of WRONG) {
  Deno.test(`dev says which option cannot be used: ${JSON.stringify(typed)}`, () => {
    throws(() => read(typed), (error: Error) => {
      match(error.message, why);
      return true;
    });
  });
}
