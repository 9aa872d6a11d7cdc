import { task } from "@leoflow/task";

interface Order {
  region: string;
  amount: number;
}

interface Region {
  name: string;
  total: number;
}

export const by_region = task(async ({ xcom, log }) => {
  const orders = (await xcom.pull<Order[]>("read_orders")) ?? [];
  const totals = new Map<string, number>();
  for (const { region, amount } of orders) totals.set(region, (totals.get(region) ?? 0) + amount);
  log.info("grouped", { orders: orders.length, regions: totals.size });
  return [...totals].map(([name, total]): Region => ({ name, total }));
});

/** One of these runs for each region. */
export const describe = task(async ({ xcom, mapIndex, params }) => {
  const regions = (await xcom.pull<Region[]>("by_region")) ?? [];
  const region = regions[mapIndex];
  if (!region) throw new Error(`there is no region ${mapIndex}`);
  return `${region.name}: ${region.total.toFixed(2)} ${String(params["currency"])}`;
});
