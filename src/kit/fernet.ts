import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from "node:crypto";

/** Encrypts what is secret at rest: Fernet (version 0x80, AES-128-CBC, HMAC-SHA256), as Airflow's `fernet_key` does. */
export interface SecretBox {
  encrypt(plain: string): string;
  /** Throws when the token was made with another key. */
  decrypt(token: string): string;
}

/** A new key: 32 random bytes, URL-safe base64. */
export function newFernetKey(): string {
  return toUrlSafe(randomBytes(32));
}

export function fernet(key: string): SecretBox {
  const bytes = Buffer.from(key, "base64url");
  if (bytes.length !== 32) throw new RangeError("fernet_key must be 32 bytes of URL-safe base64");
  const signing = bytes.subarray(0, 16);
  const encryption = bytes.subarray(16);
  const sign = (data: Buffer) => createHmac("sha256", signing).update(data).digest();
  return {
    encrypt(plain) {
      const time = Buffer.alloc(8);
      time.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 1000)));
      const iv = randomBytes(16);
      const cipher = createCipheriv("aes-128-cbc", encryption, iv);
      const body = Buffer.concat([Buffer.of(0x80), time, iv, cipher.update(plain, "utf8"), cipher.final()]);
      return toUrlSafe(Buffer.concat([body, sign(body)]));
    },
    decrypt(token) {
      const data = Buffer.from(token, "base64url");
      const body = data.subarray(0, -32);
      if (data.length < 73 || data[0] !== 0x80 || !timingSafeEqual(sign(body), data.subarray(-32))) {
        throw new Error("this value was encrypted with another fernet_key");
      }
      const decipher = createDecipheriv("aes-128-cbc", encryption, body.subarray(9, 25));
      return Buffer.concat([decipher.update(body.subarray(25)), decipher.final()]).toString("utf8");
    },
  };
}

function toUrlSafe(data: Buffer): string {
  return data.toString("base64").replaceAll("+", "-").replaceAll("/", "_");
}
