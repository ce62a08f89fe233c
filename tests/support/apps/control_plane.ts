/**
 * A test control plane as a program: `control_plane.ts IP FOLDER MESH_YAML`. Puts `root.pem` and `token` (of the node proxy
 * istio-system/ztunnel) into the folder, serves the mesh of the file and follows its changes.
 */
import { ControlPlane, wireMeshOf } from "#standin";
import { silentLog } from "#log";
import { createMesh } from "#mesh";
import { realClock, realRng } from "#system";
import { type LocalWatch, watchLocal } from "#xds";

const [ip, folder, path] = Deno.args as [string, string, string];
const PORT = 15012;

const plane = await ControlPlane.start({ clock: realClock, rng: realRng, ip, port: PORT });
await Deno.writeTextFile(`${folder}/root.pem`, plane.authority.rootsPem);
const token = plane.tokens.issue({
  namespace: "istio-system",
  serviceAccount: "ztunnel",
  node: "n1",
});
await Deno.writeTextFile(`${folder}/token`, token);
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
