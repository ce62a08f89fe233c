/**
 * How a handshake ended, for tests that expect it to fail.
 * @module
 */
import { ok } from "node:assert/strict";
import { CertificateError, type Secured } from "#tls";
import { Refusal } from "#values";

/** What became of one end: the peer it trusts, or why not. */
export type Outcome = { readonly secured: Secured } | { readonly refusal: Refusal };

export async function outcomeOf(work: Promise<Secured>): Promise<Outcome> {
  try {
    return { secured: await work };
  } catch (error) {
    ok(error instanceof Refusal, `not a Refusal: ${error}`);
    return { refusal: error };
  }
}

export function refusalIn(outcome: Outcome): Refusal {
  if ("refusal" in outcome) return outcome.refusal;
  outcome.secured.stream.abort();
  throw new Error("accepted");
}

export const codeOf = ({ cause }: Refusal) =>
  cause instanceof CertificateError ? cause.code : undefined;
