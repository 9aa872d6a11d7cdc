import { randomInt } from "node:crypto";
import { hash, verify } from "@node-rs/argon2";

// Without 0/O, 1/l/I: people read it off a terminal and type it.
const ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/** In characters, of any password that a person chooses. */
export const SHORTEST_PASSWORD = 8;

const GROUPS = 4;
const GROUP_LENGTH = 5;

/** Four groups of five letters and digits with dashes between: 115 bits, readable. */
export function generatePassword(): string {
  const letter = () => ALPHABET[randomInt(ALPHABET.length)];
  return Array.from({ length: GROUPS }, () => Array.from({ length: GROUP_LENGTH }, letter).join("")).join("-");
}

/** argon2id in PHC form, with OWASP's parameters (19 MiB, two passes). */
export function hashPassword(password: string): Promise<string> {
  return hash(password, { memoryCost: 19_456, timeCost: 2, parallelism: 1 });
}

export function verifyPassword(passwordHash: string, password: string): Promise<boolean> {
  return verify(passwordHash, password);
}
