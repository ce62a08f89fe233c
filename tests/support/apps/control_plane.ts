/**
 * A test control plane as a program: `control_plane.ts IP FOLDER MESH_YAML [NODE…]`. Puts `root.pem` and `token` (of the node
 * proxy istio-system/ztunnel on the first node, `n1` if none is named; `token.NODE` for each) into the folder, serves the mesh of the file and follows its changes.
 */
import { ControlPlane, wireMeshOf } from "#standin";
import { silentLog } from "#log";
import { createMesh } from "#mesh";
import { realClock, realRng } from "#system";
import { type LocalWatch, watchLocal } from "#xds";

const [ip, folder, path, ...nodes] = Deno.args as [string, string, string, ...string[]];
const PORT = 15012;

const plane = await ControlPlane.start({ clock: realClock, rng: realRng, ip, port: PORT });
await Deno.writeTextFile(`${folder}/root.pem`, plane.authority.rootsPem);
for (const [at, node] of (nodes.length > 0 ? nodes : ["n1"]).entries()) {
  const owner = { namespace: "istio-system", serviceAccount: "ztunnel", node };
  const token = plane.tokens.issue(owner);
  await Deno.writeTextFile(`${folder}/token.${node}`, token);
  if (at === 0) await Deno.writeTextFile(`${folder}/token`, token);
}
const tell = () => watch !== undefined && plane.setMesh(wireMeshOf(watch.mesh));
let watch: LocalWatch | undefined = undefined;
watch = await watchLocal({
  source: { kind: "file", path },
  writer: createMesh({}).writer,
  clock: realClock,
  log: silentLog,
  onCommit: () => queueMicrotask(tell),
});
tell();
console.log(`listening on ${plane.url}`);
