/** Messages of a control plane for tests: name what matters, the rest has its default. */
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { AuthorizationSchema } from "../../../proto/gen/authorization_pb.ts";
import { AddressSchema, ServiceSchema, WorkloadSchema } from "../../../proto/gen/workload_pb.ts";
import { DeltaDiscoveryResponseSchema, type ResourceSchema } from "../../../proto/gen/xds_pb.ts";
import { TYPE_URLS } from "#xds";

export type ResourceInit = MessageInitShape<typeof ResourceSchema>;

function resource(name: string, typeUrl: string, value: Uint8Array, more: ResourceInit = {}) {
  return { name, version: "v1", resource: { typeUrl, value }, ...more } as ResourceInit;
}

export function workload(
  uid: string,
  fields: MessageInitShape<typeof WorkloadSchema> = {},
  more: ResourceInit = {},
): ResourceInit {
  const value = create(WorkloadSchema, { uid, name: uid, namespace: "shop", ...fields });
  const address = create(AddressSchema, { type: { case: "workload", value } });
  return resource(uid, TYPE_URLS.address, toBinary(AddressSchema, address), more);
}

export function service(
  hostname: string,
  fields: MessageInitShape<typeof ServiceSchema> = {},
  more: ResourceInit = {},
): ResourceInit {
  const value = create(ServiceSchema, { hostname, namespace: "shop", ...fields });
  const address = create(AddressSchema, { type: { case: "service", value } });
  const name = `${value.namespace}/${hostname}`;
  return resource(name, TYPE_URLS.address, toBinary(AddressSchema, address), more);
}

/** istiod gives policies no version. */
export function policy(
  key: string,
  fields: MessageInitShape<typeof AuthorizationSchema> = {},
): ResourceInit {
  const [namespace = "", name = ""] = key.split("/");
  const value = create(AuthorizationSchema, { name, namespace, ...fields });
  const bytes = toBinary(AuthorizationSchema, value);
  return resource(key, TYPE_URLS.authorization, bytes, { version: "" });
}

/** A resource whose bytes are no message. */
export function garbage(name: string): ResourceInit {
  return resource(name, TYPE_URLS.address, Uint8Array.of(0x0a, 0x7f, 1));
}

export interface ResponseInit {
  readonly nonce?: string;
  readonly resources?: readonly ResourceInit[];
  readonly removed?: readonly string[];
}

export function responseBytes(type: keyof typeof TYPE_URLS | string, init: ResponseInit = {}) {
  const typeUrl = type === "address" || type === "authorization" ? TYPE_URLS[type] : type;
  const { nonce = "n", resources = [], removed = [] } = init;
  return toBinary(
    DeltaDiscoveryResponseSchema,
    create(DeltaDiscoveryResponseSchema, {
      typeUrl,
      nonce,
      resources: [...resources],
      removedResources: [...removed],
    }),
  );
}
