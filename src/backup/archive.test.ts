import { execFileSync } from "node:child_process";
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { sharedHome } from "../../test/support/home.ts";
import { programVersion } from "../kit/version.ts";
import { silentProgress } from "../lite/progress.ts";
import { ensurePostgres } from "../lite/postgres/install.ts";
import { loadMigrations } from "../store/migrations.ts";
import { extractArchive, verifyArchive } from "./archive.ts";
import { createBackup, type BackupOptions } from "./create-backup.ts";

let database: TestDatabase;
let bin: string;
let folder: string;
beforeAll(async () => {
  database = await createTestDatabase();
  bin = await ensurePostgres(sharedHome, silentProgress);
  await database.pool.query("insert into variable (key, value) values ('greeting', 'hello')").catch(() => undefined);
});
afterAll(() => database.close());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-backup-"));
  mkdirSync(join(folder, "home/versions"), { recursive: true });
  mkdirSync(join(folder, "workspace"));
  writeFileSync(join(folder, "home/config.yaml"), "lite_port: 8088\n");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function options(changes: Partial<BackupOptions> = {}): BackupOptions {
  return {
    file: join(folder, "backup.tar.gz"),
    datastore: { database: database.config, bin },
    config: join(folder, "home/config.yaml"),
    setup: undefined,
    workspace: join(folder, "workspace"),
    versions: join(folder, "home/versions"),
    home: join(folder, "home"),
    progress: () => undefined,
    ...changes,
  };
}

describe("an archive", () => {
  it("brings a tree of files back as it was", async () => {
    const workspace = join(folder, "workspace");
    mkdirSync(join(workspace, "empty"));
    mkdirSync(join(workspace, "read-only"));
    writeFileSync(join(workspace, "read-only/run.sh"), "#!/bin/sh\n", { mode: 0o755 });
    chmodSync(join(workspace, "read-only"), 0o555);
    const big = Buffer.alloc(3 * 1024 * 1024 + 17, "0123456789");
    writeFileSync(join(workspace, "big.bin"), big);
    writeFileSync(join(workspace, "new\nline"), "");
    writeFileSync(Buffer.concat([Buffer.from(`${workspace}/`), Buffer.from([0x66, 0xff, 0xfe, 0xc3])]), "odd");
    symlinkSync("big.bin", join(workspace, "relative"));
    symlinkSync("/etc/passwd", join(workspace, "absolute"));
    symlinkSync("nowhere", join(workspace, "dangling"));
    symlinkSync(workspace, join(workspace, "up"));
    linkSync(join(workspace, "big.bin"), join(workspace, "hard"));
    utimesSync(join(workspace, "big.bin"), 1_700_000_000.123456, 1_700_000_000.123456);
    for (const name of [".git", "sub/node_modules", "sub/venv"]) {
      mkdirSync(join(workspace, name), { recursive: true });
      writeFileSync(join(workspace, name, "file"), "no");
    }
    writeFileSync(join(folder, "home/versions/abc.tar"), "source");

    const { manifest, bytes, warnings } = await createBackup(options());
    expect(warnings).toEqual([]);
    expect(bytes).toBe(statSync(join(folder, "backup.tar.gz")).size);
    expect(statSync(join(folder, "backup.tar.gz")).mode & 0o777).toBe(0o600);
    expect(manifest).toMatchObject({
      manifest_version: 1,
      leoflow_version: programVersion,
      schema_version: loadMigrations().at(-1)?.version,
      home: join(folder, "home"),
      workspace,
    });
    expect(manifest.created_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(manifest.postgres_version).toMatch(/^\d+\.\d+$/);

    const verified = await verifyArchive(join(folder, "backup.tar.gz"));
    expect(verified.manifest).toEqual(manifest);
    expect(verified.has).toEqual({ config: true, setup: false, workspace: true, versions: true });

    const out = join(folder, "out");
    mkdirSync(out);
    await extractArchive(join(folder, "backup.tar.gz"), out);
    expect(readdirSync(out).sort()).toEqual(["config.yaml", "datastore.sql", "versions", "workspace"]);
    expect(readFileSync(join(out, "workspace/big.bin")).equals(big)).toBe(true);
    expect(statSync(join(out, "workspace/read-only")).mode & 0o777).toBe(0o555);
    expect(readlinkSync(join(out, "workspace/absolute"))).toBe("/etc/passwd");
    expect(lstatSync(join(out, "workspace/up")).isSymbolicLink()).toBe(true);
    expect(readFileSync(join(out, "datastore.sql"), "utf8")).toContain("DROP TABLE IF EXISTS");
    expect(() => execFileSync("tar", ["-tzf", join(folder, "backup.tar.gz")])).not.toThrow();
    rmSync(join(workspace, ".git"), { recursive: true });
    rmSync(join(workspace, "sub/node_modules"), { recursive: true });
    rmSync(join(workspace, "sub/venv"), { recursive: true });
    expect(execFileSync("diff", ["-r", "--no-dereference", workspace, join(out, "workspace")]).toString()).toBe("");
  });

  it("is encrypted with a passphrase", async () => {
    const file = join(folder, "backup.tar.gz.age");
    const { manifest } = await createBackup(options({ file, passphrase: "correct horse" }));
    expect((await verifyArchive(file, { passphrase: "correct horse" })).manifest).toEqual(manifest);
    await expect(verifyArchive(file, { passphrase: "wrong" })).rejects.toThrow("the passphrase does not open");
    await expect(verifyArchive(file)).rejects.toThrow("no passphrase was given");
    expect(readdirSync(join(folder, "home")).sort()).toEqual(["config.yaml", "versions"]);
  });
});
