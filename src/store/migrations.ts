import { readdirSync, readFileSync } from "node:fs";

export interface Migration {
  version: number;
  name: string;
  sql: string;
}

declare const LEOFLOW_MIGRATIONS: Migration[] | undefined;

/** `migrations/NNNN_name.sql` in order; the build embeds them, the source tree reads the folder. */
export function loadMigrations(): Migration[] {
  if (typeof LEOFLOW_MIGRATIONS !== "undefined") return LEOFLOW_MIGRATIONS;
  const folder = new URL("../../migrations/", import.meta.url);
  return readdirSync(folder)
    .filter((file) => file.endsWith(".sql"))
    .sort()
    .map((file) => ({
      version: Number(file.slice(0, 4)),
      name: file.slice(5, -4),
      sql: readFileSync(new URL(file, folder), "utf8"),
    }));
}
