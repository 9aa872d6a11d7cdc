export function installPackages(): void;
export function buildIfStale(): void;
export function startLite(args: string[]): Promise<void>;
