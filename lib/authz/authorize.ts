import type { Policy } from "#mesh";
import { compiled, type CompiledPolicy, type Subject, subjectOf } from "./compile.ts";
import type { ConnectionFacts, PolicyNote, Verdict } from "./verdict.ts";

const NO_POLICIES: Verdict = { allowed: true, notes: [] };

/**
 * Whether the connection may live, under the policies that apply to its destination (behaviour.md 5.3, 5.4):
 * a matching deny refuses it; otherwise it lives if no allow policy is enforced, or one of them matches.
 * Dry-run policies only leave notes.
 */
export function authorize(policies: readonly Policy[], facts: ConnectionFacts): Verdict {
  if (policies.length === 0) return NO_POLICIES;
  const subject = subjectOf(facts);
  const { denies, dryRunDenies, allows, dryRunAllows } = byRole(policies);
  const notes: PolicyNote[] = [];

  for (const policy of dryRunDenies) {
    if (policy.matches(subject)) {
      notes.push({ policy: policy.label, message: "dry-run deny policy match" });
    }
  }
  const denial = firstMatch(denies, subject);
  if (denial !== undefined) {
    notes.push({ policy: denial.label, message: "deny policy match" });
    return { allowed: false, reason: `explicitly denied by: ${denial.label}`, notes };
  }

  noteDryRunAllows(dryRunAllows, subject, notes);
  if (allows.length === 0) {
    notes.push({ message: "no allow policies, allow" });
    return { allowed: true, notes };
  }
  const permission = firstMatch(allows, subject);
  if (permission !== undefined) {
    notes.push({ policy: permission.label, message: "allow policy match" });
    return { allowed: true, notes };
  }
  notes.push({ message: "no allow policies matched" });
  return { allowed: false, reason: "allow policies exist, but none allowed", notes };
}

interface Roles {
  readonly denies: CompiledPolicy[];
  readonly dryRunDenies: CompiledPolicy[];
  readonly allows: CompiledPolicy[];
  readonly dryRunAllows: CompiledPolicy[];
}

function byRole(policies: readonly Policy[]): Roles {
  const roles: Roles = { denies: [], dryRunDenies: [], allows: [], dryRunAllows: [] };
  for (const policy of policies) {
    const role = policy.action === "Deny"
      ? (policy.dryRun ? roles.dryRunDenies : roles.denies)
      : (policy.dryRun ? roles.dryRunAllows : roles.allows);
    role.push(compiled(policy));
  }
  return roles;
}

function firstMatch(
  policies: readonly CompiledPolicy[],
  subject: Subject,
): CompiledPolicy | undefined {
  for (const policy of policies) if (policy.matches(subject)) return policy;
  return undefined;
}

function noteDryRunAllows(
  policies: readonly CompiledPolicy[],
  subject: Subject,
  notes: PolicyNote[],
): void {
  if (policies.length === 0) return;
  const matching = policies.filter((policy) => policy.matches(subject));
  for (const policy of matching) {
    notes.push({ policy: policy.label, message: "dry-run allow policy match" });
  }
  if (matching.length === 0) notes.push({ message: "dry-run: no allow policies matched" });
}
