import type { Clock } from "#system";
import type { Authority } from "./authority.ts";
export const DEV_ROOT_PEM = "";
export function createDevAuthority(_clock: Clock): Promise<Authority> {
  throw new Error("not written");
}
