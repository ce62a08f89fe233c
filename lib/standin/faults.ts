/** What goes wrong with an answer of the CA. */
export const CA_FAULTS = [
  /** UNAVAILABLE. */
  "down",
  /** No certificates at all. */
  "empty",
  /** A leaf and no root. */
  "no_root",
  /** PEM that is no certificate. */
  "garbage",
  /** A leaf whose time is over. */
  "expired",
  /** A leaf of a root that nobody knows. */
  "foreign",
  /** A leaf for a key that nobody has. */
  "other_key",
  /** A leaf for somebody else. */
  "other_name",
] as const;
export type CaFault = typeof CA_FAULTS[number];

/** What is wrong with the certificate that the control plane itself shows; it changes with the next start. */
export const SERVER_FAULTS = ["other_root", "other_name", "expired"] as const;
export type ServerFault = typeof SERVER_FAULTS[number];

/** What goes wrong; may be changed at any time, for what comes after. Everything is well at first. */
export interface Faults {
  /** Each xDS response waits so long. */
  answerDelayMs: number;
  /** The resources of a response come in the opposite order, and responses in pairs, the later one first. */
  reorder: boolean;
  /** An unknown field of this length in each response; above 200 MiB a client must refuse it. */
  paddingBytes: number;
  /** A larger request ends its stream with RESOURCE_EXHAUSTED; istiod's limit is 4 MiB. */
  requestBytesMax: number;
  /** New streams end with this status before anything is said. */
  refuseStreams: { readonly code: number; readonly details: string } | undefined;
  /** Every token is taken for one that has expired. */
  tokensExpired: boolean;
  ca: CaFault | undefined;
  /** Each certificate waits so long. */
  caDelayMs: number;
  ofServer: ServerFault | undefined;
}

const REQUEST_BYTES_MAX = 4 * 1024 * 1024;

export function noFaults(): Faults {
  return {
    answerDelayMs: 0,
    reorder: false,
    paddingBytes: 0,
    requestBytesMax: REQUEST_BYTES_MAX,
    refuseStreams: undefined,
    tokensExpired: false,
    ca: undefined,
    caDelayMs: 0,
    ofServer: undefined,
  };
}

/** Resources that a client must refuse by name while it takes the rest. */
export const POISONS = ["garbage", "no_payload", "short_address", "legacy_tunnel"] as const;
export type Poison = typeof POISONS[number];
