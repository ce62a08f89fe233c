/** The CA and the control plane's own certificate in trouble, with live traffic (behaviour.md 3.1, 9.1 to 9.7). */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { until } from "../support/netns.ts";
import { pause } from "../support/waiting.ts";
import { Traffic, XdsMesh } from "../support/xds_mesh.ts";
import type { ServerFault } from "../../lib/standin/faults.ts";

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

/** Every connection is a new handshake, with the certificates of its moment. */
const NO_POOL = { POOL_UNUSED_RELEASE_TIMEOUT: "1ms" };
const BETWEEN_MS = 60;

/** Certificates issued so far, by service account. */
function issued({ plane }: XdsMesh): Readonly<Record<string, number>> {
  const counts: Record<string, number> = { client: 0, server: 0 };
  for (const { caller } of plane.records.of("certificate")) counts[caller.serviceAccount]!++;
  return counts;
}

async function renewed(mesh: XdsMesh): Promise<void> {
  const before = issued(mesh);
  await until(
    "both have renewed",
    () => Object.entries(issued(mesh)).every(([name, count]) => count > before[name]!),
  );
  // The answer is on its way to whoever serves with it.
  await pause(200);
}

interface DumpedCertificate {
  readonly state: string;
  readonly rootCerts: readonly { readonly serialNumber: string }[];
}

async function rootsOf(mesh: XdsMesh, name: "client" | "server"): Promise<string[]> {
  const { certificates } = await mesh.dump(mesh[name]) as { certificates: DumpedCertificate[] };
  return certificates.flatMap(({ rootCerts }) => rootCerts.map(({ serialNumber }) => serialNumber));
}

test("9.4 a root is replaced step by step under traffic, every connection a new handshake: none fails", async () => {
  await using mesh = await XdsMesh.start({
    network: "127.8.1",
    env: NO_POOL,
    // Renewed after 2.5 s, and good for 7.5 s more.
    plane: { certificateLifetimeMsMax: 10_000 },
  });
  const { plane, credentials, client } = mesh;
  const traffic = await Traffic.start(client, BETWEEN_MS);
  const [old] = await rootsOf(mesh, "client");
  await plane.authority.announceRoot();
  await credentials.writeRoots();
  await renewed(mesh);
  strictEqual((await rootsOf(mesh, "client")).length, 2, "old and new are trusted together");
  strictEqual((await rootsOf(mesh, "server")).length, 2);
  await plane.authority.useAnnouncedRoot();
  // Its own certificate comes from the new root now; both sides of the stream live on.
  await plane.restart();
  await renewed(mesh);
  plane.authority.forgetOldRoots();
  await credentials.writeRoots();
  await renewed(mesh);
  for (const name of ["client", "server"] as const) {
    const roots = await rootsOf(mesh, name);
    strictEqual(roots.length, 1);
    ok(roots[0] !== old);
  }
  await pause(300);
  deepStrictEqual(await traffic.stop(), []);
  ok(traffic.okCount > 20, `${traffic.okCount} exchanges`);
});

test("9.7 the CA is gone, then answers nonsense: certificates serve on, each failure is told, none of traffic's", async () => {
  await using mesh = await XdsMesh.start({
    network: "127.8.2",
    env: NO_POOL,
    // Half over after 3 s, since half of it lies in the past; tried again after 1 s, 2 s and 4 s more.
    plane: { certificateLifetimeMsMax: 14_000 },
  });
  const { plane, client, server } = mesh;
  const traffic = await Traffic.start(client, BETWEEN_MS);
  const first = issued(mesh);
  plane.faults.ca = "down";
  const told = (pattern: RegExp) => [client, server].every(({ output }) => pattern.test(output));
  await until("it is told", () => told(/UNAVAILABLE.*the CA is not ready/), () => client.output);
  plane.faults.ca = "foreign";
  const requests = plane.records.of("certificate").length;
  await until(
    "both have been answered",
    () => plane.records.of("certificate").length >= requests + 2,
  );
  plane.faults.ca = undefined;
  await pause(100);
  await renewed(mesh);
  deepStrictEqual(await traffic.stop(), []);
  for (const name of ["client", "server"] as const) {
    ok(issued(mesh)[name]! >= first[name]! + 2);
    const { certificates } = await mesh.dump(mesh[name]) as { certificates: DumpedCertificate[] };
    deepStrictEqual(certificates.map(({ state }) => state), ["Available"]);
  }
});

const SERVER_FAULTS: readonly { readonly fault: ServerFault; readonly told: RegExp }[] = [
  { fault: "other_root", told: /xds stream failed.*(none of the roots|issuer|trust)/ },
  {
    fault: "other_name",
    told: /xds stream failed.*certificate is for somebody\.else\.example, expected 127\.8\.3\.3/,
  },
  { fault: "expired", told: /xds stream failed.*expired/ },
];

test("3.1 a control plane with a wrong certificate is told what is wrong with, gets no token, and is tried again", async () => {
  for (const { fault, told } of SERVER_FAULTS) {
    await using mesh = await XdsMesh.start({
      network: "127.8.3",
      only: "client",
      mayFail: true,
      prepare: async (plane) => {
        plane.faults.ofServer = fault;
        await plane.restart();
      },
    });
    const { plane, client } = mesh;
    await until(`${fault} is told`, () => told.test(client.output), () => client.output);
    deepStrictEqual(plane.records.all, [], "nothing was said to it");
    strictEqual(await client.isReady(), false);
    plane.faults.ofServer = undefined;
    await plane.restart();
    await until("it is ready", () => client.isReady(), () => client.output);
  }
});

test("3.1, 17.5 an expired token is refused and told, and the next one in the file is used", async () => {
  await using mesh = await XdsMesh.start({
    network: "127.8.4",
    only: "client",
    mayFail: true,
    prepare: (plane) => void (plane.faults.tokensExpired = true),
  });
  const { plane, client } = mesh;
  await until(
    "it is told",
    () => /xds stream failed.*UNAUTHENTICATED.*the token has expired/.test(client.output),
    () => client.output,
  );
  strictEqual(await client.isReady(), false);
  const next = plane.tokens.issue({ namespace: "shop", serviceAccount: "client" });
  await Deno.writeTextFile(mesh.tokenPath("client"), next);
  // An attempt that was under way has the old one; the one after it has not.
  const failures = () => client.output.split("xds stream failed").length;
  const before = failures();
  await until("two more attempts", () => failures() >= before + 2, () => client.output);
  plane.faults.tokensExpired = false;
  await until("it is ready", () => client.isReady(), () => client.output);
  deepStrictEqual(plane.records.of("stream_opened").map(({ token }) => token), [next]);
  const connected = /connected to the xds server/;
  await until("it is told", () => connected.test(client.output), () => client.output);
});
