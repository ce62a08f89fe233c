/** The files of deploy/: each is read by the tool that its user will give it to. */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { DaemonSet } from "kubernetes-models/apps/v1";
import { ServiceAccount } from "kubernetes-models/v1";
import { parse, parseAllDocuments } from "yaml";
import { parseConfig, variableTable } from "#config";
import { testAsRoot } from "../support/needs.ts";

const DEPLOY = new URL("../../deploy/", import.meta.url).pathname;
const read = (path: string) => Deno.readTextFile(`${DEPLOY}${path}`);
const KNOWN = new Set(
  variableTable(200).match(/^ {2}[A-Z][A-Z0-9_]+/gm)?.map((name) => name.trim()),
);

/** A known environment variable of ours, or one of its families. */
function isOurs(name: string): boolean {
  return KNOWN.has(name) || name.startsWith("ISTIO_META_");
}

interface Container {
  readonly name: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly securityContext: {
    readonly readOnlyRootFilesystem: boolean;
    readonly runAsUser: number;
    readonly runAsGroup: number;
    readonly capabilities: { readonly drop: readonly string[]; readonly add: readonly string[] };
  };
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

async function daemonSet() {
  const documents = parseAllDocuments(await read("kubernetes/daemonset.yaml")).map((each) =>
    each.toJS()
  );
  return { account: documents[0], set: documents[1], count: documents.length };
}

Deno.test("the DaemonSet and its account are what Kubernetes' own schema says", async () => {
  const { account, set, count } = await daemonSet();
  strictEqual(count, 2);
  await new ServiceAccount(account).validate();
  await new DaemonSet(set).validate();
});

Deno.test("the schema is really looked at", async () => {
  const { set } = await daemonSet();
  set.spec.template.spec.containers[0].readinessProbe.httpGet.port = { wrong: true };
  let refused: unknown;
  try {
    await new DaemonSet(set).validate();
  } catch (error) {
    refused = error;
  }
  match(String(refused), /port/);
});

Deno.test("the DaemonSet is the pod that istioctl, istio-cni and the chart know", async () => {
  const { set } = await daemonSet();
  const pod = set.spec.template.spec;
  const container: Container = pod.containers[0];
  strictEqual(container.name, "istio-proxy");
  deepStrictEqual(container.args, ["proxy", "ztunnel"]);
  const { securityContext } = container;
  deepStrictEqual(securityContext.capabilities.drop, ["ALL"]);
  deepStrictEqual([...securityContext.capabilities.add].sort(), [
    "NET_ADMIN",
    "NET_RAW",
    "SYS_ADMIN",
  ]);
  strictEqual(securityContext.readOnlyRootFilesystem, true);
  deepStrictEqual([securityContext.runAsUser, securityContext.runAsGroup], [0, 1337]);
  for (const { name } of container.env) ok(isOurs(name), `${name} is no variable of ours`);
  // Every mount has its volume and the other way round.
  deepStrictEqual(
    container.volumeMounts.map((each) => each.name).sort(),
    pod.volumes.map((each: { name: string }) => each.name).sort(),
  );
  const grace = container.env.find((each) => each.name === "TERMINATION_GRACE_PERIOD_SECONDS");
  strictEqual(Number(grace?.value), pod.terminationGracePeriodSeconds);
  deepStrictEqual(set.spec.selector.matchLabels, { app: set.spec.template.metadata.labels.app });
});

/** A root certificate, and a resolver's address. */
const CONTENT =
  "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\nnameserver 10.96.0.10\n";

Deno.test("the program takes the DaemonSet's settings without a word, and drains within its grace", async () => {
  const { set } = await daemonSet();
  const pod = set.spec.template.spec;
  const container: Container = pod.containers[0];
  /** What the kubelet puts in. */
  const fields: Readonly<Record<string, string>> = {
    POD_NAME: "ztunnel-x7k2p",
    POD_NAMESPACE: "istio-system",
    NODE_NAME: "node-1",
    INSTANCE_IP: "10.244.0.7",
    SERVICE_ACCOUNT: "ztunnel",
    ZTUNNEL_CPU_LIMIT: "4",
  };
  const env = Object.fromEntries(
    container.env.map(({ name, value }) => {
      ok(value !== undefined || fields[name] !== undefined, `${name} has no value`);
      return [name, value ?? fields[name]!];
    }),
  );
  const mounts = container.volumeMounts.map(({ mountPath }) => `${mountPath}/`);
  /** The working directory is the root, and there is what is mounted. */
  const isThere = (path: string) => {
    const full = path.replace(/^\.\//, "/");
    return full === "/etc/resolv.conf" || mounts.some((mount) => full.startsWith(mount));
  };
  const { config, problems, warnings } = parseConfig(
    {
      env,
      args: container.args,
      readFile: (path: string) => isThere(path) ? CONTENT : undefined,
      cpuCount: 4,
    } as unknown as Parameters<typeof parseConfig>[0],
  );
  deepStrictEqual([problems, warnings], [[], []]);
  strictEqual(config?.proxyMode, "shared");
  ok(config.drainDeadlineMs < pod.terminationGracePeriodSeconds * 1_000);
  ok(isThere(config.inpodUds), config.inpodUds);
  deepStrictEqual(config.ownWorkload, {
    name: "ztunnel-x7k2p",
    namespace: "istio-system",
    serviceAccount: "ztunnel",
  });
});

/** What Istio's chart takes at the top level (its values.yaml, 1.30). */
const CHART_KEYS = ["hub", "tag", "variant", "image", "resources", "env", "podAnnotations"];

Deno.test("the chart's values name only what the chart has", async () => {
  const values = parse(await read("helm/values.yaml"));
  for (const key of Object.keys(values)) ok(CHART_KEYS.includes(key), key);
  ok(String(values.image).includes("/"), "only an image with a slash replaces hub and tag");
  for (const name of Object.keys(values.env ?? {})) ok(isOurs(name), name);
  // The suggestions in comments too.
  const suggested = (await read("helm/values.yaml")).match(/^# {3}[A-Z][A-Z_]+(?=:)/gm) ?? [];
  for (const line of suggested) ok(isOurs(line.slice(1).trim()), line);
});

testAsRoot("systemd takes the unit", ["systemd-analyze"], async () => {
  const unit = await read("systemd/ztunnel.service");
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/ztunnel.service`;
    // The unit is judged here, not whether this machine has the binary installed.
    await Deno.writeTextFile(path, unit.replace("/usr/local/bin/ztunnel", "/bin/true"));
    const { code, stdout, stderr } = await new Deno.Command("systemd-analyze", {
      args: ["verify", "--man=no", path],
    }).output();
    const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    strictEqual(code, 0, said);
    strictEqual(said.trim(), "");
    await Deno.writeTextFile(path, unit.replace("Type=exec", "Typo=exec"));
    const wrong = await new Deno.Command("systemd-analyze", { args: ["verify", "--man=no", path] })
      .output();
    match(new TextDecoder().decode(wrong.stderr), /Typo/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the unit's settings are read by the program without a complaint", async () => {
  const lines = (await read("systemd/ztunnel.env")).split("\n").filter((line) =>
    line !== "" && !line.startsWith("#")
  );
  const env = Object.fromEntries(lines.map((line) => line.split(/=(.*)/s, 2) as [string, string]));
  for (const name of Object.keys(env)) ok(isOurs(name), name);
  const unit = await read("systemd/ztunnel.service");
  match(unit, /^Environment=PROXY_MODE=dedicated$/m);
  const { problems } = parseConfig(
    {
      env: { ...env, PROXY_MODE: "dedicated" },
      args: ["proxy", "ztunnel"],
      readFile: () => undefined,
      cpuCount: 2,
    } as unknown as Parameters<typeof parseConfig>[0],
  );
  deepStrictEqual(problems, []);
  const stop = Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1]);
  ok(stop > Number(env["TERMINATION_GRACE_PERIOD_SECONDS"]), "a drain is not cut short");
});

testAsRoot("promtool takes the scrape jobs", ["promtool"], async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/prometheus.yml`;
  const check = async (text: string) => {
    await Deno.writeTextFile(path, text);
    const { code, stdout, stderr } = await new Deno.Command("promtool", {
      args: ["check", "config", path],
    }).output();
    return {
      code,
      said: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr),
    };
  };
  try {
    const text = await read("prometheus/scrape.yaml");
    let { code, said } = await check(text);
    if (/kubernetes_sd_configs not found/.test(said)) {
      // Debian builds Prometheus without Kubernetes: the rest is checked, and that part here.
      const jobs = parse(text).scrape_configs;
      deepStrictEqual(jobs[0].kubernetes_sd_configs, [
        { role: "pod", namespaces: { names: ["istio-system"] } },
      ]);
      ({ code, said } = await check(
        text.replace(/kubernetes_sd_configs:\n(?: {6}.*\n)+/, "static_configs: [{targets: []}]\n"),
      ));
    }
    strictEqual(code, 0, said);
    match(said, /SUCCESS/);
    strictEqual((await check(text.replace("relabel_configs", "relable_configs"))).code, 1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
