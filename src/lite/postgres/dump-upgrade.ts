import { spawn } from "node:child_process";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { childEnvironment } from "../../kit/config.ts";
import { commandError, runCommand } from "../command.ts";

type Environment = Record<string, string | undefined>;

export interface DumpCopyOptions {
  /** The newer server's programs: they read older servers. */
  bin: string;
  /** How the programs reach the two servers. */
  from: Environment;
  to: Environment;
  signal?: AbortSignal | undefined;
}

/** Copies roles and every database from one running server to another, newer one that is empty. */
export async function copyByDump(options: DumpCopyOptions): Promise<void> {
  const { bin, from, to, signal } = options;
  // What is there already (our own user) is an error to psql that means nothing.
  await pipe(options, [join(bin, "pg_dumpall"), "--roles-only"], [join(bin, "psql"), "-Xq", "-d", "postgres"]);
  const question = "select datname from pg_database where datallowconn and not datistemplate order by 1";
  const listed = await runCommand([join(bin, "psql"), "-XAt", "-d", "postgres", "-c", question], { env: from, signal });
  if (listed.code !== 0) throw commandError({ doing: "list the databases of the old cluster" }, listed);
  for (const name of listed.stdout.split("\n").filter(Boolean)) {
    if (name !== "postgres") {
      const made = await runCommand([join(bin, "createdb"), "--", name], {
        env: { ...to, PGDATABASE: "postgres" },
        signal,
      });
      if (made.code !== 0) throw commandError({ doing: `make the database ${name}` }, made);
    }
    await pipe(
      options,
      [join(bin, "pg_dump"), "-d", name],
      [join(bin, "psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-d", name],
    );
  }
}

/** `reader | writer`, both of which must end well. */
async function pipe(
  { from, to, signal }: DumpCopyOptions,
  [reader = "", ...readerArgs]: string[],
  [writer = "", ...writerArgs]: string[],
): Promise<void> {
  signal?.throwIfAborted();
  const common = signal ? { signal } : {};
  const source = spawn(reader, readerArgs, {
    stdio: ["ignore", "pipe", "pipe"],
    env: childEnvironment(from),
    ...common,
  });
  const sink = spawn(writer, writerArgs, { stdio: ["pipe", "ignore", "pipe"], env: childEnvironment(to), ...common });
  let output = "";
  for (const child of [source, sink]) {
    child.stderr.setEncoding("utf8").on("data", (text: string) => (output = (output + text).slice(-8192)));
  }
  const ends = [source, sink].map(
    (child) =>
      new Promise<number | null>((done) => {
        child.once("error", () => done(null));
        child.once("close", (code) => done(code));
      }),
  );
  // A writer that ends early breaks the pipe; its own message says more.
  await pipeline(source.stdout, sink.stdin).catch(() => source.kill());
  const codes = await Promise.all(ends);
  signal?.throwIfAborted();
  const code = codes.find((each) => each !== 0);
  if (code !== undefined) throw commandError({ doing: "load the old cluster's dump" }, { code, stdout: "", output });
}
