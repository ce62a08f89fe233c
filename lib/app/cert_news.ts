import type { Fields, Log } from "#log";
import type { CertBundle } from "#tls";
import type { SpiffeId } from "#values";

/** When an expired answer expired is another time at each retry, and no other news. */
const TIME = /\d{4}-\d\d-\d\dT[\d:.]+Z/g;

/**
 * What is said of certificates: a failure once and not at each retry or each connection that meets it, and its end.
 * No key is in it.
 */
export class CertNews {
  /** What was last told, by identity; as many as the manager has entries. */
  readonly #told = new Map<SpiffeId, string>();

  constructor(private readonly log: Log) {}

  issued({ identity, notAfterMs }: CertBundle): void {
    const fields = { identity, expires: new Date(notAfterMs).toISOString() };
    if (this.#told.delete(identity)) this.log.info?.("certificate issued again", fields);
    else this.log.debug?.("certificate issued", fields);
  }

  failed(identity: SpiffeId, error: string): void {
    this.#tell(identity, "certificate unavailable", { identity, error });
  }

  /** The old certificate serves until its end. */
  renewalFailed({ identity, notAfterMs }: CertBundle, error: string): void {
    const expires = new Date(notAfterMs).toISOString();
    this.#tell(identity, "certificate not renewed, the old one serves on", {
      identity,
      error,
      expires,
    });
  }

  /** Nobody needs it any more, so that what was said of it is over too. */
  forgotten(identity: SpiffeId): void {
    this.#told.delete(identity);
  }

  #tell(identity: SpiffeId, what: string, fields: Fields): void {
    const news = `${what}: ${fields["error"]}`.replace(TIME, "…");
    if (this.#told.get(identity) === news) return this.log.debug?.(what, fields);
    this.#told.set(identity, news);
    this.log.warn?.(what, fields);
  }
}
