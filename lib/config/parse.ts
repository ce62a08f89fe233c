import { SpiffeId } from "#values";
import { buildInfo } from "./build.ts";
import { checkFakeCa, checkRoots, checkRuntimeEnvironment, checkTogether } from "./checks.ts";
import type { Config, ConfigAddress, LocalSource, ParsedConfig, WorkloadNames } from "./config.ts";
import { freezeDeep } from "./freeze.ts";
import { familyHeaders } from "./headers.ts";
import { type ProxyConfig, readProxyConfig } from "./mesh_config.ts";
import { dnsProxyOf } from "./not_yet.ts";
import { Reader } from "./reader.ts";
import { readResolver } from "./resolver.ts";
import { workerThreads } from "./threads.ts";
import { unknownVariables } from "./unknown.ts";
import {
  CERTIFICATES,
  CONTROL,
  DATA_PATH,
  DNS,
  FAMILIES,
  MODE,
  PLACE,
  TELEMETRY,
  THREADING,
  TOKEN_PATH,
} from "./variables.ts";

export interface ConfigInput {
  readonly env: Readonly<Record<string, string>>;
  /** Text of a file, undefined if it does not exist; throws with the reason if it cannot be read. */
  readonly readFile: (path: string) => string | undefined;
  readonly cpuCount: number;
  readonly args: readonly string[];
}

const PORTS = { outbound: 15001, inbound: 15008, inboundPlaintext: 15006, socks5: 15080 } as const;
const ADMIN_PORT = 15000;
const STATS_PORT = 15020;
const READINESS_PORT = 15021;

const ISTIOD_IN_CLUSTER = "https://istiod.istio-system.svc:15012";
const ISTIOD_ELSEWHERE = "https://localhost:15012";
const SHARED_PACKET_MARK = 1337;
const DISABLE_IPV6_PATH = "/proc/sys/net/ipv6/conf/lo/disable_ipv6";

const DRAIN_DEFAULT_MS = 5_000;
/** As ztunnel: of a grace period above 10 s the last five are kept for the shutdown itself, else one. */
const GRACE_LONG_SECONDS = 10;
const GRACE_RESERVE_LONG_SECONDS = 5;
const GRACE_RESERVE_SECONDS = 1;

/**
 * The environment and the files, once (behaviour.md 1). Pure but for `readFile`; never throws for what they
 * say: every problem is in the answer, together with all others.
 */
export function parseConfig(input: ConfigInput): ParsedConfig {
  const reader = new Reader(input.env);
  const mesh = readProxyConfig(reader, input.readFile);
  const dnsWanted = dnsCapture(mesh);
  const config: Config = {
    ...whatRuns(reader, mesh, input, dnsWanted),
    ...controlPlane(reader, mesh, input),
    ...whereWeAre(reader, mesh),
    ...dataPath(reader, input),
    ...telemetry(reader),
    build: buildInfo(input.env),
    resolver: readResolver(reader, input.readFile),
  };
  checkTogether(reader, config, dnsWanted);
  checkFakeCa(reader, config);
  checkRoots(reader, config, input.readFile);
  checkCompliance(reader);
  checkRuntimeEnvironment(reader, input.env);
  for (const warning of unknownVariables(input.env)) reader.warn(warning);
  const { problems, warnings } = reader;
  return { config: problems.length === 0 ? freezeDeep(config) : undefined, problems, warnings };
}

function whatRuns(
  reader: Reader,
  mesh: ProxyConfig,
  input: ConfigInput,
  dnsWanted: boolean | undefined,
) {
  const proxyMode = reader.get(MODE.mode);
  const bindAddress = reader.get(MODE.bindAddress);
  const proxyWorkload = reader.get(MODE.workload);
  return {
    proxy: reader.get(MODE.proxy),
    dnsProxy: dnsProxyOf(reader, dnsWanted),
    proxyMode,
    proxyWorkload: proxyMode === "dedicated" ? proxyWorkload : undefined,
    bindAddress,
    drainDeadlineMs: drainDeadlineMs(reader),
    inpodUds: reader.get(MODE.inpodUds),
    inpodPortReuse: reader.get(MODE.inpodPortReuse),
    socks5: reader.get(MODE.socks5),
    exitWithParent: reader.get(MODE.exitWithParent),
    workerThreads: workerThreads(reader, mesh, input.cpuCount),
    inline: reader.get(THREADING.inline),
    proxyArgs: input.args.join(" "),
    ports: {
      ...PORTS,
      admin: mesh.proxyAdminPort ?? ADMIN_PORT,
      stats: mesh.statsPort ?? STATS_PORT,
      readiness: READINESS_PORT,
    },
    dnsAddress: dnsAddress(reader, mesh, bindAddress),
  } satisfies Partial<Config>;
}

function controlPlane(reader: Reader, mesh: ProxyConfig, input: ConfigInput) {
  const istiod = reader.isSet(PLACE.kubernetes) ? ISTIOD_IN_CLUSTER : ISTIOD_ELSEWHERE;
  const fakeCa = reader.get(CERTIFICATES.fakeCa);
  const caText = reader.text(CONTROL.caAddress) ?? istiod;
  if (!fakeCa && caText === "") {
    reader.refuse(
      CONTROL.caAddress,
      "is empty, but FAKE_CA is off: nobody would sign certificates",
    );
  }
  const xdsText = reader.text(CONTROL.xdsAddress) ?? mesh.discoveryAddress ?? istiod;
  return {
    xdsAddress: reader.parse(CONTROL.xdsAddress, xdsText),
    caAddress: fakeCa ? undefined : reader.parse(CONTROL.caAddress, caText),
    xdsRoot: reader.get(CONTROL.xdsRoot),
    caRoot: reader.get(CONTROL.caRoot),
    altXdsHostname: reader.get(CONTROL.altXdsHostname),
    altCaHostname: reader.get(CONTROL.altCaHostname),
    authToken: authToken(reader, input.readFile),
    xdsHeaders: familyHeaders(reader, FAMILIES.xdsHeader),
    caHeaders: familyHeaders(reader, FAMILIES.caHeader),
    xdsOnDemand: reader.get(CONTROL.xdsOnDemand),
    localSource: localSource(reader),
    secretTtlMs: reader.get(CERTIFICATES.secretTtl),
    fakeCa,
    crlPath: reader.get(CERTIFICATES.crlPath),
    tls12Enabled: reader.get(CERTIFICATES.tls12) ?? false,
  } satisfies Partial<Config>;
}

function whereWeAre(reader: Reader, mesh: ProxyConfig) {
  const own = ownWorkload(reader);
  return {
    clusterId: reader.get(PLACE.metaClusterId) ?? reader.get(PLACE.clusterId),
    clusterDomain: reader.get(PLACE.clusterDomain),
    network: reader.get(PLACE.network),
    localNode: reader.get(PLACE.nodeName),
    podName: reader.get(PLACE.podName),
    podNamespace: reader.get(PLACE.podNamespace),
    ownWorkload: own,
    ownIdentity: own &&
      SpiffeId.of(reader.get(PLACE.trustDomain), own.namespace, own.serviceAccount),
    instanceIp: reader.get(PLACE.instanceIp),
    preferredServiceNamespace: reader.get(DNS.preferredNamespace),
    proxyMetadata: mesh.proxyMetadata,
    proxyMetadataJson: metadataJson(reader),
  } satisfies Partial<Config>;
}

function dataPath(reader: Reader, { readFile }: ConfigInput) {
  const markDefault = reader.get(MODE.mode) === "shared" ? SHARED_PACKET_MARK : undefined;
  const ipv6Enabled = reader.get(DATA_PATH.ipv6) && kernelHasIpv6(readFile);
  const { streamWindow, connectionWindow, frame } = DATA_PATH;
  return {
    packetMark: reader.get(DATA_PATH.packetMark) ?? markDefault,
    requireOriginalSource: reader.get(DATA_PATH.originalSource),
    localhostAppTunnel: reader.get(DATA_PATH.localhostAppTunnel),
    responseBaggage: reader.get(DATA_PATH.responseBaggage),
    ipv6Enabled,
    ipv6LoopbackEnabled: ipv6Enabled && loopbackHasIpv6(readFile),
    keepalive: {
      enabled: reader.get(DATA_PATH.keepalive),
      timeMs: reader.get(DATA_PATH.keepaliveTime),
      intervalMs: reader.get(DATA_PATH.keepaliveInterval),
      retries: reader.get(DATA_PATH.keepaliveRetries),
      userTimeoutEnabled: reader.get(DATA_PATH.userTimeout),
    },
    http2: {
      streamWindowBytes: reader.get(streamWindow),
      connectionWindowBytes: reader.get(connectionWindow),
      frameBytes: reader.get(frame),
      explicitStreamWindow: reader.isSet(streamWindow),
    },
    localWorkloadWaitMs: reader.get(DATA_PATH.localWorkloadWait),
    poolStreamsPerConnectionMax: reader.get(DATA_PATH.poolStreams),
    poolUnusedReleaseMs: reader.get(DATA_PATH.poolRelease),
    halfClosedLingerMs: reader.get(DATA_PATH.halfClosedLinger),
    idleTimeoutMs: reader.get(DATA_PATH.idleTimeout),
  } satisfies Partial<Config>;
}

function telemetry(reader: Reader) {
  const json = reader.get(TELEMETRY.logFormat) === "json";
  return {
    istioVersion: reader.get(TELEMETRY.istioVersion),
    logFilter: reader.get(TELEMETRY.logFilter),
    logFormat: json ? "json" : "plain",
    policyInfoLogging: reader.get(TELEMETRY.policyInfo) ?? false,
  } satisfies Partial<Config>;
}

/** undefined = nobody said; the key is the variable's, or the mesh metadata's without its prefix. */
function dnsCapture(mesh: ProxyConfig): boolean | undefined {
  const text = metadataOf(mesh, DNS.capture.name);
  return text === undefined ? undefined : text.toLowerCase() === "true";
}

function dnsAddress(
  reader: Reader,
  mesh: ProxyConfig,
  bindAddress: Config["bindAddress"],
): ConfigAddress {
  const text = metadataOf(mesh, DNS.address.name);
  const address = text === undefined ? reader.get(DNS.address) : reader.parse(DNS.address, text);
  if (bindAddress === undefined || address.kind !== "localhost") return address;
  return { kind: "address", address: { ip: bindAddress, port: address.port } };
}

function metadataOf({ proxyMetadata }: ProxyConfig, name: string): string | undefined {
  const key = name.slice(FAMILIES.meta.prefix.length);
  return Object.hasOwn(proxyMetadata, key) ? proxyMetadata[key] : undefined;
}

/** An explicit deadline, else what the pod's grace period leaves (behaviour.md C.9). */
function drainDeadlineMs(reader: Reader): number {
  const explicit = reader.get(MODE.drainDeadline);
  const graceSeconds = reader.get(MODE.gracePeriod);
  if (explicit !== undefined) return explicit;
  if (graceSeconds === undefined) return DRAIN_DEFAULT_MS;
  const reserve = graceSeconds > GRACE_LONG_SECONDS
    ? GRACE_RESERVE_LONG_SECONDS
    : GRACE_RESERVE_SECONDS;
  return Math.max(graceSeconds - reserve, 1) * 1_000;
}

function localSource(reader: Reader): LocalSource | undefined {
  const path = reader.get(CONTROL.localPath);
  if (path !== undefined) return { kind: "file", path };
  const text = reader.get(CONTROL.localText);
  return text === undefined ? undefined : { kind: "inline", text };
}

function ownWorkload(reader: Reader): WorkloadNames | undefined {
  const [name, namespace, serviceAccount] = [
    reader.get(PLACE.podName),
    reader.get(PLACE.podNamespace),
    reader.get(PLACE.serviceAccount),
  ];
  if (name === undefined || namespace === undefined || serviceAccount === undefined) {
    return undefined;
  }
  return { name, namespace, serviceAccount };
}

function metadataJson(reader: Reader): Record<string, unknown> {
  const pairs = reader.family(FAMILIES.metaJson).flatMap(([key, text]): [string, unknown][] => {
    try {
      return [[key, JSON.parse(text)]];
    } catch {
      reader.warn(`${FAMILIES.metaJson.prefix}${key} is not valid JSON and is skipped`);
      return [];
    }
  });
  return Object.fromEntries(pairs);
}

function authToken(
  reader: Reader,
  readFile: (path: string) => string | undefined,
): Config["authToken"] {
  const text = reader.text(CONTROL.authToken);
  if (text === undefined) {
    return exists(TOKEN_PATH, readFile) ? { kind: "file", value: TOKEN_PATH } : undefined;
  }
  // A token is base64url, so that a path can be told from it even before the file is there.
  if (/^\.{0,2}\//.test(text)) {
    if (!exists(text, readFile)) {
      reader.warn("AUTH_TOKEN names a file that cannot be read yet; it is read for every request");
    }
    return { kind: "file", value: text };
  }
  if (exists(text, readFile)) return { kind: "file", value: text };
  const token = text.replace(/[\r\n]+$/, "");
  if (token === "") reader.refuse(CONTROL.authToken, "is set, but empty");
  if (/[^\x20-\x7e\t]/.test(token)) {
    reader.refuse(CONTROL.authToken, "is neither a file nor text that a header can carry");
  }
  return { kind: "literal", value: token };
}

function exists(path: string, readFile: (path: string) => string | undefined): boolean {
  try {
    return path !== "" && readFile(path) !== undefined;
  } catch {
    return false; // Unreadable, or no path at all: a token is longer than any file name.
  }
}

/** A kernel started with `ipv6.disable=1` has the one file and not the other; where neither is there, nobody knows. */
function kernelHasIpv6(readFile: (path: string) => string | undefined): boolean {
  try {
    return readFile("/proc/net/if_inet6") !== undefined || readFile("/proc/net/dev") === undefined;
  } catch {
    return true;
  }
}

/** `::1` is left out only where the loopback device says so (behaviour.md 2.2). */
function loopbackHasIpv6(readFile: (path: string) => string | undefined): boolean {
  try {
    return readFile(DISABLE_IPV6_PATH)?.trim() !== "1";
  } catch {
    return true;
  }
}

/** The runtime offers its own key exchanges whatever one asks for, so that a wish for some is refused. */
function checkCompliance(reader: Reader): void {
  const policy = reader.get(CERTIFICATES.compliance);
  if (policy === undefined) return;
  const reason = policy === "pqc"
    ? "this runtime cannot restrict TLS to X25519MLKEM768, and ignoring the policy would be unsafe"
    : "is not a policy that we know, and ignoring it would be unsafe";
  reader.refuse(CERTIFICATES.compliance, reason);
}
