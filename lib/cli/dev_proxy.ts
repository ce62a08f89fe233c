/**
 * One proxy of `dev`, in dedicated mode on an address of loopback.
 * @module
 */
import type { Clock } from "#system";
import { type RunningProxy, startChild } from "./dev_child.ts";
import type { ProxyLine } from "./dev_lines.ts";
import type { DevProxy } from "./dev_plan.ts";

/** Where a proxy finds its control plane, and what it shows there. */
export interface ControlPlaneAccess {
  /** Of xDS and of the CA. */
  readonly url: string;
  readonly rootsPath: string;
  readonly tokenPath: string;
}

/** Starts `proxy` on its loopback address; its mesh and its certificate come from the control plane. */
export function startProxy(
  proxy: DevProxy,
  access: ControlPlaneAccess,
  clock: Clock,
  onLine: (line: ProxyLine) => void,
): RunningProxy {
  const { name, namespace, serviceAccount } = proxy.workload;
  return startChild({
    name: `the proxy of "${name}"`,
    readyUrl: `http://${proxy.ip}:15021/healthz/ready`,
    env: {
      PROXY_MODE: "dedicated",
      PROXY_WORKLOAD_INFO: `${namespace}/${name}/${serviceAccount}`,
      XDS_ADDRESS: access.url,
      CA_ADDRESS: access.url,
      XDS_ROOT_CA: access.rootsPath,
      CA_ROOT_CA: access.rootsPath,
      AUTH_TOKEN: access.tokenPath,
      CLUSTER_ID: proxy.workload.clusterId || "Kubernetes",
      POD_NAME: name,
      POD_NAMESPACE: namespace,
      INSTANCE_IP: proxy.ip,
      UNSTABLE_ENABLE_SOCKS5: "true",
      ENABLE_ORIG_SRC: "false",
      NODE_NAME: proxy.workload.node,
      NETWORK: proxy.workload.network,
      RUST_LOG: "info",
      LOG_FORMAT: "json",
      ZTUNNEL_BIND_ADDRESS: proxy.ip,
      // A few connections of one person: no threads beside the main one, for less memory.
      ZTUNNEL_INLINE: "true",
    },
    clock,
    onLine,
  });
}
