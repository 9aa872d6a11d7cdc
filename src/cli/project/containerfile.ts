import type { ProjectSettings } from "../../domain/project-schema.ts";

/** The Python of images where leoflow.yaml names none: that of Leoflow itself. */
const DEFAULT_PYTHON = "3.12";
const HOME = "/opt/leoflow";

/** The generated Containerfile. Its context holds requirements.txt, runtime/ and project/. */
export function containerfile(settings: ProjectSettings, labels: Readonly<Record<string, string>>): string {
  const { base_image: base, python_version: python = DEFAULT_PYTHON, system_packages: packages = [] } = settings;
  const install = packages.length
    ? `RUN apt-get update \\
 && apt-get install --yes --no-install-recommends ${[...packages].sort().join(" ")} \\
 && rm -rf /var/lib/apt/lists/*\n`
    : "";
  const all = { ...labels, ...settings.build?.labels };
  const written = Object.entries(all).map(([key, value]) => `LABEL ${JSON.stringify(key)}=${JSON.stringify(value)}\n`);
  return `FROM ${base ?? `python:${python}-slim`}
${install}COPY requirements.txt ${HOME}/requirements.txt
RUN python -m pip install --no-cache-dir --no-deps --requirement ${HOME}/requirements.txt
COPY runtime/ ${HOME}/runtime/
COPY project/ ${HOME}/project/
ENV PYTHONPATH=${HOME}/runtime:${HOME}/project
WORKDIR ${HOME}/project
${written.join("")}`;
}
