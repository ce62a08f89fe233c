/** `deno task dev --pods` as its user runs it: a node of namespaces, the commands it prints, edits, its end and its crash. */
import { match, ok, strictEqual } from "node:assert/strict";
import { testAsRoot } from "../support/needs.ts";
import { sh, until } from "../support/netns.ts";

const root = new URL("../../", import.meta.url).pathname;
const PROGRAMS = ["ip", "nft", "curl", "unshare"];

class Dev implements AsyncDisposable {
  #text = "";
  readonly #child: Deno.ChildProcess;
  readonly ended: Promise<Deno.CommandStatus>;

  constructor(path: string, within: readonly string[] = []) {
    // A session of its own, so that a signal can go to all of it, as Ctrl-C in a terminal does.
    const [program, ...args] = [
      "setsid",
      ...within,
      Deno.execPath(),
      "task",
      "dev",
      "--pods",
      path,
    ];
    this.#child = new Deno.Command(program!, {
      args,
      cwd: root,
      env: { NO_COLOR: "1" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
      for await (const part of stream.pipeThrough(new TextDecoderStream())) this.#text += part;
    };
    this.ended = Promise.all([
      this.#child.status,
      read(this.#child.stdout),
      read(this.#child.stderr),
    ]).then(([status]) => status);
  }

  get output(): string {
    return this.#text;
  }

  async says(pattern: RegExp): Promise<void> {
    await until(`dev says ${pattern}`, () => pattern.test(this.#text), () => this.#text, 40_000);
  }

  async signal(name: string): Promise<void> {
    await sh(`kill -${name} -${this.#child.pid} 2>/dev/null || true`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.signal("INT");
    await this.ended;
  }
}

async function tried(command: string): Promise<string> {
  const { stdout, stderr } = await new Deno.Command("sh", { args: ["-c", command] }).output();
  const text = new TextDecoder();
  return text.decode(stdout) + text.decode(stderr);
}

/** Namespaces, links and files that only `dev --pods` makes; `ip` complains of those that another test removes meanwhile. */
const left = async () =>
  await tried(
    "ls /run/netns 2>/dev/null | grep -E '^(client|server|outsider|node1|wire)$' ; ip link 2>/dev/null | grep zt-10-77; ls /run/ztunnel-dev /etc/netns/client 2>/dev/null",
  );

testAsRoot(
  "dev --pods: the commands it prints do what it says, edits are followed, Ctrl-C leaves nothing",
  PROGRAMS,
  async () => {
    const folder = await Deno.makeTempDir();
    const path = `${folder}/pods.yaml`;
    const yaml = await Deno.readTextFile(`${root}examples/pods.yaml`);
    await Deno.writeTextFile(path, yaml);
    {
      await using dev = new Dev(path);
      await dev.says(/Ctrl-C ends everything/);
      const commands = dev.output.split("\n").map((line) => line.trim()).filter((line) =>
        /^ip netns exec \w+ curl -s http:\/\/(?!127)/.test(line)
      );
      strictEqual(commands.length, 3, dev.output);
      match(await tried(commands[0]!), /^Hello from hello \(\/\)\. The caller came from \S*10\b/);
      strictEqual(await tried(commands[1]!), "");
      strictEqual(await tried(commands[2]!), "");
      await dev.says(/✓ out client → hello\.demo\.svc\.cluster\.local .*mutual TLS/);
      await dev.says(/✗ .*client → vault[^]*explicitly denied by: demo\/nobody-to-vault/);
      await dev.says(/✗ in {2}outsider → .*in clear[^]*none allowed/);
      match(
        await tried("curl -s http://10.77.1.2:15020/metrics"),
        /istio_tcp_connections_opened_total\{reporter="source"/,
      );
      match(
        await tried("ip netns exec ztunnel-node1 curl -s http://127.0.0.1:15000/config_dump"),
        /"workloadState"/,
      );

      const denied = yaml.indexOf("  # DENY wins");
      const late = `
  - { uid: late, name: late, namespace: demo, serviceAccount: client, node: node1,
      workloadIps: ["10.77.1.20"], protocol: HBONE, trustDomain: cluster.local }
`;
      const edited = yaml.slice(0, denied).replace("\nservices:\n", `${late}\nservices:\n`)
        .replace(', "demo/nobody-to-vault"', "");
      await Deno.writeTextFile(path, edited);
      await dev.says(/added pod "late" 10\.77\.1\.20/);
      await until(
        "the new pod is answered by what was denied",
        async () =>
          /Hello from vault/.test(
            await tried("ip netns exec late curl -s -m 60 http://vault.demo.svc.cluster.local/"),
          ),
        () => dev.output,
      );
      await Deno.writeTextFile(path, edited.replace("10.77.1.20", "10.77.9.20"));
      await dev.says(/node "node1" is the 1st, so expected 10\.77\.1\.10/);
      await Deno.writeTextFile(path, edited.replace(late, ""));
      await dev.says(/removed pod "late"/);
      await dev.signal("INT");
      strictEqual((await dev.ended).code, 0, dev.output);
    }
    strictEqual(await left(), "");

    // Whoever comes after a crash takes away what it has left.
    const crashed = new Dev(path);
    await crashed.says(/Ctrl-C ends everything/);
    await crashed.signal("KILL");
    await crashed.ended;
    ok((await left()).includes("client"));
    {
      await using dev = new Dev(path);
      await dev.says(/removed namespace "client", which an earlier run had left/);
      await dev.says(/Ctrl-C ends everything/);
      match(
        await tried("ip netns exec client curl -s -m 60 http://hello.demo.svc.cluster.local/"),
        /Hello/,
      );
    }
    strictEqual(await left(), "");
    await Deno.remove(folder, { recursive: true });
  },
);

testAsRoot(
  "dev --pods says what it lacks: root, a program, a file that can be used",
  PROGRAMS,
  async () => {
    const folder = await Deno.makeTempDir();
    await Deno.writeTextFile(`${folder}/wrong.yaml`, "workloads: [{ uid: a, nam: a }]\n");
    await Deno.mkdir(`${folder}/bin`);
    for (const program of ["sh", "ip"]) {
      await Deno.symlink((await tried(`command -v ${program}`)).trim(), `${folder}/bin/${program}`);
    }
    for (
      const [path, within, reason] of [
        [
          "examples/pods.yaml",
          ["unshare", "--user"],
          /--pods makes network namespaces .*needs root: try it with sudo/,
        ],
        [
          "examples/pods.yaml",
          ["env", `PATH=${folder}/bin`],
          /--pods needs nft; on Debian: apt-get install/,
        ],
        [`${folder}/none.yaml`, [], /cannot read .*none\.yaml/],
        [`${folder}/wrong.yaml`, [], /wrong\.yaml:1:\d+/],
      ] as const
    ) {
      const dev = new Dev(path, within);
      strictEqual((await dev.ended).code, 1, dev.output);
      match(dev.output, reason);
    }
    await Deno.remove(folder, { recursive: true });
  },
);
