import { Reader } from "./reader.ts";
import { TELEMETRY } from "./variables.ts";

/** The version in deno.json; a test holds the two together. */
const VERSION = "0.1.0";

/** What this build is, as far as it knows; the image sets the revision (behaviour.md 0.5 and 14.3). */
export interface BuildInfo {
  readonly version: string;
  readonly gitRevision: string;
  readonly istioVersion: string;
  readonly deno: string;
  readonly v8: string;
  readonly typescript: string;
}

export function buildInfo(env: Readonly<Record<string, string>>): BuildInfo {
  const reader = new Reader(env);
  return {
    version: VERSION,
    gitRevision: reader.get(TELEMETRY.gitRevision),
    istioVersion: reader.get(TELEMETRY.istioVersion),
    ...Deno.version,
  };
}
