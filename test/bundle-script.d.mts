export function bundleScript(entry: string, outfile: string): Promise<void>;
export function runScript(file: string): Promise<void>;
