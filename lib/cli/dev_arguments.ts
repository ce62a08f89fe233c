import { SocketAddress } from "#values";

/** The options of `ztunnel dev` as they were typed. */
export interface DevArguments {
  /** A YAML to use instead of the one that comes with us. */
  readonly mesh?: string;
  /** True where no file is named. */
  readonly pods?: string | true;
  readonly controlPlaneOnly?: boolean;
  readonly listen: string;
  readonly controlPort: string;
  readonly files?: string;
  readonly token?: readonly string[];
  readonly workloads?: string;
  readonly services: string;
  readonly nodes: string;
}

export interface TokenOwner {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly node?: string;
}

/** The same, as they were meant. */
export interface DevSettings {
  readonly isControlPlaneOnly: boolean;
  readonly listen: SocketAddress;
  readonly controlPort: number;
  readonly folder: string | undefined;
  readonly tokens: readonly TokenOwner[];
  readonly source:
    | { readonly kind: "file"; readonly path: string }
    | {
      readonly kind: "generated";
      readonly size: {
        readonly workloads: number;
        readonly services: number;
        readonly nodes: number;
      };
    };
}

const PORT_MAX = 65_535;
const COUNT_MAX = 10_000_000;

/** Throws an Error that names the option that cannot be used. */
export function readArguments(typed: DevArguments, examplePath: string): DevSettings {
  const listen = SocketAddress.parse(typed.listen);
  if (listen === undefined) {
    throw new Error(`cannot use --listen ${typed.listen}: expected ip:port, as 127.0.0.1:15012`);
  }
  const { mesh, workloads, controlPlaneOnly = false } = typed;
  if (workloads !== undefined && mesh !== undefined) {
    throw new Error("--mesh and --workloads are two meshes: choose one");
  }
  if (workloads !== undefined && !controlPlaneOnly) {
    throw new Error("--workloads needs --control-plane-only: nobody could run that many proxies");
  }
  return {
    isControlPlaneOnly: controlPlaneOnly,
    listen,
    controlPort: whole("--control-port", typed.controlPort, 0, PORT_MAX),
    folder: typed.files,
    tokens: (typed.token ?? []).map(ownerOf),
    source: workloads === undefined ? { kind: "file", path: mesh ?? examplePath } : {
      kind: "generated",
      size: {
        workloads: whole("--workloads", workloads, 1, COUNT_MAX),
        services: whole("--services", typed.services, 1, COUNT_MAX),
        nodes: whole("--nodes", typed.nodes, 1, COUNT_MAX),
      },
    },
  };
}

function whole(option: string, text: string, min: number, max: number): number {
  const value = /^\d{1,8}$/.test(text) ? Number(text) : NaN;
  if (value >= min && value <= max) return value;
  throw new Error(`cannot use ${option} ${text}: expected a number from ${min} to ${max}`);
}

function ownerOf(text: string): TokenOwner {
  const [, namespace, serviceAccount, node] = /^([^/@]+)\/([^/@]+)(?:@([^/@]+))?$/.exec(text) ?? [];
  if (namespace === undefined || serviceAccount === undefined) {
    throw new Error(
      `cannot use --token ${text}: expected namespace/account or namespace/account@node`,
    );
  }
  return { namespace, serviceAccount, ...(node !== undefined && { node }) };
}
