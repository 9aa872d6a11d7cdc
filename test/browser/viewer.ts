import { dagPath, logIn, runPath, shown, taskPath, text, type Check } from "./actions.ts";
import { WINDOW } from "./visit.ts";

const VIEWER = { username: "viewer@example.com", password: "only-looks-at-things" };

/** A user who may only look sees every page that Airflow shows one; what it may not do is refused, and told. */
export const viewer: Check = {
  name: "a viewer",
  async run(visit, subject) {
    const { page } = visit;
    const { username: name, password } = VIEWER;
    const made = await page.request.post("/api/leoflow/users", { data: { name, password, role: "VIEWER" } });
    if (!made.ok()) throw new Error(`the user was refused: ${await made.text()}`);
    await page.goto("/api/v2/auth/logout");
    await logIn.run(visit, { ...subject, ...VIEWER });
    await visit.go("/");
    await shown(text(page, "History"));
    await visit.go(dagPath(subject));
    await shown(text(page, "Created Asset Events"));
    await visit.go(taskPath(subject));
    await shown(text(page, subject.logLine));
    await visit.go("/assets/1");
    await shown(text(page, "Scheduled Dags"));
    const seen = visit.problems();
    if (seen.length > 0) throw new Error(`a viewer may look at all this: ${seen.join("\n")}`);

    await visit.go(dagPath(subject));
    await page.getByTestId("toggle-pause").first().locator("..").click();
    await shown(text(page, "Access Denied"));
    await visit.settle();
    await visit.screenshot("viewer");
    await visit.go("/connections");
    await shown(text(page, /Forbidden/));
    await visit.settle();
    const refused = visit.problems().filter((problem) => !/: 403$|status of 403/.test(problem));
    if (refused.length > 0) throw new Error(refused.join("\n"));
  },
};

/** The same pages in the window of a telephone. */
export const narrow: Check = {
  name: "a narrow window",
  async run(visit, subject) {
    const { page } = visit;
    await page.setViewportSize({ width: 390, height: 844 });
    await visit.open("/");
    for (const [path, words] of [
      ["/dags", subject.dagId],
      [runPath(subject), "Task Instances"],
      [taskPath(subject), subject.logLine],
    ] as const) {
      await visit.go(path);
      await shown(text(page, words));
    }
    await visit.screenshot("narrow");
    await page.setViewportSize(WINDOW);
  },
};
