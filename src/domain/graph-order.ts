/** Orders and sums over a DAG's edges. Ids are task ids; edges name only ids that exist. */

export interface Edges {
  upstream: readonly string[];
  downstream: readonly string[];
}

/** Upstream before downstream, ties in the map's own order. Throws when there is a cycle. */
export function topologicalOrder(dagId: string, tasks: ReadonlyMap<string, Edges>): string[] {
  const waitsFor = new Map<string, number>();
  const rank = new Map<string, number>();
  for (const [id, { upstream }] of tasks) {
    waitsFor.set(id, upstream.length);
    rank.set(id, rank.size);
  }
  const order: string[] = [];
  let ready = [...tasks.keys()].filter((id) => waitsFor.get(id) === 0);
  while (ready.length > 0) {
    const next: string[] = [];
    for (const id of ready) {
      order.push(id);
      for (const below of tasks.get(id)?.downstream ?? []) {
        const left = (waitsFor.get(below) ?? 0) - 1;
        waitsFor.set(below, left);
        if (left === 0) next.push(below);
      }
    }
    ready = next.sort((a, b) => (rank.get(a) ?? 0) - (rank.get(b) ?? 0));
  }
  if (order.length < tasks.size) throw new RangeError(`the DAG ${JSON.stringify(dagId)} has a cycle`);
  return order;
}

/** Every task's own weight plus that of everything it can reach: what the weight rules sum up. */
export function reachableWeights(
  order: readonly string[],
  next: (id: string) => readonly string[],
  weight: (id: string) => number,
): Map<string, number> {
  const words = Math.ceil(order.length / 32);
  const place = new Map(order.map((id, index) => [id, index]));
  const weights = order.map(weight);
  const reach = new Map<string, Uint32Array>();
  const totals = new Map<string, number>();
  for (const id of order) {
    const bits = new Uint32Array(words);
    for (const other of next(id)) {
      const index = place.get(other) ?? 0;
      bits[index >> 5] = (bits[index >> 5] ?? 0) | (1 << (index & 31));
      const beyond = reach.get(other);
      if (!beyond) throw new RangeError("reachableWeights needs what can be reached first");
      for (let word = 0; word < words; word++) bits[word] = (bits[word] ?? 0) | (beyond[word] ?? 0);
    }
    reach.set(id, bits);
    let total = weights[place.get(id) ?? 0] ?? 0;
    for (let word = 0; word < words; word++) {
      for (let rest = bits[word] ?? 0; rest !== 0; rest &= rest - 1) {
        total += weights[(word << 5) + (31 - Math.clz32(rest & -rest))] ?? 0;
      }
    }
    totals.set(id, total);
  }
  return totals;
}

/** All tasks that can be reached from one, without it. */
export function reachable(from: string, next: (id: string) => readonly string[]): Set<string> {
  const found = new Set<string>();
  const open = [...next(from)];
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    if (found.has(id)) continue;
    found.add(id);
    open.push(...next(id));
  }
  return found;
}
