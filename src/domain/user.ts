/** SimpleAuthManager's roles; each may do what those before it may. */
export const ROLES = ["VIEWER", "USER", "OP", "ADMIN"] as const;
export type Role = (typeof ROLES)[number];

/** Whether `role` is `needed` or more. */
export function mayDo(role: Role, needed: Role): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(needed);
}

/** As users are stored and looked up: whoever types capitals means the same person. */
export function userNameOf(text: string): string {
  return text.trim().toLowerCase();
}

/** The admin of config.yaml signs in by both names, so nobody else may have one of them. */
export function isConfiguredAdmin(name: string, adminEmail: string): boolean {
  return name === "admin" || name === userNameOf(adminEmail);
}

/** Why nobody can be named so; null for a good name. Takes what `userNameOf` returned. */
export function userNameProblem(name: string, adminEmail: string): string | null {
  if (isConfiguredAdmin(name, adminEmail)) return `${name} is the admin of config.yaml`;
  // The user of a server that asks nobody for a password.
  if (name === "anonymous") return `${name} is reserved`;
  if (/^[a-z0-9][a-z0-9._@+-]{0,127}$/.test(name)) return null;
  return "a name is an e-mail address, or letters, digits and any of . _ @ + - (128 at most, a letter or digit first)";
}
