const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Collects JSON text as UTF-8: strings are copied byte by byte instead of becoming JavaScript strings. */
export class JsonOutput {
  #buffer: Buffer;
  #position = 0;

  constructor(expectedBytes: number) {
    this.#buffer = Buffer.allocUnsafe(expectedBytes);
  }

  finish(): string {
    return this.#buffer.toString("utf8", 0, this.#position);
  }

  ascii(text: string): void {
    this.#ensure(text.length);
    const buffer = this.#buffer;
    for (let i = 0; i < text.length; i++) buffer[this.#position++] = text.charCodeAt(i);
  }

  /** A JSON string of these bytes, which are UTF-8. */
  string(from: Buffer, start: number, end: number): void {
    this.#ensure(end - start + 2);
    let buffer = this.#buffer;
    let at = this.#position;
    buffer[at++] = QUOTE;
    for (let i = start; i < end; i++) {
      const byte = from[i] as number;
      if (byte >= 0x20 && byte !== QUOTE && byte !== BACKSLASH) {
        buffer[at++] = byte;
        continue;
      }
      const escaped = JSON.stringify(String.fromCharCode(byte)).slice(1, -1);
      this.#position = at;
      this.#ensure(end - i + escaped.length + 1);
      buffer = this.#buffer;
      at += buffer.write(escaped, at, "latin1");
    }
    buffer[at++] = QUOTE;
    this.#position = at;
  }

  #ensure(bytes: number): void {
    const needed = this.#position + bytes;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.#position);
    this.#buffer = larger;
  }
}
