import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sharedHome } from "./home.ts";

/** An older PostgreSQL than ours, as Debian packs it: PyPI has only the newest major. */
export interface OlderPostgres {
  major: string;
  /** Its programs; each is a script where its libraries are not the system's. */
  bin: string;
}

const MAJORS = ["15", "17", "16", "14", "13"];

/** Installed, unpacked by an earlier run, or unpacked now from the packages of this machine's own Debian; nothing is installed. */
export function olderPostgres(): OlderPostgres {
  const kept = join(sharedHome.program, ".cache/older-postgres");
  for (const major of MAJORS) {
    for (const bin of [`/usr/lib/postgresql/${major}/bin`, join(kept, major, "bin")]) {
      if (["initdb", "postgres", "pg_ctl", "pg_controldata", "psql"].every((name) => existsSync(join(bin, name)))) {
        return { major, bin };
      }
    }
  }
  const work = mkdtempSync(join(tmpdir(), "leoflow-older-postgres-"));
  try {
    return unpack(work, kept);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function unpack(work: string, kept: string): OlderPostgres {
  // apt's own user reads there when we are root.
  chmodSync(work, 0o777);
  const download = (...packages: string[]) =>
    spawnSync("apt-get", ["download", ...packages], { cwd: work, encoding: "utf8" });
  const find = () => MAJORS.find((major) => download(`postgresql-${major}`, `postgresql-client-${major}`).status === 0);
  let major = find();
  if (major === undefined) {
    // A fresh machine has no lists of packages yet.
    spawnSync("apt-get", ["update"], { stdio: "ignore" });
    major = find();
  }
  if (major === undefined)
    throw new Error(`no older PostgreSQL to be had: ${download(`postgresql-${MAJORS[0]}`).stderr}`);
  const root = join(work, "root");
  const unpacked = new Set<string>();
  const unpackAll = () => {
    for (const file of readdirSync(work).filter((name) => name.endsWith(".deb") && !unpacked.has(name))) {
      execFileSync("dpkg", ["-x", join(work, file), root]);
      unpacked.add(file);
    }
  };
  unpackAll();
  const libraries = librariesIn(root);
  const programs = join(root, `usr/lib/postgresql/${major}/bin`);
  const missing = () =>
    spawnSync("ldd", [join(programs, "postgres"), join(programs, "psql")], {
      encoding: "utf8",
      env: { ...process.env, LD_LIBRARY_PATH: libraries() },
    }).stdout.includes("not found");
  for (let round = 0; round < 4 && missing(); round++) {
    const needed = [...unpacked].flatMap((file) => {
      const depends = execFileSync("dpkg-deb", ["-f", join(work, file), "Depends"], { encoding: "utf8" });
      return depends.split(/[,|]/).map((each) => each.trim().split(/[\s(]/, 1)[0] ?? "");
    });
    for (const name of new Set(needed.filter((each) => /^lib(?!c6$|gcc)/.test(each)))) download(name);
    unpackAll();
  }
  const target = join(kept, major);
  rmSync(target, { recursive: true, force: true });
  mkdirSync(kept, { recursive: true });
  renameSync(root, target);
  mkdirSync(join(target, "bin"), { recursive: true });
  const folders = librariesIn(target)();
  for (const name of readdirSync(join(target, `usr/lib/postgresql/${major}/bin`))) {
    const program = join(target, `usr/lib/postgresql/${major}/bin`, name);
    writeFileSync(join(target, "bin", name), `#!/bin/sh\nLD_LIBRARY_PATH='${folders}' exec '${program}' "$@"\n`, {
      mode: 0o755,
    });
  }
  return { major, bin: join(target, "bin") };
}

function librariesIn(root: string): () => string {
  return () =>
    ["usr/lib", "lib"]
      .map((folder) => join(root, folder))
      .filter((folder) => existsSync(folder))
      .flatMap((folder) => [
        folder,
        ...readdirSync(folder, { withFileTypes: true })
          .filter((each) => each.isDirectory())
          .map((each) => join(folder, each.name)),
      ])
      .filter((folder) => readdirSync(folder).some((name) => name.includes(".so")))
      .join(":");
}
