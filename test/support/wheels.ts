import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { testPython } from "./python.ts";

const MAKE = `
import json, sys, zipfile
for name, version, requires in json.load(sys.stdin):
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    with zipfile.ZipFile(f"{sys.argv[1]}/{module}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{module}.py", f"VERSION = {version!r}\\n\\ndef say():\\n    print({name!r}, VERSION)\\n")
        needs = f"Requires-Dist: {requires}\\n" if requires else ""
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n{needs}")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\\n{name} = {module}:say\\n")
        wheel.writestr(f"{info}/RECORD", "")
`;

/** A package index of our own: in each wheel a module with VERSION, and a command that prints it. Third comes what it requires. */
export function makeWheels(folder: string, packages: readonly (readonly [string, string, string?])[]): void {
  mkdirSync(folder, { recursive: true });
  const input = JSON.stringify(packages.map(([name, version, requires = ""]) => [name, version, requires]));
  execFileSync(testPython(), ["-c", MAKE, folder], { input });
}

/** A requirements.lock of these; what is not in the folder has a hash that fits nothing. */
export function lockOf(folder: string, packages: Readonly<Record<string, string>>): string {
  const lines = Object.entries(packages).map(([name, version]) => {
    const wheel = join(folder, `${name.replaceAll("-", "_")}-${version}-py3-none-any.whl`);
    return `${name}==${version} \\\n    --hash=sha256:${sha256Of(wheel)}\n`;
  });
  return lines.join("");
}

function sha256Of(file: string): string {
  try {
    return createHash("sha256").update(readFileSync(file)).digest("hex");
  } catch {
    return "0".repeat(64);
  }
}
