import type { Log } from "#log";
import type { Clock, Rng } from "#system";
import { Ip } from "#values";
import type { LocalMesh, LocalWatch } from "#xds";
import { ControlPlane } from "./control_plane.ts";
import { type ControlSurface, startControlSurface } from "./control_surface.ts";
import { CredentialFiles } from "./credentials.ts";
import { GeneratedMesh, type MeshSize } from "./generate.ts";
import { followMeshFile } from "./mesh_file.ts";
import { tellEvent } from "./tell.ts";
import { wireMeshOf } from "./wire_mesh.ts";

export type MeshSource =
  | {
    readonly kind: "file";
    readonly path: string;
    /** After an edit was pushed. */
    readonly onMesh?: (mesh: LocalMesh) => void;
  }
  | { readonly kind: "generated"; readonly size: MeshSize };

export interface HostOptions {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Log;
  readonly source: MeshSource;
  readonly ip: Ip;
  /** Taken if it is free, else any other one; 0 is any. */
  readonly port: number;
  /** Of the control surface, likewise. */
  readonly controlPort: number;
  /** Where roots and tokens are put; it must be there. */
  readonly folder: string;
}

/** How a root is replaced, step by step. */
export type RootStep = "announce" | "use" | "forget";

/** A control plane with what it needs to run by itself: its mesh, its files, its control surface. */
export interface ControlPlaneHost extends AsyncDisposable {
  readonly plane: ControlPlane;
  readonly credentials: CredentialFiles;
  /** `http://ip:port` of the control surface. */
  readonly controlUrl: string;
  /** Set where the mesh is generated. */
  readonly generated: GeneratedMesh | undefined;
  /** Files and the server's own certificate follow. */
  stepRoot(step: RootStep): Promise<void>;
}

/** Rejects with LocalLoadError for a file that cannot be used, and with the reason if it cannot listen. */
export async function hostControlPlane(options: HostOptions): Promise<ControlPlaneHost> {
  const { clock, rng, log, source, ip, folder } = options;
  const plane = await startAt(options.port, (port) =>
    ControlPlane.start({
      clock,
      rng,
      ip,
      port,
      onEvent: (event) => tellEvent(log, event),
    }));
  const credentials = new CredentialFiles(folder, plane, clock);
  const generated = source.kind === "generated" ? new GeneratedMesh(source.size) : undefined;
  let watch: LocalWatch | undefined;
  let surface: ControlSurface | undefined;
  const end = async () => {
    credentials[Symbol.dispose]();
    await watch?.[Symbol.asyncDispose]();
    await surface?.[Symbol.asyncDispose]();
    await plane[Symbol.asyncDispose]();
  };
  try {
    await credentials.writeRoots();
    if (generated !== undefined) plane.setMesh(generated.mesh);
    if (source.kind === "file") watch = await followFile(source, plane, options);
    const host = {
      plane,
      credentials,
      generated,
      stepRoot: (step: RootStep) => stepRoot(step, plane, credentials),
      get controlUrl() {
        return surface?.url ?? "";
      },
      [Symbol.asyncDispose]: end,
    };
    surface = await startAt(
      options.controlPort,
      (port) => Promise.resolve(startControlSurface(host, { ip: nearby(ip), port })),
    );
    return host;
  } catch (error) {
    await end();
    throw error;
  }
}

async function followFile(
  { path, onMesh }: Extract<MeshSource, { readonly kind: "file" }>,
  plane: ControlPlane,
  { clock, log }: HostOptions,
): Promise<LocalWatch> {
  const watch = await followMeshFile({
    path,
    clock,
    log,
    onMesh: (mesh) => {
      plane.setMesh(wireMeshOf(mesh));
      onMesh?.(mesh);
    },
  });
  plane.setMesh(wireMeshOf(watch.mesh));
  return watch;
}

async function stepRoot(
  step: RootStep,
  plane: ControlPlane,
  credentials: CredentialFiles,
): Promise<void> {
  const { authority } = plane;
  if (step === "announce") await authority.announceRoot();
  if (step === "use") await authority.useAnnouncedRoot();
  if (step === "forget") authority.forgetOldRoots();
  await credentials.writeRoots();
  // From now on its own certificate has to come from the new root too.
  if (step === "use") await plane.restart();
}

/** The knobs hand out tokens to whoever asks, so that nobody on another machine may. */
function nearby(ip: Ip): Ip {
  return Ip.isLoopback(ip) ? ip : Ip.loopback(Ip.family(ip));
}

/** On the port that people know by heart, or on any: several meshes may run on one machine. */
async function startAt<T>(port: number, start: (port: number) => Promise<T>): Promise<T> {
  try {
    return await start(port);
  } catch (error) {
    if (port === 0) throw error;
    return await start(0);
  }
}
