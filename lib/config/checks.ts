/**
 * Settings that are fine alone and wrong together, or wrong where we are (behaviour.md 1.4, C.12).
 * @module
 */
import { Ip } from "#values";
import type { Config, RootSource } from "./config.ts";
import type { Reader } from "./reader.ts";
import { CERTIFICATES, CONTROL, DNS, MODE, PLACE, type Variable } from "./variables.ts";

type ReadFile = (path: string) => string | undefined;

export function checkTogether(
  reader: Reader,
  config: Config,
  dnsWanted: boolean | undefined,
): void {
  if (config.xdsOnDemand && (config.dnsProxy || dnsWanted === true)) {
    reader.refuse(
      CONTROL.xdsOnDemand,
      `cannot go together with the DNS proxy (${DNS.capture.name})`,
    );
  }
  if (!config.proxy && !config.dnsProxy && !reader.isWrong(MODE.proxy)) {
    reader.refuse(MODE.proxy, "neither the proxy nor the DNS proxy would run");
  }
  if (reader.isSet(CONTROL.localPath) && reader.isSet(CONTROL.localText)) {
    const reason = "LOCAL_XDS_PATH and LOCAL_XDS are both set: only one can be the mesh";
    reader.refuse(CONTROL.localPath, reason);
  }
  if (config.proxyMode === "dedicated" && !reader.isSet(MODE.workload)) {
    reader.refuse(MODE.workload, "is required in dedicated mode, as namespace/name/serviceAccount");
  }
  if (config.xdsAddress === undefined && config.localSource === undefined) {
    reader.warn(
      "XDS_ADDRESS is empty, and neither LOCAL_XDS_PATH nor LOCAL_XDS is set: the mesh is empty",
    );
  }
  checkBindAddress(reader, config);
  checkPorts(reader, config);
}

/** Anyone holds the key of the test authority, so that it may only be used where nobody else is (18, 9.1). */
export function checkFakeCa(reader: Reader, config: Config): void {
  if (!config.fakeCa) return;
  const reasons = [
    ...(reader.isSet(PLACE.kubernetes) ? [`${PLACE.kubernetes.name} is set`] : []),
    ...(config.proxyMode === "shared" && !reader.isWrong(MODE.mode) ? ["the mode is shared"] : []),
    ...(config.xdsAddress !== undefined ? ["XDS_ADDRESS is not empty"] : []),
  ];
  if (reasons.length === 0) return;
  reader.refuse(
    CERTIFICATES.fakeCa,
    `${
      reasons.join(" and ")
    }: the test authority's key is public, so that anyone could pose as every workload`,
  );
}

/** A *missing* root file does not fail the start (18.28): it is read again for every connection. */
export function checkRoots(reader: Reader, config: Config, readFile: ReadFile): void {
  if (config.xdsAddress !== undefined) check(CONTROL.xdsRoot, config.xdsRoot);
  if (config.caAddress !== undefined) check(CONTROL.caRoot, config.caRoot);

  function check(variable: Variable<unknown>, root: RootSource): void {
    if (root.kind !== "file") return;
    try {
      const text = readFile(root.path);
      if (text === undefined) {
        reader.warn(
          `${variable.name}: ${root.path} does not exist yet; it is read for every connection`,
        );
      } else if (!text.includes("-----BEGIN CERTIFICATE-----")) {
        reader.refuse(variable, "the file holds no PEM certificate", root.path);
      }
    } catch (error) {
      reader.refuse(variable, `cannot be read: ${messageOf(error)}`, root.path);
    }
  }
}

/** The library of the runtime would honour these behind our back. */
export function checkRuntimeEnvironment(
  reader: Reader,
  env: Readonly<Record<string, string>>,
): void {
  if (env["NODE_TLS_REJECT_UNAUTHORIZED"] === "0") {
    reader.warn(
      "NODE_TLS_REJECT_UNAUTHORIZED=0 changes nothing here: certificates are always verified; unset it",
    );
  }
  for (const name of ["NODE_EXTRA_CA_CERTS", "DENO_CERT"]) {
    if (env[name]) reader.warn(`${name} is set: the runtime trusts more roots than the system's`);
  }
  if (env["SSLKEYLOGFILE"]) {
    reader.warn("SSLKEYLOGFILE is set: whoever reads that file may be able to decrypt traffic");
  }
}

function checkBindAddress(reader: Reader, config: Config): void {
  const { bindAddress } = config;
  if (bindAddress === undefined || reader.isWrong(MODE.mode)) return;
  const refuse = (reason: string) => reader.refuse(MODE.bindAddress, reason);
  if (config.proxyMode === "shared") refuse("can only be used in dedicated mode");
  const family = Ip.family(bindAddress);
  if (bindAddress === Ip.unspecified(family)) refuse("must be one address: dials leave from it");
  if (family === 6 && !config.ipv6Enabled) refuse("is an IPv6 address, but IPV6_ENABLED is false");
  if (!Ip.isLoopback(bindAddress)) {
    reader.warn(
      `${MODE.bindAddress.name}=${bindAddress}: the admin server and SOCKS5 have no login ` +
        "and will answer anyone who reaches this address",
    );
  }
}

/** Two listeners on one port would fail later, with a message that names neither setting. */
function checkPorts(reader: Reader, config: Config): void {
  const { admin, stats, socks5, ...fixed } = config.ports;
  const taken = new Map<number, string>(
    Object.entries({ ...fixed, ...(config.socks5 ? { socks5 } : {}) })
      .map(([name, port]) => [port, `the ${name} listener`]),
  );
  take("proxyAdminPort", admin);
  take("statsPort", stats);
  if (config.dnsProxy) take(DNS.address.name, dnsPort(config));

  function take(variable: string, port: number): void {
    const other = taken.get(port);
    taken.set(port, variable);
    if (port === 0 || other === undefined) return; // The kernel picks a free one for 0.
    reader.refuseNamed({ variable, value: String(port), reason: `the port is that of ${other}` });
  }
}

function dnsPort({ dnsAddress }: Config): number {
  return dnsAddress.kind === "localhost" ? dnsAddress.port : dnsAddress.address.port;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
