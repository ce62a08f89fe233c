import type { Log } from "#log";
import { createMesh } from "#mesh";
import type { Clock } from "#system";
import { type LocalMesh, type LocalWatch, watchLocal } from "#xds";

export interface MeshFileOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
  /** After each edit that changed anything. */
  readonly onMesh: (mesh: LocalMesh) => void;
}

/**
 * A mesh in a file, followed as a proxy follows its local YAML: an edit is told at once, a mistake is a line in the log
 * with its place, and the mesh stays. Rejects with LocalLoadError if the file cannot be used at first.
 */
export async function followMeshFile(options: MeshFileOptions): Promise<LocalWatch> {
  const { path, clock, log, onMesh } = options;
  let watch: LocalWatch | undefined = undefined;
  const tell = () => {
    if (watch !== undefined) onMesh(watch.mesh);
  };
  watch = await watchLocal({
    source: { kind: "file", path },
    // The mesh goes out by wire; nobody here looks anything up in it.
    writer: createMesh({}).writer,
    clock,
    log,
    onCommit: tell,
  });
  return watch;
}
