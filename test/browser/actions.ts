import type { Locator, Page } from "playwright-core";
import type { Visit } from "./visit.ts";

/** What the checks look for on the pages: one DAG with a finished run, whose tasks are named. */
export interface Subject {
  username: string;
  password: string;
  dagId: string;
  /** A run that succeeded. */
  runId: string;
  /** A task of it that succeeded, wrote to its log and returned a value. */
  taskId: string;
  /** A mapped task of it. */
  mappedTaskId: string;
  /** A task group of the DAG. */
  groupId: string;
  /** A line of the task's log. */
  logLine: string;
  /** Part of the DAG's source. */
  sourceLine: string;
}

export interface Check {
  name: string;
  run(visit: Visit, subject: Subject): Promise<void>;
}

const PATIENCE_MS = 30_000;

export const shown = async (locator: Locator): Promise<void> => {
  await locator.first().waitFor({ state: "visible", timeout: PATIENCE_MS });
};
export const text = (page: Page, words: string | RegExp) => page.getByText(words).and(page.locator(":visible"));
export const dagPath = ({ dagId }: Subject) => `/dags/${encodeURIComponent(dagId)}`;
export const runPath = (subject: Subject) => `${dagPath(subject)}/runs/${encodeURIComponent(subject.runId)}`;
export const taskPath = (subject: Subject) => `${runPath(subject)}/tasks/${encodeURIComponent(subject.taskId)}`;

/** The one that is open; one that fades away is none any more. */
export const dialog = (page: Page) => page.locator('[role="dialog"][data-state="open"]:visible');

/** Waits until the page's heading says this state; breadcrumbs and lists have badges, too. */
const headingSays = (page: Page, state: string): Promise<void> =>
  shown(page.locator(':nth-match(div:has(> h2) [data-testid="state-badge"], 1)').filter({ hasText: state }));

export const logIn: Check = {
  name: "login",
  async run(visit, { username, password }) {
    const { page } = visit;
    await page.goto("/dags?tags=tour");
    await page.waitForURL(/\/auth\/login/);
    await visit.settle();
    // Until somebody has logged in, being refused is what the pages expect.
    visit.problems();
    await page.locator('input[name="username"]').fill(username);
    await page.locator('input[name="password"]').fill("wrong");
    await page.locator('button[type="submit"]').click();
    await shown(text(page, /Invalid credentials|401/i));
    await visit.settle();
    visit.problems();
    await visit.screenshot("login");
    await page.locator('input[name="password"]').fill(password);
    await page.locator('button[type="submit"]').click();
    await page.waitForURL(/\/dags\?tags=tour/);
    await visit.settle();
  },
};

/** Fills in the form of params, starts a run and watches it turn green without a reload. */
export const trigger: Check = {
  name: "trigger a run",
  async run(visit, subject) {
    const { page } = visit;
    await visit.go(dagPath(subject));
    await page.getByTestId("trigger-dag-button").click();
    const name = dialog(page).locator('input[name="element_name"]');
    await name.fill("browser");
    await visit.settle();
    await visit.screenshot("trigger-dialog");
    await page.getByTestId("trigger-dag-submit").click();
    await page.waitForURL(/\/runs\/manual__/);
    await headingSays(page, "Success");
    await visit.settle();
    await visit.screenshot("triggered-run");
    await page.goto(`${new URL(page.url()).pathname}/tasks/greet`);
    await shown(text(page, "hello browser"));
    await visit.settle();
  },
};

/** Clears a task with what comes after it, and waits until all of it ran again. */
export const clearTask: Check = {
  name: "clear a task",
  async run(visit, subject) {
    const { page } = visit;
    await visit.open(taskPath(subject));
    await page.getByRole("button", { name: /shift\+c/ }).click();
    const affects = (count: number) => shown(dialog(page).getByText(`Affected Tasks: ${count}`, { exact: true }));
    const toggle = (option: string) => dialog(page).getByRole("button", { name: option, exact: true }).click();
    await affects(8);
    await toggle("Downstream");
    await affects(1);
    await toggle("Clear only failed tasks");
    await affects(0);
    await toggle("Clear only failed tasks");
    await toggle("Downstream");
    await affects(8);
    await visit.settle();
    await visit.screenshot("clear-dialog");
    await dialog(page).getByRole("button", { name: "Confirm" }).click();
    await dialog(page).waitFor({ state: "hidden" });
    // A second try has its own log.
    await shown(page.getByRole("button", { name: /^1$/ }));
    await headingSays(page, "Success");
    await visit.open(runPath(subject));
    await headingSays(page, "Success");
    await visit.settle();
    await visit.screenshot("cleared-run");
  },
};

export const markTask: Check = {
  name: "mark a task",
  async run(visit, subject) {
    const { page } = visit;
    const mark = async (state: "Failed" | "Success") => {
      await visit.open(taskPath(subject));
      await page.getByRole("button", { name: /Mark Task Instance as/ }).click();
      await page.getByRole("menuitem", { name: state }).click();
      await shown(dialog(page).getByText(/Affected Tasks: [1-9]/));
      await visit.settle();
      await visit.screenshot("mark-dialog");
      await dialog(page).getByRole("button", { name: "Confirm" }).click();
      await dialog(page).waitFor({ state: "hidden" });
      await headingSays(page, state);
      await visit.settle();
    };
    await mark("Failed");
    await mark("Success");
  },
};

export const pauseDag: Check = {
  name: "pause and like",
  async run(visit, subject) {
    const { page } = visit;
    await visit.open(dagPath(subject));
    const toggle = page.locator('[data-scope="switch"][data-part="control"]').and(page.locator(":visible")).first();
    await toggle.click();
    await page.locator('[data-scope="switch"][data-state="unchecked"]').first().waitFor({ state: "attached" });
    await visit.settle();
    await toggle.click();
    await page.locator('[data-scope="switch"][data-state="checked"]').first().waitFor({ state: "attached" });
    await page.getByRole("button", { name: /Favorite Dag/ }).click();
    await visit.settle();
    await visit.open("/");
    await shown(text(page, subject.dagId));
  },
};

export const addVariable: Check = {
  name: "add a variable",
  async run(visit) {
    const { page } = visit;
    await visit.go("/variables");
    await page.getByRole("button", { name: /Add Variable/i }).click();
    await dialog(page).locator('input[name="key"]').fill("browser_variable");
    await dialog(page).locator('textarea[name="value"]').fill("made by the browser");
    await dialog(page).getByRole("button", { name: /^Save/i }).click();
    await dialog(page).waitFor({ state: "hidden" });
    await shown(text(page, "browser_variable"));
    await visit.settle();
    await visit.screenshot("variables");
  },
};

export const addPool: Check = {
  name: "add a pool",
  async run(visit) {
    const { page } = visit;
    await visit.go("/pools");
    await shown(text(page, "default_pool"));
    await page.getByRole("button", { name: /Add Pool/i }).click();
    await dialog(page).locator('input[name="name"]').fill("browser_pool");
    await visit.settle();
    await dialog(page).getByRole("button", { name: /^Save/i }).click();
    await dialog(page).waitFor({ state: "hidden" });
    await shown(text(page, "browser_pool"));
    await visit.settle();
    await visit.screenshot("pools");
  },
};

/** The form shows the fields that the type's hook asks for. */
export const addConnection: Check = {
  name: "add a connection",
  async run(visit) {
    const { page } = visit;
    await visit.go("/connections");
    await page.getByRole("button", { name: /Add Connection/i }).click();
    await dialog(page).locator('input[name="connection_id"]').fill("browser_connection");
    await dialog(page).getByRole("combobox").first().click();
    await page.keyboard.type("generic");
    await page.keyboard.press("Enter");
    await dialog(page).locator('input[name="host"]').fill("db.example");
    await visit.settle();
    await visit.screenshot("connection-form");
    await dialog(page).getByRole("button", { name: /^Save/i }).click();
    await dialog(page).waitFor({ state: "hidden" });
    await shown(text(page, "browser_connection"));
    await visit.settle();
    await visit.screenshot("connections");
  },
};

export const logOut: Check = {
  name: "logout",
  async run(visit) {
    const { page } = visit;
    await page.goto("/api/v2/auth/logout");
    await page.waitForURL(/\/auth\/login/);
    await visit.settle();
    const { status } = await page.evaluate(async () => {
      const answer = await fetch("/ui/config");
      return { status: answer.status };
    });
    if (status !== 401) throw new Error(`after logout /ui/config answered ${status}`);
    visit.problems();
  },
};
