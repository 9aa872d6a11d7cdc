/** A partition key that a mapper cannot map. The message has Python's words. */
export class MappingError extends Error {
  /** Python's name of it. */
  readonly pythonName: string;

  constructor(message: string, pythonName = "ValueError") {
    super(message);
    this.name = "MappingError";
    this.pythonName = pythonName;
  }
}
