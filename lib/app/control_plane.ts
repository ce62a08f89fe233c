/**
 * From Config to the servers of the control plane and what they learn of us.
 * @module
 */
import { type Authority, createCaAuthority, createCaClient, createDevAuthority } from "#certs";
import type { Config } from "#config";
import { CONTROL_KEEPALIVE } from "#grpc";
import { createKernel } from "#linux";
import type { Log } from "#log";
import type { Dialer } from "#stream";
import type { Clock } from "#system";
import type { NodeFacts, XdsOptions } from "#xds";

type Endpoint = XdsOptions["endpoint"];

/** Where the mesh comes from (behaviour.md 3.1); undefined where XDS_ADDRESS is empty. */
export function xdsEndpoint(config: Config): Endpoint | undefined {
  const { xdsAddress: url, xdsRoot: roots, altXdsHostname: altHostname } = config;
  if (url === undefined) return undefined;
  return { url, roots, altHostname, headers: config.xdsHeaders, ...ourselves(config) };
}

/** Who signs (behaviour.md 9.1); undefined with FAKE_CA. */
export function caEndpoint(config: Config): Endpoint | undefined {
  const { caAddress: url, caRoot: roots, altCaHostname: altHostname } = config;
  if (url === undefined) return undefined;
  return { url, roots, altHostname, headers: config.caHeaders, ...ourselves(config) };
}

/** behaviour.md 3.2. */
export function nodeFacts(config: Config): NodeFacts {
  return {
    instanceIp: config.instanceIp,
    podName: config.podName,
    podNamespace: config.podNamespace,
    nodeName: config.localNode,
    metadata: config.proxyMetadata,
    metadataJson: config.proxyMetadataJson,
  };
}

/** How the control plane is reached (behaviour.md 3.1): from our own address, without the data plane's mark. */
export function controlDialer(clock: Clock): Dialer {
  return createKernel({ clock }).dialer({ keepalive: CONTROL_KEEPALIVE });
}

/** The mesh's CA, or the development one. Dispose it with whoever asks it. */
export async function createAuthority(
  config: Config,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): Promise<Authority & Disposable> {
  const endpoint = caEndpoint(config);
  if (endpoint === undefined) {
    const authority = await createDevAuthority(clock);
    return { sign: (identity, ms) => authority.sign(identity, ms), [Symbol.dispose]: () => {} };
  }
  const client = createCaClient({ endpoint, clock, dialer: controlDialer(clock), log });
  const authority = createCaAuthority({
    client,
    clock,
    log,
    // In dedicated mode the token says whose certificate it is (behaviour.md 10.12).
    impersonates: config.proxyMode === "shared",
  });
  return {
    sign: (identity, lifetimeMs) => authority.sign(identity, lifetimeMs),
    [Symbol.dispose]: () => client[Symbol.dispose](),
  };
}

function ourselves({ authToken: token, clusterId, tls12Enabled: allowTls12 }: Config) {
  return { token, clusterId, allowTls12 };
}
