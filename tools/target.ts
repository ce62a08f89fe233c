/**
 * What a packaged program can be for, and where its runtime comes from.
 * @module
 */
import { PackagingError, run } from "./bundle.ts";

export interface Target {
  readonly arch: "x86_64" | "aarch64";
  /** Deno's name for it. */
  readonly triple: string;
  /** npm's package with the runtime's executable. */
  readonly npmPackage: string;
  /** What `uname -m` says there. */
  readonly machines: readonly string[];
}

export const TARGETS: readonly Target[] = [
  {
    arch: "x86_64",
    triple: "x86_64-unknown-linux-gnu",
    npmPackage: "@deno/linux-x64-glibc",
    machines: ["x86_64", "amd64"],
  },
  {
    arch: "aarch64",
    triple: "aarch64-unknown-linux-gnu",
    npmPackage: "@deno/linux-arm64-glibc",
    machines: ["aarch64", "arm64"],
  },
];

/** Throws a PackagingError that names what there is. */
export function targetOf(arch: string): Target {
  const target = TARGETS.find((each) => each.arch === arch || each.triple === arch);
  if (target !== undefined) return target;
  throw new PackagingError(
    `there is no target "${arch}"; there are ${TARGETS.map((each) => each.arch).join(" and ")}`,
  );
}

/** The runtime of `target`: the one that runs this, or npm's of the same version, unpacked below `folder`. */
export async function runtimeOf(target: Target, folder: string): Promise<string> {
  if (target.arch === Deno.build.arch && Deno.build.os === "linux") return Deno.execPath();
  const name = `${target.npmPackage}@${Deno.version.deno}`;
  const packed = (await run("npm", ["pack", "--silent", name], folder)).trim().split("\n").at(-1)!;
  await run("tar", ["-xzf", packed], folder);
  const path = `${folder}/package/deno`;
  try {
    await Deno.stat(path);
  } catch {
    throw new PackagingError(`npm's ${name} has no executable called deno`);
  }
  return path;
}
