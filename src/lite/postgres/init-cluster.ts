import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { commandError, runCommand } from "../command.ts";
import type { Identity } from "./identity.ts";
import { PG_HBA_CONF, POSTGRESQL_CONF } from "./settings.ts";

export const POSTGRES_USER = "leoflow";

/** Nothing of the user's PostgreSQL settings, and no translated messages: errors are looked for by their words. */
export const POSTGRES_ENVIRONMENT = {
  PGDATA: undefined,
  PGHOST: undefined,
  PGPORT: undefined,
  PGUSER: undefined,
  PGPASSWORD: undefined,
  PGOPTIONS: undefined,
  LC_ALL: "C",
  LANG: "C",
};

export interface InitOptions {
  bin: string;
  /** Holds the cluster and, for a moment, a copy of the password. */
  folder: string;
  /** The cluster's folder; what is there is removed. */
  target: string;
  identity: Identity;
  password: string;
  /** False only for data that is worth nothing. */
  sync: boolean;
  checksums?: boolean;
  signal?: AbortSignal | undefined;
}

/** An empty cluster with our settings. One that is not finished leaves nothing behind but is never taken for one either. */
export async function initCluster(options: InitOptions): Promise<void> {
  const { bin, folder, target, identity, password, sync, checksums = true, signal } = options;
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { mode: 0o700 });
  identity.give(target);
  const passwordCopy = join(folder, "password.initdb");
  writeFileSync(passwordCopy, `${password}\n`, { mode: 0o600 });
  identity.give(passwordCopy);
  const result = await runCommand(
    identity.wrap([
      ...[join(bin, "initdb"), "-D", target, "-U", POSTGRES_USER, "-A", "scram-sha-256"],
      ...["--pwfile", passwordCopy, checksums ? "--data-checksums" : "--no-data-checksums", "-E", "UTF8"],
      // The builtin provider sorts the same on every machine and after every update of the C library.
      ...["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"],
      ...["--set", "scram_iterations=1"],
      ...(sync ? [] : ["--no-sync"]),
    ]),
    { env: POSTGRES_ENVIRONMENT, cwd: folder, signal },
  ).finally(() => rmSync(passwordCopy, { force: true }));
  if (result.code !== 0) {
    rmSync(target, { recursive: true, force: true });
    throw commandError({ doing: "make PostgreSQL's data folder" }, result);
  }
  for (const [name, text] of [
    ["postgresql.conf", POSTGRESQL_CONF],
    ["pg_hba.conf", PG_HBA_CONF],
  ] as const) {
    writeFileSync(join(target, name), text, { mode: 0o600 });
    identity.give(join(target, name));
  }
}
