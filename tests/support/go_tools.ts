/**
 * The programs of tests/interop/go, built on demand: a Go peer, and h2spec. Needs `go`; modules are pinned by go.sum.
 * @module
 */

const MODULE = new URL("../interop/go/", import.meta.url).pathname;

export interface GoTools extends AsyncDisposable {
  /** `peer server|client HOST:PORT`, see tests/interop/go/peer. */
  readonly peer: string;
  readonly h2spec: string;
}

/** Builds both into a folder that goes away with the answer; Go's own cache makes the second time quick. */
export async function buildGoTools(): Promise<GoTools> {
  const folder = await Deno.makeTempDir({ prefix: "ztunnel-go-" });
  const packages = ["./peer", "github.com/summerwind/h2spec/cmd/h2spec"];
  const built = await new Deno.Command("go", {
    args: ["build", "-mod=readonly", "-buildvcs=false", "-o", folder + "/", ...packages],
    cwd: MODULE,
  }).output();
  if (!built.success) {
    await Deno.remove(folder, { recursive: true });
    throw new Error(`cannot build the Go peers: ${new TextDecoder().decode(built.stderr)}`);
  }
  return {
    peer: `${folder}/peer`,
    h2spec: `${folder}/h2spec`,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}
