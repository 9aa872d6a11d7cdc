import { readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { encodeHeader, padding } from "../../kit/tar/tar-format.ts";
import type { DagJson } from "../../domain/dag-json.ts";
import { UserError } from "../../kit/user-error.ts";
import { packedFiles, type PackedFile } from "../../lite/workspace/project-pack.ts";
import { note, printJson, type Remote, type RemoteOptions } from "../remote/remote-command.ts";
import { apiPath, type Server } from "../remote/server.ts";
import { compileProject } from "./compile.ts";
import { contentHashOf } from "./dag-json.ts";
import { withParser } from "./parsed-dag.ts";
import { openProject } from "./project-folder.ts";

export interface PushOptions extends RemoteOptions {
  project?: string;
  dagVersion?: string;
}

/** What the server says of a version. */
export interface Registration {
  state: "registered" | "pending";
  created: boolean;
  dag_id: string;
  files_hash: string;
  version_id: string;
  version_number: number;
}

/** What is to be registered: a DAG, its files, where they are. */
export interface Version {
  dagId: string;
  folder: string;
  filesHash: string;
  files: readonly PackedFile[];
}

/** Registers a project's version with a server. */
export async function push({ server, terminal, ...local }: Remote, what: string, options: PushOptions): Promise<void> {
  const isFile = (await stat(what).catch(() => null))?.isFile() ?? what.endsWith(".json");
  const compile = async () =>
    versionOf(await withParser({ ...local, terminal }, (parser) => compileProject(parser, what, options)));
  const version = await (isFile ? versionOfFile(what, options.project) : compile());
  const registered = await register(server, version);
  if (options.json) printJson(terminal, registered);
  else terminal.write(registrationText(server, registered));
}

export function registrationText(server: Server, { created, dag_id, version_number: number }: Registration): string {
  return created
    ? `Registered "${dag_id}" with ${server.url} (version ${number})\n`
    : `"${dag_id}" is already registered with ${server.url} (version ${number})\n`;
}

export function versionOf({ project, json }: { project: { folder: string }; json: DagJson }): Version {
  return { dagId: json.dag_id, folder: project.folder, filesHash: json.files_hash, files: json.files };
}

/** Sends the files and waits until the server has parsed them. Throws ServerAnswer with the import error, or the conflict. */
export async function register(server: Server, version: Version): Promise<Registration> {
  const path = apiPath`/api/leoflow/dags/${version.dagId}/versions`;
  const query = { files_hash: version.filesHash };
  let answer = await server.send<Registration>("PUT", path, { query, body: await packed(version) });
  if (answer.state === "pending") note("the server installs its dependencies or parses it ...");
  while (answer.state === "pending") {
    await pause(500);
    answer = await server.get<Registration>(path, query);
  }
  return answer;
}

async function versionOfFile(path: string, projectPath = dirname(path)): Promise<Version> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw error.code === "ENOENT"
      ? new UserError(`there is no ${path}`, { fix: "write it with `leoflow compile`, or push the project's folder" })
      : error;
  });
  const json = readDagJson(path, text);
  const project = openProject(projectPath);
  const files = await packedFiles(project.folder, project.settings);
  const now = new Map(files.map((file) => [file.path, JSON.stringify(file)]));
  const then = new Map(
    json.files.map((file) => [
      file.path,
      JSON.stringify({ path: file.path, sha256: file.sha256, executable: file.executable }),
    ]),
  );
  const changed = [...new Set([...now.keys(), ...then.keys()])].find((name) => now.get(name) !== then.get(name));
  if (changed !== undefined) {
    throw new UserError(`${join(projectPath, changed)} is not what it was when ${path} was compiled`, {
      fix: `compile it again: \`leoflow compile ${projectPath} -o ${path}\``,
    });
  }
  return { dagId: json.dag_id, folder: project.folder, filesHash: json.files_hash, files };
}

function readDagJson(path: string, text: string): DagJson {
  const wrong = (why: string) => new UserError(`${path} ${why}`, { fix: "write it anew with `leoflow compile`" });
  let json: Partial<DagJson>;
  try {
    json = JSON.parse(text) as Partial<DagJson>;
  } catch {
    throw wrong("is no JSON");
  }
  if (typeof json.dag_id !== "string" || !Array.isArray(json.files) || typeof json.content_hash !== "string") {
    throw wrong("is no dag.json");
  }
  if (contentHashOf(text) !== json.content_hash) throw wrong("was changed after it was compiled");
  return json as DagJson;
}

/** The files as a gzipped tar; the same bytes for the same files. */
async function packed({ folder, files }: Version): Promise<Uint8Array> {
  const blocks: Buffer[] = [];
  for (const { path, executable } of files) {
    const content = await readFile(join(folder, path));
    const header = {
      name: path,
      type: "file",
      mode: executable ? 0o755 : 0o644,
      mtimeUs: 0,
      size: content.length,
    } as const;
    blocks.push(encodeHeader(header), content, padding(content.length));
  }
  blocks.push(Buffer.alloc(1024));
  return gzipSync(Buffer.concat(blocks));
}
