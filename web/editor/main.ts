import { RequestError } from "../frame/api.ts";
import { askText, choose, element } from "../frame/elements.ts";
import { followTheme } from "../frame/theme.ts";
import { draftOf, dropDraft, keepDraft } from "./drafts.ts";
import "./editor.css";
import { FileTree } from "./file-tree.ts";
import { problemsOf, type Problem } from "./import-error.ts";
import { guardLeaving } from "./leave-guard.ts";
import { editor, KeyCode, KeyMod, MarkerSeverity, Uri } from "./monaco.ts";
import * as server from "./server.ts";

const ERRORS_EVERY_MS = 1_500;
const SEARCH_AFTER_MS = 250;
const LAST_FILE = "leoflow.editor.file";
const LONG_LINES_BYTES = 512 * 1024;

/** A file that is open, with what was typed into it. */
interface Buffer {
  file: Omit<server.OpenedFile, "text">;
  model: editor.ITextModel;
  /** Of the content as it is on disk, as far as we know. */
  tag: string;
  /** The model's version when it was as on disk. */
  savedVersion: number;
  view: editor.ICodeEditorViewState | null;
}

const buffers = new Map<string, Buffer>();
let entries: server.FileEntry[] = [];
let errors: server.ImportError[] = [];
let current: Buffer | null = null;
let selected: server.FileEntry | null = null;

const tree = new FileTree((entry) => {
  selected = entry;
  if (entry.kind === "file") void attempt(() => open(entry.path));
  else draw();
});
const button = (label: string, run: () => Promise<void>, title = label) => {
  const made = element("button", { type: "button", title }, label);
  made.addEventListener("click", () => void attempt(run));
  return made;
};
const searchBox = element("input", { type: "search", placeholder: "Search in files", ariaLabel: "Search in files" });
const matches = element("div", { className: "matches", hidden: true });
const path = element("span", { className: "path" });
const dagLinks = element("span");
const saveButton = button("Save", save, "Save (Ctrl-S)");
const renameButton = button("Rename", rename, "Rename or move");
const deleteButton = button("Delete", remove);
const problems = element("div", { className: "problems", ariaLabel: "Import errors" });
const status = element("div", { className: "foot muted", role: "status" });
const textArea = element("div", { className: "text", hidden: true });
const hint = element("p", { className: "text hint muted" }, "Choose a file, or make a new one.");
saveButton.classList.add("primary");

document.body.append(
  element(
    "div",
    { className: "editor-page" },
    element(
      "div",
      { className: "side" },
      element("div", { className: "tools" }, button("New file", newFile), button("New folder", newFolder), searchBox),
      tree.view,
      matches,
    ),
    element(
      "div",
      { className: "head" },
      path,
      dagLinks,
      element("span", { className: "space" }),
      renameButton,
      deleteButton,
      saveButton,
    ),
    problems,
    textArea,
    hint,
    status,
  ),
);

const text = editor.create(textArea, {
  automaticLayout: true,
  minimap: { enabled: false },
  scrollBeyondLastLine: false,
  fixedOverflowWidgets: true,
  glyphMargin: true,
  matchBrackets: "never",
  model: null,
});
text.onDidChangeModelContent(() => {
  if (!current) return;
  const { file, tag, model } = current;
  if (isUnsaved(current)) keepDraft(file.path, { text: textOf(model), tag });
  else dropDraft(file.path);
  draw();
});
// An error's line above takes room: what is being written stays in sight.
text.onDidLayoutChange(() => {
  const position = text.getPosition();
  if (position && text.hasTextFocus()) text.revealPosition(position);
});
followTheme((dark) => editor.setTheme(dark ? "vs-dark" : "vs"));
guardLeaving(() => [...buffers.values()].filter(isUnsaved).map(({ file }) => file.path));

document.addEventListener(
  "keydown",
  (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || event.key.toLowerCase() !== "s") return;
    event.preventDefault();
    event.stopPropagation();
    void attempt(save);
  },
  true,
);
editor.addKeybindingRule({ keybinding: KeyMod.CtrlCmd | KeyCode.KeyS, command: null });
window.addEventListener("focus", () => void attempt(refresh));

let searching: { timer: number; abort: AbortController } | null = null;
searchBox.addEventListener("input", () => {
  if (searching) {
    window.clearTimeout(searching.timer);
    searching.abort.abort();
  }
  const abort = new AbortController();
  searching = { timer: window.setTimeout(() => void attempt(() => search(abort.signal)), SEARCH_AFTER_MS), abort };
});

void attempt(start);

async function start(): Promise<void> {
  await Promise.all([loadFiles(), loadErrors()]);
  draw();
  window.setInterval(() => {
    if (document.visibilityState === "visible") void loadErrors().then(draw, () => undefined);
  }, ERRORS_EVERY_MS);
  const query = new URLSearchParams(location.search);
  const dagId = query.get("dag_id");
  const wanted = query.get("file") ?? (dagId === null ? null : await server.fileOfDag(dagId));
  const first = wanted ?? sessionStorage.getItem(LAST_FILE);
  if (first === null || (wanted === null && !entries.some((entry) => entry.path === first))) return;
  await open(first, Number(query.get("line")) || null);
}

/** Runs what was asked for, and says why it could not be done. */
async function attempt(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") return;
    say(error instanceof Error ? error.message : String(error), true);
  }
}

async function loadFiles(): Promise<void> {
  const { files, truncated } = await server.listFiles();
  entries = files;
  if (truncated) say(`The workspace has more than ${files.length} files; not all are shown.`, true);
}

async function loadErrors(): Promise<void> {
  errors = await server.importErrors();
}

/** What others did while this window was not looked at. */
async function refresh(): Promise<void> {
  await Promise.all([loadFiles(), loadErrors()]);
  if (current && !isUnsaved(current)) {
    const buffer = current;
    const file = await server.readFile(buffer.file.path).catch((error: unknown) => {
      if (error instanceof RequestError && error.status === 404) return null;
      throw error;
    });
    if (file && file.tag !== buffer.tag && !isUnsaved(buffer)) takeFromDisk(buffer, file);
  }
  draw();
}

async function open(filePath: string, line: number | null = null): Promise<void> {
  let buffer = buffers.get(filePath);
  if (!buffer) {
    const { text: content, tag, ...file } = await server.readFile(filePath);
    const uri = Uri.file(`/${filePath}`);
    const language = content.length > LONG_LINES_BYTES ? "plaintext" : undefined;
    const model = editor.getModel(uri) ?? editor.createModel(content, language, uri);
    // Monaco 0.57 has tokens that do not fit their line at times, and then its parser of brackets never ends.
    model.updateOptions({ bracketColorizationOptions: { enabled: false, independentColorPoolPerBracketType: false } });
    buffer = { file, model, tag, savedVersion: model.getAlternativeVersionId(), view: null };
    buffers.set(filePath, buffer);
    const draft = draftOf(filePath);
    if (draft && draft.text !== content && !file.read_only) {
      // With the tag of what it was made from: saving it finds out what happened meanwhile.
      buffer.tag = draft.tag;
      model.setValue(draft.text);
      say("Your unsaved text was brought back.");
    }
  }
  if (current) current.view = text.saveViewState();
  current = buffer;
  text.setModel(buffer.model);
  text.updateOptions({ readOnly: buffer.file.read_only });
  if (buffer.view) text.restoreViewState(buffer.view);
  if (line !== null) goTo(line);
  selected = entries.find((entry) => entry.path === filePath) ?? null;
  sessionStorage.setItem(LAST_FILE, filePath);
  history.replaceState(null, "", `${location.pathname}?${new URLSearchParams({ file: filePath }).toString()}`);
  tree.reveal(filePath);
  draw();
  text.focus();
}

function goTo(line: number): void {
  text.setPosition({ lineNumber: line, column: 1 });
  text.revealLineInCenter(line);
  text.focus();
}

async function save(): Promise<void> {
  const buffer = current;
  if (!buffer || buffer.file.read_only) return;
  const { model, file } = buffer;
  const version = model.getAlternativeVersionId();
  try {
    saved(buffer, await server.saveFile(file.path, textOf(model), buffer.tag), version);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    if (error.status === 412) await settleConflict(buffer, error.message);
    else if (error.status === 404) await saveAgain(buffer, error.message);
    else throw error;
  }
  await loadErrors();
  draw();
}

function saved(buffer: Buffer, tag: string, version: number): void {
  buffer.tag = tag;
  buffer.savedVersion = version;
  if (isUnsaved(buffer)) keepDraft(buffer.file.path, { text: textOf(buffer.model), tag });
  else dropDraft(buffer.file.path);
  say(`Saved ${buffer.file.path}.`);
}

async function settleConflict(buffer: Buffer, message: string): Promise<void> {
  const answer = await choose(message, [
    { label: "Keep editing", value: "keep" },
    { label: "Load the file from disk", value: "disk" },
    { label: "Overwrite it with my text", value: "mine", primary: true },
  ] as const);
  if (answer === null || answer === "keep") return say(message, true);
  const file = await server.readFile(buffer.file.path);
  if (answer === "disk") {
    takeFromDisk(buffer, file);
    return say(`${buffer.file.path} is as on disk. Undo (Ctrl-Z) brings your text back.`);
  }
  const version = buffer.model.getAlternativeVersionId();
  saved(buffer, await server.saveFile(buffer.file.path, textOf(buffer.model), file.tag), version);
}

async function saveAgain(buffer: Buffer, message: string): Promise<void> {
  const again = await choose(message, [
    { label: "Keep editing", value: false },
    { label: "Save it as a new file", value: true, primary: true },
  ]);
  if (!again) return say(message, true);
  const version = buffer.model.getAlternativeVersionId();
  saved(buffer, await server.createFile(buffer.file.path, textOf(buffer.model)), version);
  await loadFiles();
}

/** As an edit, so that it can be undone. */
function takeFromDisk(buffer: Buffer, file: server.OpenedFile & { tag: string }): void {
  const { model } = buffer;
  const { text: content, tag, ...rest } = file;
  model.pushEditOperations([], [{ range: model.getFullModelRange(), text: content }], () => null);
  Object.assign(buffer, { file: rest, tag, savedVersion: model.getAlternativeVersionId() });
  dropDraft(file.path);
}

async function newFile(): Promise<void> {
  const given = await askText("Path of the new file, below the workspace:", folderOfSelected(), "Create");
  if (given === null) return;
  await server.createFile(given, "");
  await loadFiles();
  await open(given);
}

async function newFolder(): Promise<void> {
  const given = await askText("Path of the new folder, below the workspace:", folderOfSelected(), "Create");
  if (given === null) return;
  await server.createFolder(given);
  await loadFiles();
  tree.reveal(`${given}/`);
  draw();
}

function folderOfSelected(): string {
  if (!selected) return "";
  const folder = selected.kind === "folder" ? selected.path : selected.path.split("/").slice(0, -1).join("/");
  return folder === "" ? "" : `${folder}/`;
}

async function rename(): Promise<void> {
  if (!selected) return;
  const { path: from } = selected;
  const to = await askText(`New path of ${from}:`, from, "Rename");
  if (to === null || to === from) return;
  const affected = within(from);
  if (affected.some(isUnsaved)) return say("Save first what is not saved.", true);
  await server.renameFile(from, to);
  const wasOpen = current && affected.includes(current) ? to + current.file.path.slice(from.length) : null;
  affected.forEach(close);
  await loadFiles();
  selected = entries.find((entry) => entry.path === to) ?? null;
  if (wasOpen !== null) await open(wasOpen);
  draw();
}

async function remove(): Promise<void> {
  if (!selected) return;
  const { path: gone, kind } = selected;
  const inside = entries.filter((entry) => entry.kind === "file" && entry.path.startsWith(`${gone}/`)).length;
  const what = kind === "file" ? gone : `the folder ${gone} with all that is in it (${counted(inside, "file")} shown)`;
  const sure = await choose(`Delete ${what}? This cannot be undone.`, [
    { label: "Cancel", value: false },
    { label: "Delete", value: true, primary: true },
  ]);
  if (!sure) return;
  await server.deleteFile(gone, kind === "folder");
  for (const buffer of within(gone)) {
    dropDraft(buffer.file.path);
    close(buffer);
  }
  selected = null;
  await Promise.all([loadFiles(), loadErrors()]);
  say(`Deleted ${gone}.`);
  draw();
}

const counted = (count: number, what: string) => `${count} ${what}${count === 1 ? "" : "s"}`;

const within = (place: string) =>
  [...buffers.values()].filter(({ file }) => file.path === place || file.path.startsWith(`${place}/`));

function close(buffer: Buffer): void {
  buffers.delete(buffer.file.path);
  if (current === buffer) {
    current = null;
    text.setModel(null);
  }
  buffer.model.dispose();
}

async function search(signal: AbortSignal): Promise<void> {
  const wanted = searchBox.value.trim();
  const isSearch = wanted.length >= 2;
  matches.hidden = !isSearch;
  tree.view.hidden = isSearch;
  if (!isSearch) return;
  const found = await server.searchFiles(wanted, signal);
  const named = entries.filter(
    (entry) => entry.kind === "file" && entry.path.toLowerCase().includes(wanted.toLowerCase()),
  );
  const row = (label: string, detail: string, run: () => Promise<void>) => {
    const made = button(label, run);
    made.append(element("small", {}, detail));
    return made;
  };
  matches.replaceChildren(
    ...named.map((entry) => row(entry.path, "", () => open(entry.path))),
    ...found.matches.map((match) =>
      row(`${match.path}:${match.line}`, match.text.trim(), () => open(match.path, match.line)),
    ),
    element("p", { className: "hint muted" }, found.truncated ? "… and more" : counted(found.matches.length, "line")),
  );
}

function draw(): void {
  const broken = new Set(errors.map(({ filename }) => filename));
  const unsaved = new Set([...buffers.values()].filter(isUnsaved).map(({ file }) => file.path));
  tree.show(entries, { selected: selected?.path ?? current?.file.path ?? null, unsaved, broken });
  const isOpen = current !== null;
  textArea.hidden = !isOpen;
  hint.hidden = isOpen;
  const locked = selected?.read_only ?? true;
  renameButton.disabled = locked;
  deleteButton.disabled = locked;
  saveButton.disabled = !current || current.file.read_only || !isUnsaved(current);
  path.textContent = current ? current.file.path + (current.file.read_only ? " (read-only)" : "") : "";
  path.classList.toggle("unsaved", current !== null && isUnsaved(current));
  drawDags();
  drawProblems(current ? problemsOf(current.file, errors) : []);
}

function drawDags(): void {
  dagLinks.replaceChildren(
    ...(current?.file.dags ?? []).map(({ dag_id, dag_display_name }) =>
      element("a", { href: `/dags/${encodeURIComponent(dag_id)}/code`, target: "_parent" }, `${dag_display_name} `),
    ),
  );
}

let drawn = "";
function drawProblems(found: readonly Problem[]): void {
  const now = JSON.stringify([current?.file.path, found]);
  if (now === drawn) return;
  drawn = now;
  problems.replaceChildren(
    ...found.map((problem) => {
      const { line, message, stackTrace } = problem;
      const title = element("summary", {}, line === null ? message : `Line ${line}: ${message}`);
      if (line !== null) title.addEventListener("click", () => goTo(line));
      return element("details", { className: "problem" }, title, element("pre", {}, stackTrace));
    }),
  );
  if (!current) return;
  const { model } = current;
  const markers = found.flatMap(({ line, message }) => {
    if (line === null || line > model.getLineCount()) return [];
    const endColumn = model.getLineMaxColumn(line);
    const startColumn = Math.min(model.getLineFirstNonWhitespaceColumn(line) || 1, endColumn);
    return [
      { severity: MarkerSeverity.Error, message, startLineNumber: line, endLineNumber: line, startColumn, endColumn },
    ];
  });
  editor.setModelMarkers(model, "import", markers);
}

function isUnsaved({ model, savedVersion }: Buffer): boolean {
  return model.getAlternativeVersionId() !== savedVersion;
}

/** With the byte order mark, where the file has one. */
function textOf(model: editor.ITextModel): string {
  return model.getValue(undefined, true);
}

function say(message: string, isError = false): void {
  status.textContent = message;
  status.className = `foot ${isError ? "error" : "muted"}`;
}
