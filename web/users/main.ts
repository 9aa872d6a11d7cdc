import type { ChangedUser, ListedUser, UserList } from "../../src/api/leoflow/users-contract.ts";
import type { Role } from "../../src/domain/user.ts";
import { ask, type RequestOptions } from "../frame/api.ts";
import { choose, element } from "../frame/elements.ts";
import { followTheme } from "../frame/theme.ts";
import "./users.css";

const USERS = "/api/leoflow/users";
const MAY: Record<Role, string> = {
  VIEWER: "looks",
  USER: "works with DAGs",
  OP: "also pools, variables, connections, assets",
  ADMIN: "also users",
};

const problem = element("p", { className: "error", role: "alert", hidden: true });
const head = element("tr");
const rows = element("tbody");

const name = element("input", { required: true, maxLength: 128, placeholder: "name or e-mail", ariaLabel: "Name" });
const password = element("input", {
  type: "password",
  minLength: 8,
  autocomplete: "new-password",
  placeholder: "password (empty makes one)",
  ariaLabel: "Password",
});
const role = roleSelect("USER");
const newTeams = element("span", { className: "teams", hidden: true });
const add = element(
  "form",
  {},
  name,
  role,
  newTeams,
  password,
  element("button", { className: "primary" }, "Add user"),
);
add.addEventListener("submit", (event) => {
  event.preventDefault();
  void attempt(async () => {
    const teams = newTeams.hidden ? {} : { teams: chosenIn(newTeams) };
    const body = { name: name.value, role: role.value, ...teams, password: password.value || null };
    await change(USERS, { method: "POST", body });
    add.reset();
    role.value = "USER";
  });
});

/** Does something, says what went wrong, and shows what there is now. */
async function attempt(work: () => Promise<unknown>): Promise<void> {
  problem.hidden = true;
  try {
    await work();
  } catch (error) {
    say(error);
  }
  await refresh();
}

async function refresh(): Promise<void> {
  try {
    const { users, configured_admin, teams } = await ask<UserList>(USERS);
    const titles = ["Name", "Role", ...(teams ? ["Teams"] : []), "Signs in", "Last login", ""];
    head.replaceChildren(...titles.map((text) => element("th", {}, text)));
    rows.replaceChildren(adminRow(configured_admin, teams), ...users.map((user) => rowOf(user, teams)));
    newTeams.hidden = !teams || teams.length === 0;
    const chosen = chosenIn(newTeams);
    newTeams.replaceChildren(...teamBoxes(teams ?? [], chosen, "the new user"));
  } catch (error) {
    say(error);
  }
}

function say(error: unknown): void {
  problem.textContent = messageOf(error);
  problem.hidden = false;
}

/** The words in a list of pydantic's issues, or in what a broken constraint is told as. */
function messageOf(error: unknown): string {
  const { detail } = error as { detail?: unknown };
  if (Array.isArray(detail))
    return detail.map(({ msg }: { msg: string }) => msg.replace(/^Value error, /, "")).join("; ");
  if (typeof detail === "object" && detail !== null && "message" in detail) return String(detail.message);
  return error instanceof Error ? error.message : String(error);
}

/** A change whose answer may hold a password that nobody has seen yet. */
async function change(path: string, options: RequestOptions): Promise<void> {
  const user = await ask<ChangedUser | null>(path, options);
  if (user?.password === undefined) return;
  const shown = element(
    "div",
    {},
    element("p", {}, `The password of ${user.name}, shown only now:`),
    element("code", { className: "password" }, user.password),
  );
  await choose(shown, [{ label: "Done", value: true, primary: true }]);
}

function rowOf(user: ListedUser, teams: readonly string[] | null): HTMLTableRowElement {
  const path = `${USERS}/${encodeURIComponent(user.name)}`;
  const patch = (body: object) => attempt(() => change(path, { method: "PATCH", body }));
  const roles = roleSelect(user.role, `Role of ${user.name}`);
  roles.addEventListener("change", () => void patch({ role: roles.value }));
  const active = element("input", { type: "checkbox", checked: user.active, ariaLabel: `${user.name} may sign in` });
  active.addEventListener("change", () => void patch({ active: active.checked }));
  const renew = element("button", { type: "button" }, "New password");
  renew.addEventListener(
    "click",
    () => void confirmed(renewal(user.name), "Make one", () => patch({ password: null })),
  );
  const remove = element("button", { type: "button" }, "Remove");
  const removal = `Remove ${user.name}? They are signed out at once; what they did stays in the audit log.`;
  remove.addEventListener(
    "click",
    () => void confirmed(removal, "Remove", () => attempt(() => ask(path, { method: "DELETE" }))),
  );
  const login = user.last_login === null ? "never" : new Date(user.last_login).toLocaleString();
  const actions = element("div", { className: "actions" }, renew, remove);
  const row = rowWith(user.name, roles, ...(teams ? [teamsOf(user, teams, patch)] : []), active, login, actions);
  row.dataset["user"] = user.name;
  return row;
}

/** What the user is in, to be changed by ticking. */
function teamsOf(
  user: ListedUser,
  teams: readonly string[],
  patch: (body: object) => Promise<void>,
): HTMLElement | string {
  if (user.role === "ADMIN") return "all";
  const boxes = element("span", { className: "teams" }, ...teamBoxes(teams, user.teams, user.name));
  boxes.addEventListener("change", () => void patch({ teams: chosenIn(boxes) }));
  return boxes;
}

function teamBoxes(teams: readonly string[], chosen: readonly string[], who: string): HTMLElement[] {
  return teams.map((team) => {
    const ariaLabel = `${team} for ${who}`;
    const box = element("input", { type: "checkbox", value: team, checked: chosen.includes(team), ariaLabel });
    return element("label", {}, box, team);
  });
}

function chosenIn(boxes: HTMLElement): string[] {
  return [...boxes.querySelectorAll<HTMLInputElement>("input:checked")].map((box) => box.value);
}

const renewal = (user: string) => `Give ${user} a new password? They are signed out everywhere.`;

async function confirmed(question: string, label: string, work: () => Promise<void>): Promise<void> {
  const choices = [
    { label: "Cancel", value: false },
    { label, value: true, primary: true },
  ];
  if (await choose(question, choices)) await work();
}

function adminRow(email: string, teams: readonly string[] | null): HTMLTableRowElement {
  const note = element("span", { className: "muted" }, "of config.yaml: `leoflow lite reset-password`");
  return rowWith(email, "ADMIN", ...(teams ? ["all"] : []), "always", "", note);
}

function rowWith(...cells: (Node | string)[]): HTMLTableRowElement {
  return element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));
}

function roleSelect(chosen: Role, label = "Role"): HTMLSelectElement {
  const options = Object.entries(MAY).map(([each, what]) => element("option", { value: each }, `${each} · ${what}`));
  const select = element("select", { ariaLabel: label }, ...options);
  select.value = chosen;
  return select;
}

followTheme();
document.body.append(element("h1", {}, "Users"), problem, element("table", {}, element("thead", {}, head), rows), add);
await refresh();
