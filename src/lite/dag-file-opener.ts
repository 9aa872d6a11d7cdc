import { access, realpath, stat } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import type { OpenDagFile } from "../api/leoflow/dag-file-contract.ts";
import { FileRefusal } from "../api/leoflow/files-contract.ts";
import type { DagBundles } from "./bundles/dag-bundles.ts";
import { canHoldDags } from "./workspace/discovery.ts";
import { PROJECT_FILE } from "./workspace/project-file.ts";
import type { WorkspaceProcessor } from "./workspace/workspace-processor.ts";

export interface DagFileOpenerDeps {
  workspace: WorkspaceProcessor;
  bundles: DagBundles;
}

/** Opens DAG files where they lie: those of the workspace are parsed there, others become a bundle of their own meanwhile. */
export function dagFileOpener({ workspace, bundles }: DagFileOpenerDeps, root: string): OpenDagFile {
  return async (path) => {
    const file = await realFile(path);
    const within = relative(await realpath(root), file);
    const isWithin = !within.startsWith(`..${sep}`);
    const mounted = isWithin ? null : await mount(bundles, file);
    const relPath = mounted ?? within.split(sep).join("/");
    const close = async () => {
      if (mounted !== null) await bundles.unmount(mounted);
    };
    const parsed = await workspace.parseNow(relPath);
    if (parsed) return { ...parsed, close };
    await close();
    throw new FileRefusal(
      "invalid-path",
      `${path} is no DAG file: it does not name both "airflow" and "dag", or an .airflowignore leaves it out`,
    );
  };
}

async function realFile(path: string): Promise<string> {
  const file = await realpath(path).catch((error: NodeJS.ErrnoException) => {
    throw new FileRefusal("not-found", `${path} cannot be opened: ${error.message}`, { cause: error });
  });
  if (!(await stat(file)).isFile() || !canHoldDags(file)) {
    throw new FileRefusal("invalid-path", `${path} is neither a Python file nor a .zip of them`);
  }
  return file;
}

/** Its modules lie in its project's folder, or beside it. */
async function mount(bundles: DagBundles, file: string): Promise<string> {
  let folder = dirname(file);
  for (let above = folder; above !== dirname(above); above = dirname(above)) {
    const isProject = await access(join(above, PROJECT_FILE)).then(
      () => true,
      () => false,
    );
    if (isProject) {
      folder = above;
      break;
    }
  }
  return bundles.mount(folder, relative(folder, file).split(sep).join("/"));
}
