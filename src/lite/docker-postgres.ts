import { spawn } from "node:child_process";
import { childEnvironment } from "../kit/config.ts";
import { UserError } from "../kit/user-error.ts";
import type { Ask } from "../store/schema-status.ts";
import { runCommand, type CommandResult } from "./command.ts";
import { pause } from "./postgres/stale-server.ts";

/** Docker must say within this time what it has; one that does not is no Docker. */
const ANSWER_MS = 2_000;
const START_MS = 5 * 60_000;
/** Superusers that images of PostgreSQL make. */
const USUAL_USERS = ["leoflow", "postgres"];
/** Where the volume is seen in a container of ours. */
const MOUNT = "/leoflow-volume";
const COPY = "/tmp/leoflow-pgdata";

/** Names of Docker volumes; undefined where there is no Docker that answers. `onSilence` is called for one that does not in time. */
export async function listVolumes(signal?: AbortSignal, onSilence?: () => void): Promise<string[] | undefined> {
  const limit = AbortSignal.timeout(ANSWER_MS);
  const asked = docker(
    ["volume", "ls", "--format", "{{.Name}}", "--filter", "name=leoflow"],
    signal ? AbortSignal.any([signal, limit]) : limit,
  ).catch(() => undefined);
  // A client that hangs may not hear the signal either.
  const answer = await Promise.race([asked, pause(ANSWER_MS + 100)]);
  signal?.throwIfAborted();
  if (answer === undefined) onSilence?.();
  return answer?.code === 0 ? lines(answer.stdout) : undefined;
}

/** Containers that have the volume, running or not. */
export async function containersWith(volume: string): Promise<{ id: string; image: string; running: boolean }[]> {
  const format = "{{.ID}}\t{{.Image}}\t{{.State}}";
  const result = await docker(["ps", "--all", "--filter", `volume=${volume}`, "--format", format]);
  return lines(result.stdout).map((line) => {
    const [id = "", image = "", state = ""] = line.split("\t");
    return { id, image, running: state.startsWith("running") || state.startsWith("Up") };
  });
}

/** Removes containers with all that is theirs alone, then the volume. Returns why it could not, or undefined. */
export async function removeVolumeAndContainers(volume: string): Promise<string | undefined> {
  for (const { id } of await containersWith(volume)) await docker(["rm", "--force", "--volumes", id]);
  const result = await docker(["volume", "rm", volume]);
  return result.code === 0 ? undefined : result.output.trim();
}

/** PostgreSQL on a volume's data: in a container that runs already, or in one of ours on a copy. */
export class DockerPostgres {
  readonly #container: string;
  readonly #user: string;
  #closed = false;
  /** Ours is removed in the end. */
  readonly isOurs: boolean;

  private constructor(container: string, user: string, isOurs: boolean) {
    this.#container = container;
    this.#user = user;
    this.isOurs = isOurs;
  }

  /** `name` is what a container of ours is called: one left by a start that was killed is removed first. */
  static async open(
    volume: string,
    options: { name: string; newestMajor: number; detail: (text: string) => void; signal?: AbortSignal | undefined },
  ): Promise<DockerPostgres | "empty"> {
    const { name, signal } = options;
    await docker(["rm", "--force", "--volumes", name]);
    const containers = await containersWith(volume);
    const running = containers.filter((container) => container.running);
    for (const { id } of running) {
      const user = await userOf(id);
      if (user !== undefined) return new DockerPostgres(id, user, false);
    }
    // Two servers on the same files destroy them, and copying files in use brings half of them.
    const [busy] = running;
    if (busy) {
      throw new UserError(`the container ${busy.id} (${busy.image}) uses the Docker volume ${volume}`, {
        fix: `stop it with \`docker stop ${busy.id}\` and start again`,
      });
    }
    try {
      const images = containers.map(({ image }) => image);
      const found = await findCluster(volume, images, options);
      if (found === undefined) return "empty";
      await startOnCopy(volume, found, options);
      const deadline = Date.now() + START_MS;
      for (;;) {
        const user = await userOf(name);
        if (user !== undefined) return new DockerPostgres(name, user, true);
        signal?.throwIfAborted();
        const state = await docker(["inspect", "--format", "{{.State.Running}}", name]);
        if (state.stdout.trim() !== "true" || Date.now() > deadline) {
          const log = await docker(["logs", "--tail", "12", name]);
          throw new UserError(
            `PostgreSQL does not start in a container on the Docker volume ${volume}:\n${log.output.trim()}`,
            { fix: "look at the message above; LEOFLOW_DOCKER_VOLUME=none starts with an empty database" },
          );
        }
        await pause(200);
      }
    } catch (error) {
      await docker(["rm", "--force", "--volumes", name]);
      throw error;
    }
  }

  async close(): Promise<void> {
    if (!this.isOurs || this.#closed) return;
    this.#closed = true;
    await docker(["rm", "--force", "--volumes", this.#container]);
  }

  async databases(): Promise<string[]> {
    const ask = this.asking("postgres");
    const rows = await ask("select datname from pg_database where datallowconn and not datistemplate order by 1");
    return rows.map((row) => (row as { datname: string }).datname);
  }

  /** Statements in the container's psql; an error has PostgreSQL's code. */
  asking(database: string): Ask {
    return async (statement) => {
      const query = `select coalesce(json_agg(to_json(answer)), '[]') from (${statement}) as answer`;
      const result = await docker([...this.#psql(database), "--set=VERBOSITY=verbose", "--command", query]);
      if (result.code === 0) return JSON.parse(result.stdout) as unknown[];
      const [, code, message] = /ERROR:\s+([0-9A-Z]{5}): (.*)/.exec(result.output) ?? [];
      throw Object.assign(new Error(message ?? result.output.trim()), { code });
    };
  }

  /** Writes the database's dump into `psql`, a command that reads it; resolves when both ended well. */
  async dumpInto(database: string, psql: { command: string[]; env: Record<string, string> }, signal?: AbortSignal) {
    const dump = ["pg_dump", "-U", this.#user, "--no-owner", "--no-privileges", "--format=plain", database];
    const [program = "", ...args] = psql.command;
    const from = spawn("docker", ["exec", this.#container, ...dump], {
      stdio: ["ignore", "pipe", "pipe"],
      env: childEnvironment(),
      signal,
    });
    const into = spawn(program, args, {
      stdio: ["pipe", "ignore", "pipe"],
      env: childEnvironment(psql.env),
      signal,
    });
    // psql's early end is what its own error says; pg_dump then ends over the closed pipe.
    into.stdin.on("error", () => from.stdout.destroy());
    from.stdout.pipe(into.stdin);
    const ends = await Promise.all(
      [from, into].map(async (child) => {
        let errors = "";
        child.stderr.on("data", (data: Buffer) => (errors = (errors + data.toString()).slice(-4096)));
        const code = await new Promise<number | null>((done) => {
          child.once("error", (error) => {
            errors += error.message;
            done(null);
          });
          child.once("close", done);
        });
        return { code, errors: errors.trim() };
      }),
    );
    signal?.throwIfAborted();
    // psql's word goes before that of pg_dump, which only lost its reader.
    const failed = ends.findLast(({ code }) => code !== 0);
    if (!failed) return;
    throw new UserError(
      `could not copy the database out of Docker: ${failed.errors || `exit code ${String(failed.code)}`}`,
      {
        fix: "the volume is as it was; look at the message above and start again",
      },
    );
  }

  #psql(database: string): string[] {
    const quiet = ["--no-psqlrc", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"];
    return ["exec", this.#container, "psql", "-U", this.#user, "-d", database, ...quiet];
  }
}

interface Cluster {
  /** Below the volume. */
  path: string;
  image: string;
}

/** Where in the volume the data folder is, and an image of its PostgreSQL. */
async function findCluster(
  volume: string,
  used: string[],
  options: { newestMajor: number; detail: (text: string) => void; signal?: AbortSignal | undefined },
): Promise<Cluster | undefined> {
  const { newestMajor, detail, signal } = options;
  const local = lines((await docker(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"])).stdout);
  const images = [...used, ...local.filter((image) => /(^|\/)postgres:/.test(image))];
  const any = images[0] ?? `postgres:${newestMajor}-alpine`;
  // Images up to 17 keep data/, from 18 on MAJOR/docker/ in one volume.
  const look = `cd ${MOUNT} || exit 1; for f in PG_VERSION */PG_VERSION */*/PG_VERSION; do [ -f "$f" ] && echo "$f $(cat "$f")"; done; exit 0`;
  if (images.length === 0) detail(`docker pull ${any}`);
  const mount = ["--network", "none", "--volume", `${volume}:${MOUNT}:ro`];
  const seen = await docker(["run", "--rm", ...mount, "--entrypoint", "sh", any, "-c", look], signal);
  if (seen.code !== 0) throw dockerError(`look into the Docker volume ${volume}`, seen);
  const [first] = lines(seen.stdout);
  if (first === undefined) return undefined;
  const [file = "", version = ""] = first.split(" ");
  const major = Number(version);
  if (!Number.isInteger(major) || major > newestMajor) {
    throw new UserError(
      `the Docker volume ${volume} holds data of PostgreSQL ${version}; this release has ${newestMajor}`,
      {
        fix: "install a newer release of Leoflow; LEOFLOW_DOCKER_VOLUME=none starts with an empty database",
      },
    );
  }
  const fitting = [...used, ...images].find((image) => new RegExp(`(^|/)postgres:${major}\\b`).test(image));
  return { path: file.slice(0, -"PG_VERSION".length), image: fitting ?? used[0] ?? `postgres:${major}-alpine` };
}

/** The volume is mounted read-only and stays exactly as it is: PostgreSQL runs on a copy inside the container. */
async function startOnCopy(
  volume: string,
  { path, image }: Cluster,
  options: { name: string; detail: (text: string) => void; signal?: AbortSignal | undefined },
): Promise<void> {
  options.detail(`PostgreSQL of ${image}`);
  const script = [
    "set -e",
    `cp -a "${MOUNT}/${path}." "$PGDATA"`,
    'rm -f "$PGDATA/postmaster.pid"',
    "printf 'local all all trust\\n' > \"$PGDATA/leoflow-hba.conf\"",
    'exec docker-entrypoint.sh postgres -c listen_addresses= -c hba_file="$PGDATA/leoflow-hba.conf" -c fsync=off',
  ].join("\n");
  const result = await docker(
    [
      ...["run", "--detach", "--name", options.name, "--network", "none", "--volume", `${volume}:${MOUNT}:ro`],
      ...["--env", `PGDATA=${COPY}`, "--entrypoint", "sh", image, "-c", `mkdir -p ${COPY} && ${script}`],
    ],
    options.signal,
  );
  if (result.code !== 0) throw dockerError(`start ${image}`, result);
}

/** The name of its superuser, once PostgreSQL in that container answers. */
async function userOf(container: string): Promise<string | undefined> {
  const env = await docker(["inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", container]);
  const named = /^POSTGRES_USER=(.+)$/m.exec(env.stdout)?.[1];
  for (const user of new Set([...(named ? [named] : []), ...USUAL_USERS])) {
    const asked = await docker([
      "exec",
      container,
      "psql",
      "-X",
      "-At",
      "-U",
      user,
      "-d",
      "postgres",
      "-c",
      "select 1",
    ]);
    if (asked.code === 0) return user;
  }
  return undefined;
}

function docker(args: string[], signal?: AbortSignal): Promise<CommandResult> {
  return runCommand(["docker", ...args], { signal });
}

function dockerError(doing: string, result: CommandResult): UserError {
  return new UserError(`could not ${doing}:\n${result.output.trim().split("\n").slice(-6).join("\n")}`, {
    fix: "look at the message above; LEOFLOW_DOCKER_VOLUME=none starts with an empty database and leaves the volume alone",
  });
}

function lines(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
}
