import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import type { CertBundle } from "#tls";
import { Bundles } from "../../../lib/proxy/bundles.ts";
import { identity } from "../route/world.ts";

const bundle = (notAfterMs: number): CertBundle => ({
  identity: identity("web"),
  chainPem: "chain",
  privateKeyPem: "key",
  rootsPem: "roots",
  notBeforeMs: 0,
  notAfterMs,
});

Deno.test("Bundles asks control once, however many wait, and answers all of them", async () => {
  const wanted: string[] = [];
  const bundles = new Bundles((id) => void wanted.push(id));
  const waiting = [1, 2, 3].map(() => bundles.get(identity("web")));
  deepStrictEqual(wanted, [identity("web")]);
  bundles.store(bundle(1));
  for (const got of await Promise.all(waiting)) strictEqual(got.notAfterMs, 1);
  strictEqual((await bundles.get(identity("web"))).notAfterMs, 1);
  strictEqual(wanted.length, 1);
  bundles.store(bundle(2));
  strictEqual((await bundles.get(identity("web"))).notAfterMs, 2, "renewed for the next handshake");
});

Deno.test("Bundles passes a failure on with its reason, and asks again for the next connection", async () => {
  const wanted: string[] = [];
  const bundles = new Bundles((id) => void wanted.push(id));
  const waiting = bundles.get(identity("web"));
  bundles.failed(identity("web"), "the CA is down");
  await rejects(waiting, /cannot get our own certificate: the CA is down/);
  const again = bundles.get(identity("web"));
  strictEqual(wanted.length, 2);
  bundles.store(bundle(1));
  strictEqual((await again).notAfterMs, 1);
});

Deno.test("9.7: a certificate that ended while the CA was away serves nobody, and who asks hears why", async () => {
  const wanted: string[] = [];
  const bundles = new Bundles((id) => void wanted.push(id));
  bundles.store(bundle(1));
  // Control says so only when there is none that is valid.
  bundles.failed(identity("web"), "the CA is down");
  const waiting = bundles.get(identity("web"));
  deepStrictEqual(wanted, [identity("web")]);
  bundles.failed(identity("web"), "the CA is down");
  await rejects(waiting, /cannot get our own certificate: the CA is down/);
  bundles.store(bundle(2));
  strictEqual((await bundles.get(identity("web"))).notAfterMs, 2);
});
