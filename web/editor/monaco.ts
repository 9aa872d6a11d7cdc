// All of Monaco's features, which are as large when taken one by one, and six of its languages.
import "monaco-editor/features/register.all.js";
import "monaco-editor/languages/definitions/markdown/register.js";
import "monaco-editor/languages/definitions/python/register.js";
import "monaco-editor/languages/definitions/shell/register.js";
import "monaco-editor/languages/definitions/sql/register.js";
import "monaco-editor/languages/definitions/yaml/register.js";
import "monaco-editor/languages/features/json/register.js";
export { editor, KeyCode, KeyMod, MarkerSeverity, Uri, type IDisposable } from "monaco-editor/editor/editor.api.js";

Object.assign(globalThis, {
  MonacoEnvironment: {
    getWorker: (_id: string, label: string) => {
      const worker = label === "json" ? "editor-json-worker.js" : "editor-text-worker.js";
      // With the query of this script: an older worker in the browser's cache would not fit.
      const { search } = new URL(import.meta.url);
      return new Worker(new URL(worker + search, import.meta.url), { type: "module" });
    },
  },
});
