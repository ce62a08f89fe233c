import { deepStrictEqual, strictEqual, throws } from "node:assert/strict";
import {
  create,
  type DescFile,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  toBinary,
} from "@bufbuild/protobuf";
import * as authorization from "../../../proto/gen/authorization_pb.ts";
import * as ca from "../../../proto/gen/ca_pb.ts";
import * as workload from "../../../proto/gen/workload_pb.ts";
import * as xds from "../../../proto/gen/xds_pb.ts";
import * as zds from "../../../proto/gen/zds_pb.ts";

const hexOf = (bytes: Uint8Array): string =>
  [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
const bytesOf = (hex: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(hex.split(" "), (byte) => parseInt(byte, 16));

interface Vector {
  readonly name: string;
  readonly bytes: string;
  /** The message written, and what reading the bytes and writing again gives. */
  readonly written: () => string;
  readonly rewritten: () => string;
}

function vector<Schema extends DescMessage>(
  name: string,
  schema: Schema,
  init: MessageInitShape<Schema>,
  bytes: string,
): Vector {
  return {
    name,
    bytes,
    written: () => hexOf(toBinary(schema, create(schema, init))),
    rewritten: () => hexOf(toBinary(schema, fromBinary(schema, bytesOf(bytes)))),
  };
}

const request = (payload: zds.WorkloadRequest["payload"]) => ({ payload });

/** behaviour.md C.6. */
const ZDS: readonly Vector[] = [
  vector("hello", zds.ZdsHelloSchema, { version: zds.Version.V1 }, "08 01"),
  vector(
    "ack",
    zds.WorkloadResponseSchema,
    { payload: { case: "ack", value: {} } },
    "0a 00",
  ),
  vector(
    "nack",
    zds.WorkloadResponseSchema,
    { payload: { case: "ack", value: { error: "x" } } },
    "0a 03 0a 01 78",
  ),
  vector(
    "snapshot sent",
    zds.WorkloadRequestSchema,
    request({ case: "snapshotSent", value: create(zds.SnapshotSentSchema) }),
    "1a 00",
  ),
  vector(
    "add",
    zds.WorkloadRequestSchema,
    {
      payload: {
        case: "add",
        value: { uid: "u1", workloadInfo: { name: "a", namespace: "b", serviceAccount: "c" } },
      },
    },
    "0a 0f 0a 02 75 31 12 09 0a 01 61 12 01 62 1a 01 63",
  ),
  vector(
    "del",
    zds.WorkloadRequestSchema,
    { payload: { case: "del", value: { uid: "u1" } } },
    "12 04 12 02 75 31",
  ),
  vector(
    "keep",
    zds.WorkloadRequestSchema,
    { payload: { case: "keep", value: { uid: "u1" } } },
    "2a 04 0a 02 75 31",
  ),
];

/** Written by hand after behaviour.md appendix A: fields above 15 take two bytes of tag. */
const OTHERS: readonly Vector[] = [
  vector(
    "a workload as an address",
    workload.AddressSchema,
    {
      type: {
        case: "workload",
        value: {
          addresses: [Uint8Array.of(10, 1, 0, 5)],
          tunnelProtocol: workload.TunnelProtocol.HBONE,
          status: workload.WorkloadStatus.UNHEALTHY,
          uid: "u",
          services: { "n/h": { ports: [{ servicePort: 80, targetPort: 8080 }] } },
          networkMode: workload.NetworkMode.HOST_NETWORK,
          capacity: 0,
        },
      },
    },
    "0a 26 1a 04 0a 01 00 05 28 01 88 01 01 a2 01 01 75 b2 01 0e 0a 03 6e 2f 68 12 07 0a 05 08 50 10 90 3f " +
      "c8 01 01 da 01 00",
  ),
  vector(
    "a service with a range of addresses and packed preferences",
    workload.AddressSchema,
    {
      type: {
        case: "service",
        value: {
          addresses: [{ address: Uint8Array.of(10, 0, 0, 0), length: 0 }],
          loadBalancing: {
            routingPreference: [
              workload.LoadBalancing_Scope.NETWORK,
              workload.LoadBalancing_Scope.REGION,
            ],
            mode: workload.LoadBalancing_Mode.FAILOVER,
          },
          ipFamilies: workload.IPFamilies.DUAL,
          canonical: true,
          visibility: workload.Visibility.NAMESPACE,
        },
      },
    },
    "12 18 22 08 12 04 0a 00 00 00 18 00 42 06 0a 02 06 01 10 02 48 03 58 01 70 01",
  ),
  vector(
    "a waypoint by name",
    workload.GatewayAddressSchema,
    {
      destination: { case: "hostname", value: { namespace: "n", hostname: "h" } },
      hboneMtlsPort: 15008,
    },
    "0a 06 0a 01 6e 12 01 68 18 a0 75",
  ),
  vector(
    "a policy",
    authorization.AuthorizationSchema,
    {
      name: "p",
      scope: authorization.Scope.WORKLOAD_SELECTOR,
      action: authorization.Action.DENY,
      rules: [{
        clauses: [{
          matches: [{
            notPrincipals: [{ matchType: { case: "presence", value: {} } }],
            notDestinationIps: [{ address: Uint8Array.of(10, 0, 0, 0), length: 8 }],
            destinationPorts: [80, 8080],
            serviceAccounts: [{ namespace: "n", serviceAccount: "s" }],
          }],
        }],
      }],
      dryRun: true,
    },
    "0a 01 70 18 02 20 01 2a 1f 0a 1d 12 1b 22 02 22 00 42 08 0a 04 0a 00 00 00 10 08 4a 03 50 90 3f " +
      "5a 06 0a 01 6e 12 01 73 30 01",
  ),
  vector(
    "a subscription",
    xds.DeltaDiscoveryRequestSchema,
    {
      node: { id: "i", metadata: { NAME: "x" } },
      typeUrl: "t",
      resourceNamesSubscribe: ["*"],
      initialResourceVersions: { a: "" },
    },
    "0a 12 0a 01 69 1a 0d 0a 0b 0a 04 4e 41 4d 45 12 03 1a 01 78 12 01 74 1a 01 2a 2a 05 0a 01 61 12 00",
  ),
  vector(
    "a refusal",
    xds.DeltaDiscoveryRequestSchema,
    { typeUrl: "t", responseNonce: "n", errorDetail: { message: "m" } },
    "12 01 74 32 01 6e 3a 03 12 01 6d",
  ),
  vector(
    "a response",
    xds.DeltaDiscoveryResponseSchema,
    {
      resources: [{ version: "v", resource: { typeUrl: "t" }, name: "n", aliases: ["a"] }],
      nonce: "n",
      removedResources: ["r"],
    },
    "12 0e 0a 01 76 12 03 0a 01 74 1a 01 6e 22 01 61 2a 01 6e 32 01 72",
  ),
  vector(
    "a certificate request",
    ca.IstioCertificateRequestSchema,
    { csr: "c", validityDuration: 86400n, metadata: { ImpersonatedIdentity: "s" } },
    "0a 01 63 18 80 a3 05 22 1d 0a 1b 0a 14 49 6d 70 65 72 73 6f 6e 61 74 65 64 49 64 65 6e 74 69 74 79 12 03 1a 01 73",
  ),
  vector(
    "a certificate chain",
    ca.IstioCertificateResponseSchema,
    { certChain: ["a", "b"] },
    "0a 01 61 0a 01 62",
  ),
];

for (const { name, bytes, written, rewritten } of [...ZDS, ...OTHERS]) {
  Deno.test(`proto/gen writes and reads the bytes of ${name}`, () => {
    strictEqual(written(), bytes);
    strictEqual(rewritten(), bytes);
  });
}

const FILES: readonly DescFile[] = [
  authorization.file_authorization,
  ca.file_ca,
  workload.file_workload,
  xds.file_xds,
  zds.file_zds,
];

/** behaviour.md appendix A, name and number of every field. */
const NUMBERS: Readonly<Record<string, string>> = {
  "envoy.service.discovery.v3.DeltaDiscoveryRequest":
    "node=1 type_url=2 resource_names_subscribe=3 resource_names_unsubscribe=4 initial_resource_versions=5 " +
    "response_nonce=6 error_detail=7",
  "envoy.service.discovery.v3.DeltaDiscoveryResponse":
    "system_version_info=1 resources=2 type_url=4 nonce=5 removed_resources=6",
  "envoy.service.discovery.v3.Resource":
    "version=1 resource=2 name=3 aliases=4 ttl=6 cache_control=7",
  "envoy.service.discovery.v3.Node": "id=1 cluster=2 metadata=3 build_version=5",
  "envoy.service.discovery.v3.Status": "code=1 message=2 details=3",
  "istio.workload.Address": "workload=1 service=2",
  "istio.workload.Workload":
    "name=1 namespace=2 addresses=3 network=4 tunnel_protocol=5 trust_domain=6 service_account=7 waypoint=8 " +
    "node=9 canonical_name=10 canonical_revision=11 workload_type=12 workload_name=13 native_tunnel=14 " +
    "authorization_policies=16 status=17 cluster_id=18 network_gateway=19 uid=20 hostname=21 services=22 " +
    "application_tunnel=23 locality=24 network_mode=25 extensions=26 capacity=27",
  "istio.workload.Service":
    "name=1 namespace=2 hostname=3 addresses=4 ports=5 subject_alt_names=6 waypoint=7 load_balancing=8 " +
    "ip_families=9 extensions=10 canonical=11 ingress_use_waypoint=12 weighted_waypoints=13 visibility=14",
  "istio.workload.Port": "service_port=1 target_port=2 app_protocol=3",
  "istio.workload.PortList": "ports=1",
  "istio.workload.Locality": "region=1 zone=2 subzone=3",
  "istio.workload.NetworkAddress": "network=1 address=2 length=3",
  "istio.workload.NamespacedHostname": "namespace=1 hostname=2",
  "istio.workload.GatewayAddress": "hostname=1 address=2 hbone_mtls_port=3",
  "istio.workload.WeightedWaypoint": "destination=1 weight=2",
  "istio.workload.ApplicationTunnel": "protocol=1 port=2",
  "istio.workload.LoadBalancing": "routing_preference=1 mode=2 health_policy=3",
  "istio.workload.Extension": "name=1 config=2",
  "istio.security.Authorization":
    "name=1 namespace=2 scope=3 action=4 rules=5 dry_run=6 extensions=7",
  "istio.security.Rule": "clauses=1",
  "istio.security.Clause": "matches=2",
  "istio.security.Match":
    "namespaces=1 not_namespaces=2 principals=3 not_principals=4 source_ips=5 not_source_ips=6 " +
    "destination_ips=7 not_destination_ips=8 destination_ports=9 not_destination_ports=10 service_accounts=11 " +
    "not_service_accounts=12 extensions=13",
  "istio.security.Address": "address=1 length=2",
  "istio.security.ServiceAccountMatch": "namespace=1 serviceAccount=2",
  "istio.security.StringMatch": "exact=1 prefix=2 suffix=3 presence=4",
  "istio.security.Extension": "name=1 config=2",
  "istio.v1.auth.IstioCertificateRequest": "csr=1 validity_duration=3 metadata=4",
  "istio.v1.auth.IstioCertificateResponse": "cert_chain=1",
  "istio.workload.zds.ZdsHello": "version=1",
  "istio.workload.zds.WorkloadRequest": "add=1 del=2 snapshot_sent=3 keep=5",
  "istio.workload.zds.AddWorkload": "uid=1 workload_info=2",
  "istio.workload.zds.WorkloadInfo": "name=1 namespace=2 service_account=3",
  "istio.workload.zds.KeepWorkload": "uid=1",
  "istio.workload.zds.DelWorkload": "uid=2",
  "istio.workload.zds.SnapshotSent": "",
  "istio.workload.zds.WorkloadResponse": "ack=1",
  "istio.workload.zds.Ack": "error=1",
};

Deno.test("proto/gen has every message with its fields and numbers, and no other", () => {
  const found = FILES.flatMap((file) => file.messages).map((message) => [
    message.typeName,
    message.fields.toSorted((a, b) => a.number - b.number)
      .map(({ name, number }) => `${name}=${number}`).join(" "),
  ]);
  deepStrictEqual(Object.fromEntries(found), NUMBERS);
});

/** behaviour.md appendix A, by number. */
const ENUMS: Readonly<Record<string, string>> = {
  "istio.workload.TunnelProtocol": "NONE HBONE LEGACY_ISTIO_MTLS",
  "istio.workload.WorkloadStatus": "HEALTHY UNHEALTHY",
  "istio.workload.WorkloadType": "DEPLOYMENT CRONJOB POD JOB",
  "istio.workload.NetworkMode": "STANDARD HOST_NETWORK",
  "istio.workload.IPFamilies": "AUTOMATIC IPV4_ONLY IPV6_ONLY DUAL",
  "istio.workload.Visibility": "PUBLIC NAMESPACE",
  "istio.workload.AppProtocol": "UNKNOWN HTTP11 HTTP2 GRPC TCP TLS",
  "istio.workload.ApplicationTunnel.Protocol": "NONE PROXY",
  "istio.workload.LoadBalancing.Scope":
    "UNSPECIFIED_SCOPE REGION ZONE SUBZONE NODE CLUSTER NETWORK",
  "istio.workload.LoadBalancing.Mode": "UNSPECIFIED_MODE STRICT FAILOVER PASSTHROUGH",
  "istio.workload.LoadBalancing.HealthPolicy": "ONLY_HEALTHY ALLOW_ALL",
  "istio.security.Scope": "GLOBAL NAMESPACE WORKLOAD_SELECTOR",
  "istio.security.Action": "ALLOW DENY",
  "istio.workload.zds.Version": "NOT_USED V1",
};

Deno.test("proto/gen numbers the values of every enum from 0 in the order of the wire", () => {
  const enums = FILES.flatMap((file) => [
    ...file.enums,
    ...file.messages.flatMap((message) => message.nestedEnums),
  ]);
  const found = enums.map(({ typeName, values }) => {
    deepStrictEqual(values.map(({ number }) => number), [...values.keys()], typeName);
    return [typeName, values.map(({ name }) => name).join(" ")];
  });
  deepStrictEqual(Object.fromEntries(found), ENUMS);
});

Deno.test("the paths of the RPCs are those that istiod serves", () => {
  const paths = FILES.flatMap((file) => file.services).flatMap((service) =>
    service.methods.map((method) => `/${service.typeName}/${method.name} ${method.methodKind}`)
  );
  deepStrictEqual(paths.sort(), [
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources bidi_streaming",
    "/istio.v1.auth.IstioCertificateService/CreateCertificate unary",
  ]);
});

Deno.test("reading follows the rules of appendix A", () => {
  const match = (hex: string) => fromBinary(authorization.MatchSchema, bytesOf(hex));
  deepStrictEqual(match("4a 03 50 90 3f").destinationPorts, [80, 8080], "packed");
  deepStrictEqual(match("48 50 48 90 3f").destinationPorts, [80, 8080], "not packed");

  const requestOf = (hex: string) => fromBinary(zds.WorkloadRequestSchema, bytesOf(hex));
  strictEqual(requestOf("1a 00 2a 00").payload.case, "keep", "the last of a oneof wins");
  strictEqual(
    requestOf("3a 01 00 1a 00").payload.case,
    "snapshotSent",
    "unknown field 7 is skipped",
  );
  strictEqual(
    fromBinary(zds.ZdsHelloSchema, bytesOf("08 63")).version as number,
    99,
    "enums are open",
  );

  const gateway = fromBinary(workload.NetworkAddressSchema, bytesOf("12 01 00"));
  strictEqual(gateway.length, undefined, "absent is not 0");
  throws(() => fromBinary(zds.AckSchema, bytesOf("0a 01 ff")), "invalid UTF-8");
  throws(() => fromBinary(zds.AckSchema, bytesOf("0a 05 78")), "cut short");
});
