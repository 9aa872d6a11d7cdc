import { sql } from "kysely";
import { fromJsonText, type JsonText } from "../kit/json-text.ts";
import { keyText, type AssetKey } from "../domain/asset/asset-condition.ts";
import type { TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import { allOf, column } from "./filters.ts";
import { dagsWithin } from "./team-scope.ts";

/** What a DAG waits for or starts; assets by their ids. */
export interface DagDependency {
  source: string;
  target: string;
  label: string;
  dependency_type: string;
  dependency_id: string | null;
}

/** The dependencies between DAGs of these teams, by the DAG whose current version names them. */
export async function listDagDependencies(
  db: Database,
  teams: TeamScope = null,
): Promise<Map<string, DagDependency[]>> {
  const { rows } = await sql<{ dag_id: string; dependencies: JsonText | null }>`
    select dag.dag_id, v.serialized #> '{dag,dag_dependencies}' as dependencies
    from dag join dag_version v on v.id = dag.current_version_id
    where not dag.is_stale and ${allOf(dagsWithin(column("dag.dag_id"), teams))}
    order by dag.dag_id`.execute(db);
  const shown = new Set(rows.map((row) => row.dag_id));
  // What names a DAG of another team is not shown either.
  const isShown = ({ source, target, dependency_type: type }: DagDependency) =>
    teams === null || [source, target].every((end) => end === type || end.includes(":") || shown.has(end));
  const written = rows.map(({ dag_id, dependencies }) => {
    const all = dependencies === null ? [] : (fromJsonText<unknown>(dependencies) as DagDependency[]);
    return [dag_id, all.filter(isShown)] as const;
  });
  const namesAssets = written.some(([, list]) =>
    list.some(({ dependency_type }) => dependency_type.startsWith("asset")),
  );
  if (!namesAssets) return new Map(written);
  const known = await knownAssets(db);
  return new Map(written.map(([dagId, list]) => [dagId, list.flatMap((one) => resolved(one, known))]));
}

interface Named {
  id: number;
  name: string;
}

interface KnownAssets {
  byKey: ReadonlyMap<string, Named>;
  byName: ReadonlyMap<string, Named>;
  byUri: ReadonlyMap<string, Named>;
  ofAlias: ReadonlyMap<string, Named[]>;
}

async function knownAssets(db: Database): Promise<KnownAssets> {
  const { rows } = await sql<{ id: number; name: string; uri: string; is_active: boolean; aliases: string[] }>`
    select asset.id, asset.name, asset.uri, active.name is not null as is_active, array(
      select al.name from asset_alias_asset l join asset_alias al on al.id = l.alias_id where l.asset_id = asset.id) as aliases
    from asset left join asset_active active on active.name = asset.name and active.uri = asset.uri order by asset.id`.execute(
    db,
  );
  const active = rows.filter((row) => row.is_active);
  const ofAlias = new Map<string, Named[]>();
  for (const row of rows) {
    for (const alias of row.aliases) ofAlias.set(alias, [...(ofAlias.get(alias) ?? []), row]);
  }
  return {
    byKey: new Map(rows.map((row) => [keyText(row), row])),
    byName: new Map(active.map((row) => [row.name, row])),
    byUri: new Map(active.map((row) => [row.uri, row])),
    ofAlias,
  };
}

/** Airflow's `_DagDependenciesResolver`: references become their assets, aliases what was updated through them. */
function resolved(dependency: DagDependency, known: KnownAssets): DagDependency[] {
  const { dependency_type: type, dependency_id: id, source } = dependency;
  if (id === null) return [dependency];
  const asAsset = (asset: Named, ends: Partial<DagDependency>): DagDependency => ({
    ...dependency,
    label: asset.name,
    dependency_type: "asset",
    dependency_id: String(asset.id),
    ...ends,
  });
  switch (type) {
    case "asset": {
      const asset = known.byKey.get(keyText(JSON.parse(id) as AssetKey));
      return asset ? [{ ...dependency, dependency_id: String(asset.id) }] : [dependency];
    }
    case "asset-name-ref":
    case "asset-uri-ref": {
      const asset = (type === "asset-name-ref" ? known.byName : known.byUri).get(id);
      if (!asset) return [dependency];
      return [asAsset(asset, source === type ? { source: "asset" } : { target: "asset" })];
    }
    case "asset-alias": {
      const isSource = source === type;
      const alias = `asset-alias:${id}`;
      const assets = known.ofAlias.get(id) ?? [];
      if (assets.length === 0) return [dependency];
      return assets.flatMap((asset) => [
        asAsset(asset, isSource ? { source: "asset", target: alias } : { source: alias, target: "asset" }),
        { ...dependency, label: id, ...(isSource ? { source: `asset:${asset.id}` } : { target: `asset:${asset.id}` }) },
      ]);
    }
    default:
      return [dependency];
  }
}
