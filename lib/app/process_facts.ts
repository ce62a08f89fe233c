/**
 * What the process says of itself: version, file descriptors, threads.
 * @module
 */
import type { Config } from "#config";
import { OpenFiles } from "#linux";
import type { Metrics } from "#metrics";

/** One line; the shape of ztunnel's own, so that whoever reads it out of logs finds the fields. */
export function describeProcess(config: Config): string {
  const fields = Object.entries(versionFields(config)).map(([name, value]) =>
    `${name[0]!.toUpperCase()}${name.slice(1)}:"${value}"`
  );
  return `version.BuildInfo{${fields.join(", ")}}`;
}

/** `version` of the config dump (behaviour.md 14.3); what names Rust there names our runtime here. */
export function versionFields({ build, istioVersion }: Config): Record<string, string> {
  return {
    version: build.version,
    gitRevision: build.gitRevision,
    rustVersion: `deno ${build.deno}`,
    buildProfile: "release",
    buildStatus: "Clean",
    istioVersion,
    cryptoProvider: "tls-aws-lc",
  };
}

/** The gauges that are asked at each scrape, and istio_build. */
export function declareMetrics(metrics: Metrics, config: Config, threadsCount: number): void {
  metrics.gauge("process_open_fds", [], OpenFiles.count);
  metrics.gauge("process_max_fds", [], OpenFiles.limit);
  // Of the reference's runtime metrics only this one has a meaning here (behaviour.md 13.5).
  metrics.gauge("tokio_num_workers", [], () => threadsCount);
  metrics.gauge("istio_build", ["ztunnel", config.istioVersion], () => 1);
}
