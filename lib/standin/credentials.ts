import type { Clock, Timer } from "#system";
import type { ControlPlane } from "./control_plane.ts";
import type { TokenRequest } from "./tokens.ts";

/** Kubelet renews a token when four fifths of its time are over. */
const RENEW_SHARE = 0.8;
const LIFETIME_MS = 3_600_000;

/**
 * What a proxy finds mounted: the root certificates and its token, as files that are replaced in one step, in a folder
 * that whoever made it removes. Tokens are renewed in time until it is disposed.
 */
export class CredentialFiles implements Disposable {
  readonly #tokens = new Map<string, TokenRequest>();
  #renewal: Timer | undefined;

  constructor(
    private readonly folder: string,
    private readonly plane: ControlPlane,
    private readonly clock: Clock,
  ) {}

  /** For XDS_ROOT_CA and CA_ROOT_CA. */
  get rootsPath(): string {
    return `${this.folder}/root-cert.pem`;
  }

  async writeRoots(): Promise<void> {
    await replaceFile(this.rootsPath, this.plane.authority.rootsPem);
  }

  /** For AUTH_TOKEN: the path of a token that stays good. */
  async addToken(request: TokenRequest): Promise<string> {
    const { namespace, serviceAccount, node } = request;
    const name = [namespace, serviceAccount, ...(node === undefined ? [] : [node])].join(".");
    const path = `${this.folder}/token.${name.replaceAll(/[^\w.-]/g, "_")}`;
    this.#tokens.set(path, { lifetimeMs: LIFETIME_MS, ...request });
    await this.#write(path);
    this.#renewal ??= this.clock.after(LIFETIME_MS * RENEW_SHARE, () => this.#renew(), {
      background: true,
    });
    return path;
  }

  [Symbol.dispose](): void {
    this.#renewal?.cancel();
    this.#tokens.clear();
  }

  #renew(): void {
    this.#renewal = this.clock.after(LIFETIME_MS * RENEW_SHARE, () => this.#renew(), {
      background: true,
    });
    // A folder that has gone meanwhile has nobody who would read the token.
    for (const path of this.#tokens.keys()) this.#write(path).catch(() => {});
  }

  async #write(path: string): Promise<void> {
    await replaceFile(path, this.plane.tokens.issue(this.#tokens.get(path)!));
  }
}

/** Whoever reads it sees the old one or the new one. */
async function replaceFile(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(`${path}.new`, text);
  await Deno.rename(`${path}.new`, path);
}
