/** An error a user can act on: printed as one line without a stack. `fix` says the way out. */
export class UserError extends Error {
  readonly fix: string | undefined;
  readonly exitCode: number;

  constructor(message: string, options: { fix?: string; exitCode?: number; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.name = "UserError";
    this.fix = options.fix;
    this.exitCode = options.exitCode ?? 1;
  }
}
