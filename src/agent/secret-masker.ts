import { isSensitiveName } from "../kit/sensitive-names.ts";

const REPLACEMENT = "***";
/** `[logging] min_length_masked_secret`'s default. */
const MIN_LENGTH = 5;
/** Too common to mask, as Airflow has it. */
const NEVER_MASKED = new Set(["airflow"]);

/** Replaces the secrets of one task in its log, by the rules of Airflow's `SecretsMasker`. */
export class SecretMasker {
  readonly #secrets = new Set<string>();
  #pattern: RegExp | null = null;

  /** `name`: only mask when the name says it is a secret. Containers are walked, keys being names. */
  add(secret: unknown, name?: string | null): void {
    if (typeof secret === "string") {
      if (secret.length < MIN_LENGTH || NEVER_MASKED.has(secret.toLowerCase())) return;
      if (name && !isSensitiveName(name)) return;
      this.#secrets.add(secret);
      this.#pattern = null;
    } else if (Array.isArray(secret)) {
      for (const item of secret) this.add(item, name);
    } else if (typeof secret === "object" && secret !== null) {
      for (const [key, item] of Object.entries(secret)) this.add(item, key);
    }
  }

  get isEmpty(): boolean {
    return this.#secrets.size === 0;
  }

  mask(text: string): string {
    if (this.#secrets.size === 0) return text;
    return text.replace(this.#regExp(), REPLACEMENT);
  }

  /** Masks every string in a value, keys apart. */
  maskDeep(value: unknown): unknown {
    if (typeof value === "string") return this.mask(value);
    if (Array.isArray(value)) return value.map((item) => this.maskDeep(item));
    if (typeof value === "object" && value !== null) {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, this.maskDeep(item)]));
    }
    return value;
  }

  /** Whether JSON text may hold a secret: looks for secrets as JSON writes them too. */
  mayBeIn(jsonText: string): boolean {
    for (const secret of this.#secrets) {
      if (jsonText.includes(secret) || jsonText.includes(JSON.stringify(secret).slice(1, -1))) return true;
    }
    return false;
  }

  #regExp(): RegExp {
    // The longest first: a secret that begins with another must not leave its rest readable.
    this.#pattern ??= new RegExp(
      [...this.#secrets]
        .sort((a, b) => b.length - a.length)
        .map((secret) => secret.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
        .join("|"),
      "g",
    );
    return this.#pattern;
  }
}
