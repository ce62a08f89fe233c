import { decodeAuthorization } from "./wire_authorization.ts";
import { decodeService } from "./wire_service.ts";
import { decodeWorkload } from "./wire_workload.ts";

/** Messages of istiod → what they mean here, or why they are refused (behaviour.md 3.12). Pure; nothing throws. */
export const Wire = { decodeWorkload, decodeService, decodeAuthorization } as const;
