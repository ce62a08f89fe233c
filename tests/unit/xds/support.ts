import { fail } from "node:assert/strict";
import { formatProblem, loadLocal, type LocalMesh } from "#xds";

export function meshOf(text: string): LocalMesh {
  const loaded = loadLocal(text, "mesh.yaml");
  if ("mesh" in loaded) return loaded.mesh;
  fail(loaded.problems.map(formatProblem).join("\n"));
}

/** What is wrong with the text, one line each. */
export function wrongWith(text: string): string[] {
  const loaded = loadLocal(text, "mesh.yaml");
  return "mesh" in loaded ? [] : loaded.problems.map(formatProblem);
}
