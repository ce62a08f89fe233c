import { deepStrictEqual, ok } from "node:assert/strict";
import { CertManager } from "#certs";
import { createLogHub } from "#log";
import { seededRng } from "#system";
import { SpiffeId } from "#values";
import { CertNews } from "../../../lib/app/cert_news.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const WEB = SpiffeId.of("cluster.local", "shop", "web");
const HOUR_MS = 3_600_000;
const KEY = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n";

Deno.test("9.7: a CA in trouble is one line for each reason, however often it is asked, and one at its end", async () => {
  const clock = new FakeClock();
  const lines: string[] = [];
  const hub = createLogHub({
    write: (bytes) => lines.push(...new TextDecoder().decode(bytes).trim().split("\n")),
    nowMs: () => clock.nowMs(),
    filter: "info",
    format: "plain",
  });
  const news = new CertNews(hub.scope("ztunnel::identity"));
  let trouble: string | undefined;
  const failed: string[] = [];
  using certs = new CertManager({
    authority: {
      sign: (identity, lifetimeMs) =>
        trouble === undefined
          ? Promise.resolve({
            identity,
            chainPem: "",
            privateKeyPem: KEY,
            rootsPem: "",
            notBeforeMs: clock.nowMs(),
            notAfterMs: clock.nowMs() + lifetimeMs,
          })
          : Promise.reject(new Error(trouble)),
    },
    clock,
    rng: seededRng(1),
    lifetimeMs: 24 * HOUR_MS,
    onBundle: (bundle) => news.issued(bundle),
    onFailed: (identity, reason) => {
      failed.push(reason);
      news.failed(identity, reason);
    },
    onForgotten: () => {},
    onRenewalFailed: (bundle, reason) => news.renewalFailed(bundle, reason),
  });
  const told = () => {
    hub.flush();
    return lines.splice(0).map((line) => line.split("\t").slice(1, 4).join(" "));
  };
  certs.want(WEB);
  await clock.advance(11 * HOUR_MS);
  deepStrictEqual(told(), [], "nothing to say of what works");
  trouble = "the CA is down";
  await clock.advance(4 * HOUR_MS);
  deepStrictEqual(told(), [
    "warn identity certificate not renewed, the old one serves on",
  ]);
  trouble = "the CA sends garbage";
  await clock.advance(12 * HOUR_MS);
  for (let connection = 0; connection < 5; connection++) certs.want(WEB);
  deepStrictEqual(told(), [
    "warn identity certificate not renewed, the old one serves on",
    "warn identity certificate unavailable",
  ]);
  ok(failed.length > 5, "everybody who waits is told all the same");
  trouble = undefined;
  await clock.advance(HOUR_MS);
  deepStrictEqual(told(), ["info identity certificate issued again"]);
});

Deno.test("9.1: an answer that has expired is the same news at each retry, whenever it expired", () => {
  const lines: string[] = [];
  const hub = createLogHub({
    write: (bytes) => lines.push(new TextDecoder().decode(bytes)),
    nowMs: () => 0,
    filter: "info",
    format: "plain",
  });
  const news = new CertNews(hub.scope("ztunnel::identity"));
  for (const second of [10, 11, 12]) {
    news.failed(WEB, `the certificate expired at 2026-11-25T06:00:${second}.000Z`);
  }
  news.failed(WEB, "the certificate is for somebody else");
  hub.flush();
  const told = lines.join("").trim().split("\n");
  deepStrictEqual(told.length, 2, told.join("\n"));
});

Deno.test("9.6: what was said of an identity is forgotten with it", () => {
  const lines: string[] = [];
  const hub = createLogHub({
    write: (bytes) => lines.push(new TextDecoder().decode(bytes)),
    nowMs: () => 0,
    filter: "info",
    format: "plain",
  });
  const news = new CertNews(hub.scope("ztunnel::identity"));
  const toldCount = () => {
    hub.flush();
    return lines.splice(0).length;
  };
  news.failed(WEB, "the CA is down");
  deepStrictEqual(toldCount(), 1);
  news.failed(WEB, "the CA is down");
  deepStrictEqual(toldCount(), 0);
  news.forgotten(WEB);
  news.failed(WEB, "the CA is down");
  deepStrictEqual(toldCount(), 1, "of a pod that came back it is news");
});
