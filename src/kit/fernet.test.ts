import { expect, it } from "vitest";
import { fernet, newFernetKey } from "./fernet.ts";

it("reads what Python's cryptography wrote", () => {
  // cryptography.fernet.Fernet(key).encrypt(b"hello"), from the Fernet specification's own vectors
  const box = fernet("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=");
  expect(
    box.decrypt("gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA=="),
  ).toBe("hello");
});

it("goes there and back, and refuses another key", () => {
  const box = fernet(newFernetKey());
  expect(box.decrypt(box.encrypt("pässword"))).toBe("pässword");
  expect(() => fernet(newFernetKey()).decrypt(box.encrypt("x"))).toThrow("another fernet_key");
});
