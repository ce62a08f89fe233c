/**
 * Certificates of local workloads: who has one, when it is renewed, where it comes from.
 *
 * Owns: the manager, the schedule, the authorities (the mesh's CA, the development CA). Never:
 * TLS. Runs on: control.
 *
 * @module
 */
export type { Authority, CertificateState } from "./authority.ts";
export { CertManager, type CertManagerOptions, type Priority } from "./manager.ts";
export { createDevAuthority } from "./dev_authority.ts";
export {
  type CaAuthorityOptions,
  type CaClient,
  type CaRequest,
  createCaAuthority,
} from "./ca_authority.ts";
export { type CaClientOptions, createCaClient } from "./ca_client.ts";
export { type CrlFile, type CrlFileOptions, followCrlFile } from "./crl_file.ts";
export { type LocalRecord, type PodNames, Prefetch, type PrefetchOptions } from "./prefetch.ts";
export { DEV_ROOT_PEM } from "./dev_root.ts";
export { type CertificateDump, certificateDump, type CertificateEntry } from "./dump.ts";
