import type { JsonObject, JsonValue, MessageInitShape } from "@bufbuild/protobuf";
import type { NodeSchema } from "#proto/xds_pb.ts";

/** Who we are, as the environment says (behaviour.md 1.2). */
export interface NodeFacts {
  readonly instanceIp?: string | undefined;
  readonly podName?: string | undefined;
  readonly podNamespace?: string | undefined;
  readonly nodeName?: string | undefined;
  /** ISTIO_META_* and the mesh's proxyMetadata. */
  readonly metadata: Readonly<Record<string, string>>;
  /** ISTIO_METAJSON_*, parsed. */
  readonly metadataJson: Readonly<Record<string, unknown>>;
}

/** What istiod learns of us in the first request of each type (behaviour.md 3.2). Later entries win. */
export function nodeOf(facts: NodeFacts): MessageInitShape<typeof NodeSchema> {
  const { instanceIp = "1.1.1.1", podName = "", podNamespace = "", nodeName = "" } = facts;
  const metadata: JsonObject = {
    NAME: podName,
    NAMESPACE: podNamespace,
    INSTANCE_IPS: instanceIp,
    NODE_NAME: nodeName,
    ...facts.metadata,
    // Parsed from JSON, so nothing else.
    ...facts.metadataJson as Record<string, JsonValue>,
  };
  // The suffix is that of Kubernetes whatever the cluster's own domain: istiod only splits the text at "~".
  const id = `ztunnel~${instanceIp}~${podName}.${podNamespace}~${podNamespace}.svc.cluster.local`;
  return { id, metadata };
}
