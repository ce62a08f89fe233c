/** Every metric there is, in the order of the text (behaviour.md 13.1 to 13.6). */

export interface Family {
  readonly type: "counter" | "gauge";
  /** "(unstable)" is said of all that operators must not rely on yet. */
  readonly help: string;
  /** The name's last word, where the reference states it. */
  readonly unit?: string;
  readonly labels: readonly string[];
}

/** behaviour.md 13.2. */
const TRAFFIC_LABELS = [
  "reporter",
  "source_workload",
  "source_canonical_service",
  "source_canonical_revision",
  "source_workload_namespace",
  "source_principal",
  "source_app",
  "source_version",
  "source_cluster",
  "destination_service",
  "destination_service_namespace",
  "destination_service_name",
  "destination_workload",
  "destination_canonical_service",
  "destination_canonical_revision",
  "destination_workload_namespace",
  "destination_principal",
  "destination_app",
  "destination_version",
  "destination_cluster",
  "request_protocol",
  "response_flags",
  "connection_security_policy",
  "source_region",
  "source_zone",
  "destination_region",
  "destination_zone",
] as const;

/** behaviour.md 13.6. */
const DNS_LABELS = [
  "request_query_type",
  "request_protocol",
  "source_canonical_service",
  "source_canonical_revision",
] as const;

function counter(help: string, labels: readonly string[] = [], unit?: string): Family {
  return { type: "counter", help, labels, ...(unit === undefined ? {} : { unit }) };
}

function gauge(help: string, labels: readonly string[] = []): Family {
  return { type: "gauge", help, labels };
}

/** Names are those of OpenMetrics: a counter's samples end in `_total`, its family does not. */
export const FAMILIES = {
  process_open_fds: gauge("Number of open file descriptors"),
  process_max_fds: gauge("Maximum number of file descriptors"),
  tokio_num_workers: gauge("the number of worker threads used by the runtime"),
  tokio_global_queue_depth: gauge(
    "the number of tasks currently scheduled in the runtime's global queue",
  ),
  tokio_num_alive_tasks: gauge("the number of alive tasks in the runtime"),
  istio_build: gauge("Istio component build info.", ["component", "tag"]),
  istio_xds_connection_terminations: counter(
    "The total number of completed connections to xds server (unstable).",
    ["reason"],
  ),
  istio_xds_message: counter("Total number of messages received (unstable).", ["url"]),
  istio_xds_message_bytes: counter(
    "Total number of bytes received (unstable).",
    ["url"],
    "bytes",
  ),
  istio_tcp_connections_opened: counter(
    "The total number of TCP connections opened.",
    TRAFFIC_LABELS,
  ),
  istio_tcp_connections_closed: counter(
    "The total number of TCP connections closed.",
    TRAFFIC_LABELS,
  ),
  istio_tcp_connections_failed: counter(
    "The total number of TCP connections that failed to establish (unstable).",
    TRAFFIC_LABELS,
  ),
  istio_tcp_received_bytes: counter(
    "The size of total bytes received during request in case of a TCP connection.",
    TRAFFIC_LABELS,
  ),
  istio_tcp_sent_bytes: counter(
    "The size of total bytes sent during response in case of a TCP connection.",
    TRAFFIC_LABELS,
  ),
  istio_tcp_sockets_open: gauge("The current number of open TCP sockets (unstable).", ["reporter"]),
  istio_on_demand_dns: counter(
    "The total number of requests that used on-demand DNS (unstable).",
    [...TRAFFIC_LABELS.slice(1, 9), "hostname"],
  ),
  istio_crl_policy_rejections: counter(
    "The total number of peers refused because of a CRL (unstable).",
    ["reporter"],
  ),
  istio_crl_untracked_connections: counter(
    "The total number of connections that a new CRL could not be checked against (unstable).",
    ["reporter"],
  ),
  istio_dns_requests: counter("Total number of DNS requests (unstable).", DNS_LABELS),
  istio_dns_upstream_requests: counter(
    "Total number of DNS requests forwarded to upstream (unstable).",
    DNS_LABELS,
  ),
  istio_dns_upstream_failures: counter(
    "Total number of DNS requests that failed to forward upstream (unstable).",
    DNS_LABELS,
  ),
  workload_manager_active_proxy_count: gauge(
    "The total number current workloads with active proxies (unstable).",
  ),
  workload_manager_pending_proxy_count: gauge(
    "The total number current workloads with pending proxies (unstable).",
  ),
  workload_manager_proxies_started: counter("The total number of proxies started (unstable)."),
  workload_manager_proxies_stopped: counter("The total number of proxies stopped (unstable)."),
  // Ours: how fresh the mesh is, and how much of it was refused.
  ztunnel_xds_connected: gauge("Whether the xds server is connected, 1 or 0 (unstable)."),
  ztunnel_xds_connected_since_seconds: gauge(
    "Unix time since which the xds server is connected (unstable).",
  ),
  ztunnel_xds_staleness_seconds: gauge(
    "Seconds for which no update could have been received, 0 while connected (unstable).",
  ),
  ztunnel_xds_resources: gauge("The number of resources held (unstable).", ["url"]),
  ztunnel_xds_last_ack_seconds: gauge(
    "Unix time of the last response that was accepted as a whole (unstable).",
    ["url"],
  ),
  ztunnel_xds_last_nack_seconds: gauge(
    "Unix time of the last response of which something was refused (unstable).",
    ["url"],
  ),
  ztunnel_xds_resources_received: counter("Total number of resources received (unstable).", [
    "url",
  ]),
  ztunnel_xds_resources_rejected: counter("Total number of resources refused (unstable).", [
    "url",
  ]),
  // Ours: what peers did too often, and what sockets are doing.
  hbone_flood_violations: counter(
    "The total number of peers cut off for too much of one thing, by kind (unstable).",
    ["kind"],
  ),
  hbone_window_growth_bytes: gauge(
    "The number of bytes by which windows of streams have grown beyond their first size, of at most 64 MiB (unstable).",
  ),
  ztunnel_sockets: gauge(
    "The current number of sockets by what they are doing (unstable).",
    ["reporter", "state"],
  ),
  ztunnel_data_thread_silence_seconds: gauge(
    "Seconds for which a data thread has not answered the main thread, 0 while it does (unstable).",
    ["thread"],
  ),
  // Ours, absent until it happens: what Prometheus cannot see by itself.
  ztunnel_metrics_series_evicted: counter(
    "The total number of idle series that were forgotten (unstable).",
  ),
  ztunnel_metrics_series_overflowed: counter(
    "The total number of label sets counted as overflow for lack of room (unstable).",
  ),
} satisfies Readonly<Record<string, Family>>;

export type FamilyName = keyof typeof FAMILIES;

/** In the order of the text. */
export const FAMILY_NAMES = Object.keys(FAMILIES) as readonly FamilyName[];

/** The family's declaration, its literal type forgotten. */
export function familyOf(name: FamilyName): Family {
  return FAMILIES[name];
}
