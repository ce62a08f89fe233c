/**
 * Every environment variable, once (behaviour.md 1.2): parsing, `help` and the check for unknown names come from
 * this table.
 * @module
 */
import {
  BOOL,
  CONTROL_PLANE,
  CPU_QUANTITY,
  DNS_ADDRESS,
  DURATION,
  DURATION_OF_SECONDS,
  integer,
  IP,
  type Kind,
  NONEMPTY_TEXT,
  oneOf,
  PRESENCE,
  ROOT,
  TEXT,
  TEXT_OR_UNSET,
  THREADS,
  TRUE_OR_OFF,
  U32,
  U64,
  WORKLOAD,
} from "./kinds.ts";

export interface Variable<T> {
  readonly name: string;
  readonly kind: Kind<T>;
  /** Parsed like any other text when the variable is not set; undefined if the default is not a fixed text. */
  readonly fallback: string | undefined;
  /** What `help` says of a default that is computed. */
  readonly computed: string | undefined;
  readonly meaning: string;
  /** The value may hold a secret, so that no message shows it. */
  readonly hidden: boolean;
}
export interface Defaulted<T> extends Variable<T> {
  readonly fallback: string;
}
/** Variables that share a beginning, e.g. XDS_HEADER_<name>. */
export interface Family {
  readonly prefix: string;
  readonly label: string;
  readonly meaning: string;
}

function fixed<T>(name: string, kind: Kind<T>, fallback: string, meaning: string): Defaulted<T> {
  return { name, kind, fallback, computed: undefined, meaning, hidden: false };
}
function open<T>(
  name: string,
  kind: Kind<T>,
  meaning: string,
  also: { readonly computed?: string; readonly hidden?: boolean } = {},
): Variable<T> {
  const { computed, hidden = false } = also;
  return { name, kind, fallback: undefined, computed, meaning, hidden };
}

const HTTP2_WINDOW_BYTES_MAX = 2 ** 31 - 1; // RFC 9113 section 6.9.1
const HTTP2_WINDOW_BYTES_DEFAULT = 65_535; // RFC 9113 section 6.9.2: a connection's cannot be made smaller
const HTTP2_FRAME_BYTES_MIN = 16_384; // RFC 9113 section 4.2
const HTTP2_FRAME_BYTES_MAX = 2 ** 24 - 1;

const STREAM_WINDOW_BYTES = integer(1, HTTP2_WINDOW_BYTES_MAX, "bytes");
const CONNECTION_WINDOW_BYTES = integer(
  HTTP2_WINDOW_BYTES_DEFAULT,
  HTTP2_WINDOW_BYTES_MAX,
  "bytes",
);
const FRAME_BYTES = integer(HTTP2_FRAME_BYTES_MIN, HTTP2_FRAME_BYTES_MAX, "bytes");

const ROOT_PATH = "./var/run/secrets/istio/root-cert.pem";
export const TOKEN_PATH = "./var/run/secrets/tokens/istio-token";

export const MODE = {
  proxy: fixed("ENABLE_PROXY", BOOL, "true", "Run the TCP proxy."),
  mode: fixed(
    "PROXY_MODE",
    oneOf("shared", "dedicated"),
    "shared",
    "One proxy for each pod of a node, or one for this machine.",
  ),
  workload: open("PROXY_WORKLOAD_INFO", WORKLOAD, "Who we speak for; required in dedicated mode."),
  bindAddress: open(
    "ZTUNNEL_BIND_ADDRESS",
    IP,
    "Dedicated mode: every listener binds this address (admin and SOCKS5 too), and dials leave from it.",
  ),
  exitWithParent: fixed(
    "ZTUNNEL_EXIT_WITH_PARENT",
    BOOL,
    "false",
    "End when the process that started us ends.",
  ),
  drainDeadline: open("CONNECTION_TERMINATION_DEADLINE", DURATION, "Drain for at most this long.", {
    computed: "from TERMINATION_GRACE_PERIOD_SECONDS",
  }),
  gracePeriod: open(
    "TERMINATION_GRACE_PERIOD_SECONDS",
    U64,
    "The pod's: drain for 5 s less if it is above 10, else 1 s less, but at least 1 s; 5 s without it.",
  ),
  socks5: fixed("UNSTABLE_ENABLE_SOCKS5", BOOL, "false", "SOCKS5 on 127.0.0.1:15080."),
  inpodUds: fixed(
    "INPOD_UDS",
    NONEMPTY_TEXT,
    "/var/run/ztunnel/ztunnel.sock",
    "Socket of the CNI agent (shared mode).",
  ),
  inpodPortReuse: fixed("INPOD_PORT_REUSE", BOOL, "true", "SO_REUSEPORT on listeners in pods."),
} as const;

export const CONTROL = {
  xdsAddress: open("XDS_ADDRESS", CONTROL_PLANE, "Where the mesh comes from; empty is off.", {
    computed: "discoveryAddress of the mesh config, else istiod",
  }),
  caAddress: open("CA_ADDRESS", CONTROL_PLANE, "Who signs certificates.", { computed: "istiod" }),
  xdsRoot: fixed("XDS_ROOT_CA", ROOT, ROOT_PATH, "Roots for XDS_ADDRESS."),
  caRoot: fixed("CA_ROOT_CA", ROOT, ROOT_PATH, "Roots for CA_ADDRESS."),
  altXdsHostname: open(
    "ALT_XDS_HOSTNAME",
    TEXT_OR_UNSET,
    "One more name that its certificate may carry.",
  ),
  altCaHostname: open(
    "ALT_CA_HOSTNAME",
    TEXT_OR_UNSET,
    "One more name that its certificate may carry.",
  ),
  authToken: open("AUTH_TOKEN", TEXT, "File with our token, or the token itself.", {
    computed: `${TOKEN_PATH} if it exists`,
    hidden: true,
  }),
  xdsOnDemand: fixed("XDS_ON_DEMAND", BOOL, "false", "Fetch addresses when they are first needed."),
  localPath: open("LOCAL_XDS_PATH", NONEMPTY_TEXT, "A mesh in a YAML file."),
  localText: open("LOCAL_XDS", TEXT, "A mesh as YAML text.", { hidden: true }),
  proxyConfig: open("PROXY_CONFIG", TEXT, "A ProxyConfig as YAML or JSON; over the mesh config.", {
    hidden: true,
  }),
} as const;

/** Names in common use: a near miss of one of these is more likely another program's variable. */
export const PLACE = {
  kubernetes: open("KUBERNETES_SERVICE_HOST", PRESENCE, "Set inside Kubernetes: istiod is there."),
  clusterId: fixed("CLUSTER_ID", TEXT, "Kubernetes", "Our cluster."),
  metaClusterId: open("ISTIO_META_CLUSTER_ID", TEXT, "Our cluster; wins over CLUSTER_ID."),
  clusterDomain: fixed("CLUSTER_DOMAIN", TEXT, "cluster.local", "DNS domain of the cluster."),
  network: fixed("NETWORK", TEXT, "", "Network of this node."),
  nodeName: open("NODE_NAME", TEXT, "This node; without it every workload counts as local."),
  podName: open("POD_NAME", TEXT, "Our own pod."),
  podNamespace: open("POD_NAMESPACE", TEXT, "Its namespace."),
  serviceAccount: open("SERVICE_ACCOUNT", TEXT, "Its service account."),
  trustDomain: fixed("TRUST_DOMAIN", TEXT, "cluster.local", "Of our own identity."),
  instanceIp: open("INSTANCE_IP", TEXT_OR_UNSET, "Our address in the xDS node id.", {
    computed: "1.1.1.1",
  }),
  inpodEnabled: open("INPOD_ENABLED", TEXT, "Set by the chart; ignored."),
  backtrace: open("RUST_BACKTRACE", TEXT, "Set by the chart; ignored."),
} as const;

export const CERTIFICATES = {
  secretTtl: fixed("SECRET_TTL", DURATION_OF_SECONDS, "24h", "Lifetime that we ask for."),
  fakeCa: fixed(
    "FAKE_CA",
    BOOL,
    "false",
    "Built-in test authority, whose key is public: never on a network that matters.",
  ),
  crlPath: open("CRL_PATH", TEXT_OR_UNSET, "Revocation lists to hold peers to."),
  tls12: open("TLS12_ENABLED", TRUE_OR_OFF, "Allow TLS 1.2 too.", { computed: "off" }),
  compliance: open(
    "COMPLIANCE_POLICY",
    TEXT_OR_UNSET,
    "pqc: only the X25519MLKEM768 key exchange.",
    {
      computed: "off",
    },
  ),
} as const;

export const DATA_PATH = {
  packetMark: open("PACKET_MARK", U32, "SO_MARK of our sockets.", {
    computed: "1337 in shared mode, none in dedicated mode",
  }),
  originalSource: open("ENABLE_ORIG_SRC", BOOL, "Keep the client's address towards applications.", {
    computed: "where the socket option can be set",
  }),
  localhostAppTunnel: fixed(
    "LOCALHOST_APP_TUNNEL",
    BOOL,
    "true",
    "Reach PROXY protocol workloads on loopback.",
  ),
  responseBaggage: fixed(
    "ENABLE_RESPONSE_BAGGAGE",
    BOOL,
    "true",
    "Send baggage on answers and trust it on requests.",
  ),
  ipv6: fixed("IPV6_ENABLED", BOOL, "true", "Listen on :: and answer AAAA."),
  keepalive: fixed("KEEPALIVE_ENABLED", BOOL, "true", "TCP keepalive."),
  keepaliveTime: fixed("KEEPALIVE_TIME", DURATION, "180s", "Idle time before the first probe."),
  keepaliveInterval: fixed("KEEPALIVE_INTERVAL", DURATION, "180s", "Between two probes."),
  keepaliveRetries: fixed("KEEPALIVE_RETRIES", U32, "9", "Probes before the peer counts as dead."),
  userTimeout: fixed(
    "USER_TIMEOUT_ENABLED",
    BOOL,
    "false",
    "TCP_USER_TIMEOUT of time + retries x interval.",
  ),
  streamWindow: fixed(
    "HTTP2_STREAM_WINDOW_SIZE",
    STREAM_WINDOW_BYTES,
    "4194304",
    "HBONE receive window of a stream: if set, from its start; else it grows from 256 KiB to the default.",
  ),
  connectionWindow: fixed(
    "HTTP2_CONNECTION_WINDOW_SIZE",
    CONNECTION_WINDOW_BYTES,
    "16777216",
    "HBONE receive window of a connection: what stalled streams can make us hold for it.",
  ),
  frame: fixed("HTTP2_FRAME_SIZE", FRAME_BYTES, "1048576", "Largest HBONE frame that we take."),
  localWorkloadWait: fixed(
    "ZTUNNEL_LOCAL_WORKLOAD_WAIT",
    DURATION,
    "5s",
    "How long a connection waits for the control plane to tell of its own pod.",
  ),
  poolStreams: fixed(
    "POOL_MAX_STREAMS_PER_CONNECTION",
    integer(1, 0xffff, "u16"),
    "100",
    "Streams of one pooled connection.",
  ),
  poolRelease: fixed(
    "POOL_UNUSED_RELEASE_TIMEOUT",
    DURATION,
    "5m",
    "Idle time before a pooled connection goes.",
  ),
  halfClosedLinger: fixed(
    "ZTUNNEL_HALF_CLOSED_LINGER",
    DURATION,
    "10m",
    "End half-closed connections on which no byte moves for so long; 0s is never.",
  ),
  idleTimeout: fixed(
    "ZTUNNEL_IDLE_TIMEOUT",
    DURATION,
    "0s",
    "End any connection on which no byte moves for so long; 0s is never.",
  ),
} as const;

export const DNS = {
  capture: open(
    "ISTIO_META_DNS_CAPTURE",
    TEXT,
    "Answer the pods' DNS questions (true in any case).",
    {
      computed: "off in this version",
    },
  ),
  address: fixed(
    "ISTIO_META_DNS_PROXY_ADDR",
    DNS_ADDRESS,
    "localhost:15053",
    "Where the DNS server listens.",
  ),
  preferredNamespace: open(
    "PREFERED_SERVICE_NAMESPACE",
    TEXT,
    "Namespace that wins when a name is in several (spelt with one R, as in ztunnel).",
  ),
} as const;

export const THREADING = {
  threads: open(
    "ZTUNNEL_WORKER_THREADS",
    THREADS,
    "Threads that serve connections; 0 is one for each CPU.",
    {
      computed: "a quarter of the CPUs, at least 2",
    },
  ),
  inline: fixed(
    "ZTUNNEL_INLINE",
    BOOL,
    "false",
    "Serve connections on the main thread, with no others; for the smallest nodes.",
  ),
  cpuLimit: open("ZTUNNEL_CPU_LIMIT", U32, "CPUs that we may use, instead of those we see."),
  resourceLimit: open("ZTUNNEL_RESOURCE_CPU_LIMIT", CPU_QUANTITY, "The container's CPU limit."),
  resourceRequest: open(
    "ZTUNNEL_RESOURCE_CPU_REQUEST",
    CPU_QUANTITY,
    "The container's CPU request.",
  ),
} as const;

export const TELEMETRY = {
  logFilter: fixed("RUST_LOG", TEXT, "info", "Log filter, e.g. info,access=debug."),
  logFormat: open("LOG_FORMAT", TEXT, "json for JSON lines.", { computed: "plain" }),
  policyInfo: open("AUTHZ_POLICY_INFO_LOGGING", TRUE_OR_OFF, "Policy logs at info, not debug.", {
    computed: "off",
  }),
  gitRevision: fixed(
    "ZTUNNEL_GIT_REVISION",
    TEXT,
    "unknown",
    "Set in the image: what it was built from.",
  ),
  istioVersion: fixed("ISTIO_META_ISTIO_VERSION", TEXT, "unknown", "Our version in metrics."),
} as const;

export const FAMILIES = {
  xdsHeader: {
    prefix: "XDS_HEADER_",
    label: "text",
    meaning: "One more header for the xDS stream.",
  },
  caHeader: {
    prefix: "CA_HEADER_",
    label: "text",
    meaning: "One more header for certificate requests.",
  },
  metaJson: { prefix: "ISTIO_METAJSON_", label: "JSON", meaning: "Metadata of the xDS node." },
  meta: { prefix: "ISTIO_META_", label: "text", meaning: "Metadata of the xDS node." },
} as const satisfies Record<string, Family>;

/** In the order in which `help` shows them. */
export const GROUPS: readonly (readonly [string, Readonly<Record<string, Variable<unknown>>>])[] = [
  ["What runs", MODE],
  ["Control plane", CONTROL],
  ["Where we are", PLACE],
  ["Certificates", CERTIFICATES],
  ["Data path", DATA_PATH],
  ["DNS", DNS],
  ["Threads", THREADING],
  ["Logs and metrics", TELEMETRY],
];

export const ALL_VARIABLES: readonly Variable<unknown>[] = GROUPS.flatMap(([, group]) =>
  Object.values(group)
);
